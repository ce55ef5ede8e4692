"""MGCN: identities let through by what features say of an item, carried over item graphs, fused by behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from nbkit.config import Dim, Layers, Range, Weight
from nbkit.graphs import SparseGraph, neighbour_graph, normalised_values, user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import ProjectedFeatures, info_nce, node_table, norm_penalty, product_bpr
from nbkit.models.multi_view import Carry, Concatenated, MultiView
from nbkit.neighbours import alike

AUTHORS = "its authors' code (demonph10/MGCN) and MMRec's"


class MGCN(CollaborativeRecommender):
    """Two views of users and items, by behaviour and by each modality, and a contrast that ties them.

    Purifier        X_m = W_m f_m + b_m;  q̃_m = q ⊙ σ(W'_m X_m + b'_m).
    Views           Z = mean_{l=0..L} Âˡ [P; Q];  Y_m = [R̂ Ŝ_m q̃_m; Ŝ_m q̃_m], R̂ the user-item block of Â and
                    Ŝ_m = D^-½ S_m D^-½, S_m the cosines of each item's k nearest, D their sums by row.
    Fuser           C = Σ_m a_m Y_m, a = softmax_m(q' · tanh(W Y_m + b));
                    side = (C + Σ_m σ(W''_m Z + b''_m) ⊙ (Y_m - C)) / (M + 1);  E = Z + side;  s_ui = e_u · e_i.
    L = BPR + λ [InfoNCE_τ(side_U, Z_U) + InfoNCE_τ(side_I, Z_I)] + λ_E ½ Σ ‖e‖² / B over e_u, e_i, e_j of the batch.

    The contrast runs over the distinct users and the distinct observed items of the batch (code: with repetitions;
    paper: all of them). A weight of 0 leaves its part out, exactly; ``parts`` turns off one of the three ideas each.

    Shapes: ``nodes`` ``(U + I, D)``, users first. Source: Yu et al., MM 2023, section 3; constants and the fuser's
    1 / (M + 1) as in the authors' code. That trains the raw features (``train_features``) and divides the norms by the
    configured batch size, not by the actual one as here.
    """

    name = "mgcn"
    paper = Paper(
        "Multi-View Graph Convolutional Network for Multimedia Recommendation",
        "MM 2023",
        "https://arxiv.org/abs/2308.03588",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset(AUTHORS, {"contrast": 1e-3}, {"lr_decay": 0.96}),
        "sports": Preset(AUTHORS, {"contrast": 1e-2}, {"lr_decay": 0.96}),
        "clothing": Preset(AUTHORS, {"contrast": 1e-2}, {"lr_decay": 0.96}),
    }
    grid = Grid("its paper, widened", {"contrast": (1e-3, 1e-2, 1e-1), "reg": (1e-3, 1e-4)}, {"lr": (1e-3, 5e-4)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "purifier": {"purifier": False},
        "multi_view": {"multi_view": False},
        "contrast": {"contrast": 0.0},
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 2,
        neighbours: Annotated[int, Range(1, 1000), "k of each item graph, the item itself counted"] = 10,
        purifier: Annotated[bool, "item graphs carry identities gated by features; else projected features"] = True,
        multi_view: Annotated[bool, "a view of each modality, fused; else one projection of all features"] = True,
        contrast: Annotated[Weight, "λ: contrast of side and behaviour"] = 0.01,
        temperature: Annotated[float, Range(0.01, 10), "τ of the contrast"] = 0.2,
        reg: Annotated[Weight, "λ_E: weight of half the squared norms of the batch's vectors"] = 1e-4,
        train_features: Annotated[bool, "train the raw features, as the authors' code does"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.num_users, size = layers, inputs.num_users, (inputs.num_users, inputs.num_items)
        self.contrast, self.temperature, self.reg = contrast, temperature, reg
        self.nodes = node_table(*size, dim, generator)
        self.graph = user_item_graph(inputs.pairs, *size)
        users, items = inputs.pairs.unbind(1)
        history = SparseGraph(users, items, normalised_values(users, items, size), size)  # R̂
        self.content = nn.ModuleDict(
            {m: ProjectedFeatures(f, dim, generator, trained=train_features) for m, f in inputs.features.items()}
        )
        if multi_view:
            near = [neighbour_graph(*alike(f, neighbours)) for f in inputs.features.values()]
            carry: Carry = "ids" if purifier else "features"
            self.side: MultiView | Concatenated = MultiView(
                self.graph, history, near, dim, generator, layers=0, carry=carry
            )
        else:
            self.side = Concatenated(history, len(self.content), dim, generator)

    def views(self) -> tuple[Tensor, list[Tensor]]:
        """Z ``(U + I, D)``, and what item graphs carry of each modality, ``(I, D)``."""
        z = self.graph.propagate(self.nodes, self.layers)
        return z, self.side.items([content() for content in self.content.values()], self.nodes[self.num_users :])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        z, items = self.views()
        rows = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        nodes, place = torch.unique(rows, return_inverse=True)  # each is fused once
        side, behaviour = self.side(items, z, nodes), z.index_select(0, nodes)
        user, positive, negative = (side + behaviour).index_select(0, place).chunk(3)
        parts = {
            "bpr": product_bpr(user, positive, negative),
            "reg": self.reg * norm_penalty(user, positive, negative, squared=True),
        }
        if self.contrast:
            both = [torch.unique(some) for some in place.split(len(batch.users))[:2]]  # users, and observed items
            pairs = [(side.index_select(0, some), behaviour.index_select(0, some)) for some in both]
            contrasts = [info_nce(a, b, self.temperature) for a, b in pairs]
            parts["contrast"] = self.contrast * torch.stack(contrasts).sum()
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        z, items = self.views()
        users, items_of_all = (z + self.side(items, z)).tensor_split([self.num_users])
        return users, items_of_all

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` X_m and ``view_<modality>`` Ŝ_m q̃_m, both ``(I, D)``."""
        tables = super().export()
        for name, carried in zip(self.content, self.views()[1], strict=True):
            tables |= {f"projected_{name}": self.content[name](), f"view_{name}": carried}
        return tables
