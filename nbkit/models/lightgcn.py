"""LightGCN: propagation over the user-item graph and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from nbkit.config import Dim, Layers, Weight
from nbkit.graphs import user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import node_table, norm_penalty, product_bpr


class LightGCN(CollaborativeRecommender):
    """Embeddings averaged over 0 … L hops of the normalised user-item graph.

    Z = mean_l Âˡ [P; Q];  s_ui = z_u · z_i;  L = -mean log σ(s_ui - s_uj) + reg · norms(p_u, q_i, q_j).

    Shapes: ``nodes`` ``(U + I, D)``, users first. Source: He et al., SIGIR 2020, eq. 3-8; the norms of the batch's ego
    embeddings stand for the paper's ‖E⁰‖² (as in MMRec's code, so that its published weights apply).
    """

    name = "lightgcn"
    paper = Paper(
        "LightGCN: Simplifying and Powering Graph Convolution Network",
        "SIGIR 2020",
        "https://arxiv.org/abs/2002.02126",
    )
    modalities = "none"
    grid = Grid("MMRec's report", {"layers": (2, 3, 4), "reg": (1e-2, 1e-3, 1e-4, 1e-5)})
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset("validation, seed 0, of 1e-2, 1e-3 and 1e-4", {"reg": 0.01})
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 3,
        reg: Weight = 1e-3,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.reg, self.num_users = layers, reg, inputs.num_users
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        rows = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        z, ego = self.graph.propagate_rows(self.nodes, self.layers, rows)
        user, positive, negative = z.chunk(3)
        return {
            "bpr": product_bpr(user, positive, negative),
            "reg": self.reg * norm_penalty(*ego.chunk(3)),
        }

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.graph.propagate(self.nodes, self.layers).tensor_split([self.num_users])
        return users, items
