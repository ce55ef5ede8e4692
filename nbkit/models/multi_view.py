"""From item features by modality to one side vector a node: propagated and fused views, or a plain concatenation.

``N`` = U + I nodes, users first, ``M`` modalities, ``D`` width. Source: MGCN (Yu et al., MM 2023), whose purifier, item
views and fuser these are; JBM-Diff's reconstruction (``jbm_diff``) carries its views one hop further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from nbkit.graphs import SparseGraph
from nbkit.layers import linear

Carry = Literal["ids", "features"]


class Fusion(nn.Module):
    """The views' weighted mean C = Σ_m a_m Y_m, a_m = softmax_m(q · tanh(W Y_m)), and what each adds to it, gated by Z:
    (C + Σ_m σ(W_m Z) ⊙ (Y_m - C)) / (M + 1). A single view needs no weights: it is its own mean.

    Shapes: views ``(M, n, D)`` and Z ``(n, D)`` of some nodes -> ``(n, D)``.
    """

    def __init__(self, views: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        if views > 1:
            self.ask, self.query = linear(dim, dim, generator), linear(dim, 1, generator, bias=False)
            self.gates = nn.ModuleList(linear(dim, dim, generator) for _ in range(views))

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        if len(y) == 1:
            return y[0] / 2
        share = torch.softmax(self.query(torch.tanh(self.ask(y))), dim=0)  # (M, n, 1)
        centre = (share * y).sum(0)
        gate = torch.sigmoid(torch.stack([gate(z) for gate in self.gates]))
        return (centre + (gate * (y - centre)).sum(0)) / (len(y) + 1)


class MultiView(nn.Module):
    """H_m = Ŝ_m (q ⊙ σ(W_m x̃_m + b_m)), users from their items as [R̄ H; H], Y_m = mean_{l=0..L} Âˡ [R̄ H; H], then
    :class:`Fusion`. With ``carry`` "features" H_m = Ŝ_m x̃_m W_m: the features go their way without the identities q.

    Shapes: M tables x̃ and q ``(I, D)``, Z ``(N, D)`` -> views ``(M, N, D)``, and side vectors ``(n, D)`` of some nodes.
    """

    def __init__(
        self,
        graph: SparseGraph,
        history: SparseGraph,
        item_graphs: Sequence[SparseGraph],
        dim: int,
        generator: torch.Generator,
        *,
        layers: int = 1,
        carry: Carry = "ids",
    ) -> None:
        super().__init__()
        self.graph, self.history, self.item_graphs = graph, history, nn.ModuleList(item_graphs)
        self.layers, self.carry = layers, carry
        self.maps = nn.ModuleList(linear(dim, dim, generator, bias=carry == "ids") for _ in item_graphs)
        self.fusion = Fusion(len(item_graphs), dim, generator)

    def items(self, features: Sequence[Tensor], ids: Tensor) -> list[Tensor]:
        """H_m of each modality."""
        mapped = [turn(x) for turn, x in zip(self.maps, features, strict=True)]
        carried = [ids * torch.sigmoid(x) for x in mapped] if self.carry == "ids" else mapped
        return [hop(x) for hop, x in zip(self.item_graphs, carried, strict=True)]

    def forward(self, items: Sequence[Tensor], z: Tensor, rows: Tensor | None = None) -> Tensor:
        """The side of the nodes ``rows``, or of all, from H."""
        if rows is None:
            rows = torch.arange(len(z), device=z.device)
        nodes = [torch.cat([self.history(h), h]) for h in items]
        return self.fusion(torch.stack([self.graph.propagate_rows(y, self.layers, rows)[0] for y in nodes]), z[rows])


class Concatenated(nn.Module):
    """One linear map of all features side by side, users as the mean of their items: the views' ablation.

    Shapes: as :class:`MultiView`, with x̃ for H.
    """

    def __init__(self, history: SparseGraph, views: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.history, self.project = history, linear(views * dim, dim, generator)

    def items(self, features: Sequence[Tensor], ids: Tensor) -> list[Tensor]:
        """x̃ of each modality as it is."""
        return list(features)

    def forward(self, items: Sequence[Tensor], z: Tensor, rows: Tensor | None = None) -> Tensor:
        """The side of the nodes ``rows``, or of all, from x̃."""
        side = self.project(torch.cat(tuple(items), dim=1))
        side = torch.cat([self.history(side), side])
        return side if rows is None else side.index_select(0, rows)
