"""Attention over histories, the building block that sequential models share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.layers import causal_mask, dropout, linear


class Attention(nn.Module):
    """softmax(Q Kᵀ / √(D/H)) V with H heads: each query reads the keys it is allowed to.

    Shapes: ``queries`` ``(B, N, D)``, ``keys`` ``(B, L, D)``, ``allowed`` ``(B, N, L)`` bool with one key at least for
    each query -> ``(B, N, D)``. Source: Vaswani et al., NeurIPS 2017, eq. 1.
    """

    def __init__(self, dim: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (linear(dim, dim, generator, bias=False) for _ in range(3))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, L, D/H)

    def forward(self, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        q, k, v = self._split(self.query(queries)), self._split(self.key(keys)), self._split(self.value(keys))
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None])
        return read.transpose(1, 2).flatten(2)


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), each with dropout before it is added.

    A place reads the places that hold an event (``causal``: none later than itself) and always itself, so that padding
    is read by nobody and an empty history is no division by zero. ``last`` asks for the last place alone.

    Shapes: ``x`` ``(B, L, D)``, ``mask`` ``(B, L)`` bool -> ``(B, L, D)``, of the last place ``(B, 1, D)``.
    Source: Kang & McAuley, ICDM 2018, eq. 2-4.
    """

    def __init__(self, dim: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, generator)
        self.inner, self.outer = linear(dim, dim, generator), linear(dim, dim, generator)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        *,
        causal: bool = False,
        last: bool = False,
        rate: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        length = x.shape[1]
        allowed = mask[:, None, :].expand(-1, length, -1)
        if causal:
            allowed = allowed & causal_mask(length, x.device)
        allowed = allowed | torch.eye(length, dtype=torch.bool, device=x.device)
        normed, asked = self.norms[0](x), slice(-1 if last else 0, None)
        read = self.attention(normed[:, asked], normed, allowed[:, asked])
        x = x[:, asked] + dropout(read, rate, generator)
        forward = self.outer(dropout(F.relu(self.inner(self.norms[1](x))), rate, generator))
        return x + dropout(forward, rate, generator)
