"""FREEDOM: a frozen item graph from features, a user-item graph thinned anew each epoch."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Weight
from nbkit.graphs import thinned, user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper
from nbkit.models.item_graphs import ImageWeight, Neighbours, Source, frozen_item_graph
from nbkit.models.layers import ProjectedFeatures, node_table, product_bpr


class FREEDOM(CollaborativeRecommender):
    """LightGCN on a sampled graph, plus one hop of the item vectors over a frozen nearest-neighbour graph.

    S = Σ_m w_m kNN(f_m);  H = S Q;  Z = mean_l Ãˡ [P; Q];  e_i = z_i + h_i;  s_ui = z_u · e_i;
    L = BPR(z_u; e) + reg · Σ_m BPR(z_u; W_m f_m).
    Ã keeps a share of the edges, drawn each epoch without replacement with probability ∝ 1/sqrt(d_u d_i);
    evaluation uses all of them.

    Shapes: ``nodes`` ``(U + I, D)``, users first; item graph ``(I, I)``.
    Source: Zhou & Shen, ACM MM 2023, eq. 1-12; its b_m, which cancels in every difference, is left out.
    """

    pairs: Tensor

    name = "freedom"
    paper = Paper(
        "A Tale of Two Graphs: Freezing and Denoising Graph Structures",
        "MM 2023",
        "https://arxiv.org/abs/2211.06924",
    )

    grid = Grid("its paper", {"edge_dropout": (0.8, 0.9), "reg": (0.0, 1e-5, 1e-4, 1e-3)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 2,
        reg: Weight = 1e-3,
        edge_dropout: Annotated[Dropout, "share of user-item edges left out each epoch"] = 0.9,
        neighbours: Neighbours = 10,
        image_weight: ImageWeight = 0.1,
        item_graph: Source = "features",
        train_features: Annotated[bool, "train the raw features, as MMRec does"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.reg, self.edge_dropout, self.num_users = layers, reg, edge_dropout, inputs.num_users
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.register_buffer("pairs", inputs.pairs, persistent=False)
        self.graph = self.sampled = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        self.item_graph = frozen_item_graph(inputs, neighbours, image_weight, item_graph)
        # A branch of weight 0 is left out, exactly: no parameters that never train.
        self.content = nn.ModuleDict(
            {
                m: ProjectedFeatures(f, dim, generator, trained=train_features, bias=False)
                for m, f in (inputs.features if reg else {}).items()
            }
        )

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draw the edges of this epoch."""
        if self.edge_dropout:
            kept = thinned(self.pairs, self.edge_dropout, generator)
            self.sampled = user_item_graph(kept, self.num_users, len(self.nodes) - self.num_users)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        distinct, place = torch.unique(torch.cat([batch.positives, batch.negatives]), return_inverse=True)
        rows = torch.cat([batch.users, distinct + self.num_users])
        vectors, _ = self.sampled.propagate_rows(self.nodes, self.layers, rows, hop=self.item_graph)
        user, items = vectors.tensor_split([len(batch.users)])

        def bpr(items: Tensor) -> Tensor:
            positive, negative = items.index_select(0, place).chunk(2)
            return product_bpr(user, positive, negative)

        parts = {"bpr": bpr(items)}
        for modality, content in self.content.items():
            parts[f"bpr_{modality}"] = self.reg * bpr(content(distinct))
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.graph.propagate(self.nodes, self.layers).tensor_split([self.num_users])
        return users, items + self.item_graph(self.nodes[self.num_users :])

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` ``(I, D)``, the items' projected features."""
        return {**super().export(), **{f"projected_{m}": content() for m, content in self.content.items()}}
