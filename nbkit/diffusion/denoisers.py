"""Networks that undo noise: they know the step and a condition, and nothing of any schedule.

``B`` or ``N`` rows, ``L`` tokens, ``S`` condition tokens, ``D`` width, ``C`` condition width. A network's answer means
x_0, ε or v, as whoever trains it decides. Each ends in a map that starts as zero, so that it begins as the identity.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.errors import UserError
from nbkit.graphs import SparseGraph
from nbkit.layers import linear, standardised, zero_linear

Conditioning = Literal["gate", "concat", "film", "cross_attention", "none"]


def sinusoidal(t: Tensor, dim: int, period: float = 10_000.0) -> Tensor:
    """Cosines and sines of t at falling frequencies: ``(B,) -> (B, dim)``; an odd last column is 0.

    Source: Vaswani et al., NeurIPS 2017, section 3.5.
    """
    half = dim // 2
    frequency = torch.exp(-math.log(period) * torch.arange(half, device=t.device) / max(half, 1))
    angle = t.float()[:, None] * frequency
    return F.pad(torch.cat([angle.cos(), angle.sin()], dim=1), (0, dim - 2 * half))


class TimeCode(nn.Module):
    """τ(t): sines and cosines through a two-layer network.

    Shapes: an int or 0-d t ``-> (1, dim)``; ``(B,) -> (B, dim)``.
    """

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.dim = dim
        self.inner, self.outer = linear(dim, dim, generator), linear(dim, dim, generator)

    def forward(self, t: int | Tensor) -> Tensor:
        t = torch.as_tensor(t, device=self.inner.weight.device).reshape(-1)
        return self.outer(F.silu(self.inner(sinusoidal(t, self.dim))))


def _with_code(layer: nn.Module, x: Tensor, code: Tensor) -> Tensor:
    """The linear layer of [x; code], where the code's gradient asks for its own columns alone.

    x is often wide and a constant; the gradient of [x; code] as one table would be as wide.
    """
    h: Tensor = layer(torch.cat([x, code.detach()], dim=1))
    own = F.linear(code, layer.get_parameter("weight")[:, -code.shape[1] :].detach())
    return h + (own - own.detach())  # 0 that has a gradient


class MLPDenoiser(nn.Module):
    """A multilayer perceptron on [x_t; τ(t)], or on [x_t; c; τ(t)] with a condition.

    Shapes: ``x_t`` ``(B, D)``, ``t`` one or ``(B,)``, ``condition`` ``(B, C)`` -> ``(B, D)``.
    ``residual`` adds x_t to an output that starts as zero; without it the output is the network's alone, as in DiffRec.
    Source: DiffRec (Wang et al., SIGIR 2023), whose activation is tanh.
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: Sequence[int] = (128,),
        time_dim: int = 10,
        condition_dim: int = 0,
        residual: bool = True,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.residual = residual
        self.time = TimeCode(time_dim, generator)
        widths = [dim + condition_dim + time_dim, *hidden]
        self.hidden = nn.ModuleList(linear(a, b, generator) for a, b in itertools.pairwise(widths))
        self.output = zero_linear(widths[-1], dim) if residual else linear(widths[-1], dim, generator)

    def forward(self, x_t: Tensor, t: int | Tensor, condition: Tensor | None = None) -> Tensor:
        known = [x_t] if condition is None else [x_t, condition]
        first, *others = self.hidden
        h = torch.tanh(_with_code(first, torch.cat(known, dim=1), self.time(t).expand(len(x_t), -1)))
        for layer in others:
            h = torch.tanh(layer(h))
        return x_t + self.output(h) if self.residual else self.output(h)


class _GraphBlock(nn.Module):
    """One hop and one way for the condition to enter; see :class:`GraphDenoiser`."""

    def __init__(
        self, dim: int, width: int, graph: SparseGraph | None, conditioning: Conditioning, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.graph, self.conditioning = graph, conditioning
        self.own, self.output = linear(dim, dim, generator), linear(dim, dim, generator)
        if graph is not None:
            self.neighbours = linear(dim, dim, generator, bias=False)
        inside = dim if conditioning in ("none", "cross_attention") else width + dim
        self.condition = linear(inside, 2 * dim if conditioning == "film" else dim, generator)
        if conditioning == "cross_attention":
            self.query = linear(dim, dim, generator)
            self.key, self.value = (linear(width, dim, generator, bias=False) for _ in range(2))

    def forward(self, h: Tensor, time: Tensor, c: Tensor | None, null: Tensor | None) -> Tensor:
        n = self.own(h)
        if self.graph is not None:
            n = n + self.graph(self.neighbours(h))
        return h + self.output(F.silu(self.conditioned(standardised(n), time, c, null)))

    def conditioned(self, n: Tensor, time: Tensor, c: Tensor | None, null: Tensor | None) -> Tensor:
        """LN N under the condition, ``(N, D)``; a code or a condition that all nodes share may be a single row."""
        if c is None or null is None:
            return torch.sigmoid(self.condition(time)) * n
        if self.conditioning == "cross_attention":
            n = n + self.condition(time)
            # A softmax over two tokens is a sigmoid of the difference of their scores.
            lead = (self.query(n) * (self.key(c) - self.key(null))).sum(1, keepdim=True) / math.sqrt(n.shape[1])
            return n + torch.lerp(self.value(null), self.value(c), torch.sigmoid(lead))
        # W [c; τ] by its halves: what all nodes share is multiplied once.
        of_c, of_time = self.condition.weight.tensor_split([c.shape[1]], dim=1)
        z = F.linear(c, of_c) + F.linear(time, of_time, self.condition.bias)
        if self.conditioning == "film":
            scale, shift = z.chunk(2, dim=1)
            return (1 + scale) * n + shift
        return n + z if self.conditioning == "concat" else torch.sigmoid(z) * n


class GraphDenoiser(nn.Module):
    """Denoises the rows of all nodes together: each block is one hop on a frozen graph under a condition.

    H⁰ = W_in x_t; per block N = A H W_g + H W_s and H ← H + W_2 SiLU(condition(LN N)); output x_t + W_out H.
    ``conditioning`` is how c and τ(t) enter, z = [c; τ(t)]:
    ``gate`` σ(W z) ⊙ LN N, which can re-weight the channels of the rows but never copy c into them;
    ``concat`` LN N + W z; ``film`` (1 + scale(z)) ⊙ LN N + shift(z);
    ``cross_attention`` each node asks two tokens, its own c and the learned null condition, and adds the answer;
    ``none`` the gate with z = τ(t). With ``graph`` None the term A H W_g is not there.

    Shapes: ``x_t`` ``(N, D)``, ``t`` one or ``(N,)``, ``condition`` ``(N, C)`` or None, ``dropped`` bool, 0-d or
    ``(N,)`` -> ``(N, D)``. The learned null condition stands in where ``condition`` is None or dropped.
    """

    def __init__(
        self,
        dim: int,
        graph: SparseGraph | None,
        *,
        condition_dim: int | None = None,
        conditioning: Conditioning = "gate",
        blocks: int = 2,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.conditioning = conditioning
        width = dim if condition_dim is None else condition_dim
        self.time, self.input = TimeCode(dim, generator), linear(dim, dim, generator)
        if conditioning != "none":
            self.null = nn.Parameter(0.02 * torch.randn(width, generator=generator))
        self.blocks = nn.ModuleList(_GraphBlock(dim, width, graph, conditioning, generator) for _ in range(blocks))
        self.output = zero_linear(dim, dim)

    def forward(
        self, x_t: Tensor, t: int | Tensor, condition: Tensor | None = None, dropped: Tensor | None = None
    ) -> Tensor:
        time = self.time(t)
        null = c = None
        if self.conditioning != "none":
            null = c = self.null[None]
            if condition is not None:
                c = condition if dropped is None else torch.where(dropped.reshape(-1, 1), null, condition)
        h = self.input(x_t)
        for block in self.blocks:
            h = block(h, time, c, null)
        return x_t + self.output(h)


class _AttentionBlock(nn.Module):
    """Cross-attention and a two-layer network, each added to what it read; see :class:`SequenceDenoiser`."""

    def __init__(self, dim: int, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.mix = linear(dim, dim, generator), linear(dim, dim, generator)
        # A bias of the keys would move all scores of a query alike, and never train.
        self.key, self.value = linear(width, dim, generator, bias=False), linear(width, dim, generator)
        self.inner, self.outer = linear(dim, 2 * dim, generator), linear(2 * dim, dim, generator)

    def forward(self, h: Tensor, time: Tensor, tokens: Tensor, seen: Tensor) -> Tensor:
        asked = self.query(standardised(h) + time), self.key(tokens), self.value(tokens)
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in asked)  # (B, heads, L or S, D / heads)
        answer = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None])
        h = h + self.mix(answer.transpose(1, 2).flatten(2))
        return h + self.outer(F.silu(self.inner(standardised(h))))


class SequenceDenoiser(nn.Module):
    """Denoises the tokens of sequences by cross-attention to condition tokens.

    Per block: H ← H + W Attention(Q = LN H + τ(t), K = V = [null; LN c]); H ← H + FFN(LN H); output x_t + W_out LN H.
    A learned null token stands before the condition tokens of every row, so that a row with none, or a query that may
    see none, is answered by it; a condition of None is the unconditional prediction.

    Shapes: ``x_t`` ``(B, L, D)``, ``t`` one or ``(B,)``, ``condition`` ``(B, S, C)``; ``valid`` bool ``(B, S)``, false
    for padding; ``visible`` bool ``(L, S)`` or ``(B, L, S)``, which tokens a query may see -> ``(B, L, D)``.
    Source: the cross-attention conditioning of M3BSR (Cui et al., SIGIR 2025); the null token is ours.
    """

    def __init__(
        self,
        dim: int,
        *,
        condition_dim: int | None = None,
        heads: int = 1,
        blocks: int = 1,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"heads = {heads}; expected a divisor of dim = {dim}")
        width = dim if condition_dim is None else condition_dim
        self.time = TimeCode(dim, generator)
        self.null = nn.Parameter(0.02 * torch.randn(width, generator=generator))
        self.blocks = nn.ModuleList(_AttentionBlock(dim, width, heads, generator) for _ in range(blocks))
        self.output = zero_linear(dim, dim)

    def forward(
        self,
        x_t: Tensor,
        t: int | Tensor,
        condition: Tensor | None = None,
        *,
        valid: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Tensor:
        time = self.time(t)[:, None]  # (1 or B, 1, D)
        tokens = self.null.expand(len(x_t), 1, -1)
        seen = torch.ones(1, 1, 1, dtype=torch.bool, device=x_t.device)
        if condition is not None:
            tokens = torch.cat([tokens, condition], dim=1)
            if valid is not None:
                seen = valid[:, None, :]
            if visible is not None:
                seen = seen & visible
            seen = seen.expand(*seen.shape[:2], condition.shape[1])
            seen = F.pad(seen, (1, 0), value=True)  # the null token is never hidden
        tokens = standardised(tokens)
        h = x_t
        for block in self.blocks:
            h = block(h, time, tokens, seen)
        return x_t + self.output(standardised(h))
