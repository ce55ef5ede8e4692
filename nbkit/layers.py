"""What every network starts from: tables, linear maps, norms, masks; draws come from the generator given."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def embedding(rows: int, dim: int, generator: torch.Generator) -> nn.Parameter:
    """A Xavier-uniform table ``(rows, dim)``."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, dim), generator=generator))


def linear(inputs: int, outputs: int, generator: torch.Generator, *, bias: bool = True) -> nn.Linear:
    """A linear map with Xavier-uniform weights ``(outputs, inputs)`` and zero bias."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear map that starts as zero: a branch that ends in it begins as if it were not there."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def standardised(x: Tensor) -> Tensor:
    """LN₀: each row ``(..., D)`` with mean 0 and variance 1, no weights."""
    return F.layer_norm(x, x.shape[-1:])


def causal_mask(length: int, device: torch.device | None = None) -> Tensor:
    """Which of L tokens each of L queries may see, itself and those before: bool ``(L, L)``."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Each entry is 0 with probability ``rate``, else 1/(1 - rate) times itself; without a generator x itself."""
    if generator is None or not rate:
        return x
    return x * torch.empty_like(x).bernoulli_(1 - rate, generator=generator).div_(1 - rate)
