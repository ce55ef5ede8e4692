"""From item features by modality to one side vector a node: propagated and fused views, or a plain concatenation.

``N`` = U + I nodes, users first, ``M`` modalities, ``D`` width. Reconstruction of JBM-Diff's multi-view propagation and
fusion (see ``jbm_diff``); the gates by behaviour follow MGCN (Yu et al., MM 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nbkit.graphs import SparseGraph
from nbkit.layers import linear


class Fusion(nn.Module):
    """The views' weighted mean C = Σ_m a_m Y_m, a_m = softmax_m(q · tanh(W Y_m)), and what each adds to it, gated by Z:
    (C + Σ_m σ(W_m Z) ⊙ (Y_m - C)) / (M + 1). A single view needs no weights: it is its own mean.

    Shapes: M views and Z ``(N, D)`` -> ``(N, D)``.
    """

    def __init__(self, views: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.count = views
        if views > 1:
            self.ask, self.query = linear(dim, dim, generator), linear(dim, 1, generator, bias=False)
            self.gates = nn.ModuleList(linear(dim, dim, generator) for _ in range(views))

    def forward(self, views: Sequence[Tensor], z: Tensor) -> Tensor:
        if self.count == 1:
            return views[0] / 2
        y = torch.stack(tuple(views))  # (M, N, D)
        share = torch.softmax(self.query(torch.tanh(self.ask(y))), dim=0)  # (M, N, 1)
        centre = (share * y).sum(0)
        gate = torch.sigmoid(torch.stack([gate(z) for gate in self.gates]))
        return (centre + (gate * (y - centre)).sum(0)) / (self.count + 1)


class MultiView(nn.Module):
    """H_m = Ŝ_m x̃_m W_m, users as the mean of their items [R̄ H; H], Y_m = ½ (1 + Â) [R̄ H; H], then :class:`Fusion`.

    Shapes: M tables x̃ ``(I, D)`` and Z ``(N, D)`` -> M tables H ``(I, D)`` and the side vectors ``(N, D)``.
    """

    def __init__(
        self,
        graph: SparseGraph,
        history: SparseGraph,
        item_graphs: Sequence[SparseGraph],
        dim: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.graph, self.history, self.item_graphs = graph, history, nn.ModuleList(item_graphs)
        self.maps = nn.ModuleList(linear(dim, dim, generator, bias=False) for _ in item_graphs)
        self.fusion = Fusion(len(item_graphs), dim, generator)

    def forward(self, features: Sequence[Tensor], z: Tensor) -> tuple[list[Tensor], Tensor]:
        items = [hop(turn(x)) for hop, turn, x in zip(self.item_graphs, self.maps, features, strict=True)]
        nodes = [torch.cat([self.history(h), h]) for h in items]
        return items, self.fusion([self.graph.propagate(y, 1) for y in nodes], z)


class Concatenated(nn.Module):
    """One linear map of all features side by side, users as the mean of their items: the views' ablation.

    Shapes: as :class:`MultiView`, with x̃ for H.
    """

    def __init__(self, history: SparseGraph, views: int, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.history, self.project = history, linear(views * dim, dim, generator)

    def forward(self, features: Sequence[Tensor], z: Tensor) -> tuple[list[Tensor], Tensor]:
        side = self.project(torch.cat(tuple(features), dim=1))
        return list(features), torch.cat([self.history(side), side])
