"""BM3: users, items and modalities led towards one another's dropped-out views, without a single negative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Weight
from nbkit.graphs import user_item_graph
from nbkit.layers import dropout as dropped
from nbkit.layers import linear
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import ProjectedFeatures, node_table, norm_penalty


def distance(online: Tensor, target: Tensor) -> Tensor:
    """1 - cos of each row: ``(n, D)``, ``(n, D)`` -> ``(n,)``."""
    return 1 - F.cosine_similarity(online, target, dim=1)


class BM3(CollaborativeRecommender):
    """One linear predictor q turns each representation into a guess at a target: another one, detached and dropped out.

    Z = mean_l Âˡ [P; Q];  e_u = z_u, e_i = z_i + q_i;  x_m,i = W_m f_m,i + b_m;  ẽ, x̃ = dropout(stop-gradient(e, x)).
    L_rec   = C(q(e_u), ẽ_i) + C(q(e_i), ẽ_u),  C(a, b) = 1 - cos(a, b), a mean over the batch's pairs (u, i);
    L_inter = Σ_m C(q(x_m,i), ẽ_i);  L_intra = Σ_m C(q(x_m,i), x̃_m,i);
    L = L_rec + inter · L_inter + intra · L_intra + reg · (‖e_U‖ + ‖e_I‖)/I;  s_ui = q(e_u) · q(e_i).

    Shapes: ``nodes`` ``(U + I, D)``, users first. Each node's dropout is drawn once a step, however often the batch
    names it; the batch's negatives are not read.
    Source: Zhou et al., WWW 2023. Constants and norms are those of the authors' code, since all published weights are
    of it: 2 for both alignments, plain (not squared) norms of all rows over the number of items, and a bias of q that
    starts uniform within ±D^-½. It also trains the raw features (``train_features``); frozen is the default here. A
    weight of 0 leaves its part out, exactly; ``parts`` names both alignments, and without either the content is left
    out altogether.
    """

    name = "bm3"
    paper = Paper(
        "Bootstrap Latent Representations for Multi-modal Recommendation",
        "WWW 2023",
        "https://arxiv.org/abs/2207.05969",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset("the authors' repository", {"layers": 1, "dropout": 0.5, "reg": 0.1}),
        "sports": Preset("the authors' repository", {"layers": 1, "dropout": 0.5, "reg": 0.01}),
        "clothing": Preset(
            "logs of DA-MRS's authors", {"layers": 1, "dropout": 0.3, "reg": 0.0}, {"lr": 1e-3, "batch_size": 256}
        ),
    }
    grid = Grid("its paper", {"layers": (1, 2), "dropout": (0.3, 0.5), "reg": (0.1, 0.01)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {"inter": {"inter": 0.0}, "intra": {"intra": 0.0}}

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 1,
        dropout: Annotated[Dropout, "share of each target's numbers left out"] = 0.5,
        inter: Annotated[Weight, "weight of the modalities' distance to the items"] = 2.0,
        intra: Annotated[Weight, "weight of the modalities' distance to themselves, dropped out"] = 2.0,
        reg: Weight = 0.1,
        train_features: Annotated[bool, "train the raw features, as the authors' code does"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.dropout, self.inter, self.intra, self.reg = layers, dropout, inter, intra, reg
        self.num_users = inputs.num_users
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        self.predictor = linear(dim, dim, generator)
        # All guesses begin in one direction, and spread: from a bias of 0 it ranks a tenth worse on Amazon Baby.
        nn.init.uniform_(self.predictor.bias, -(dim**-0.5), dim**-0.5, generator=generator)
        self.content = nn.ModuleDict(
            {m: ProjectedFeatures(f, dim, generator, trained=train_features) for m, f in inputs.features.items()}
            if inter or intra
            else {}
        )

    def encoded(self) -> tuple[Tensor, Tensor]:
        """e of all users and items: ``(U, D)`` and ``(I, D)``."""
        users, items = self.graph.propagate(self.nodes, self.layers).tensor_split([self.num_users])
        return users, items + self.nodes[self.num_users :]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        all_users, all_items = self.encoded()
        users, row_u = torch.unique(batch.users, return_inverse=True)
        items, row_i = torch.unique(batch.positives, return_inverse=True)
        user, item = all_users.index_select(0, users), all_items.index_select(0, items)
        user_target, item_target = self._target(user, batch), self._target(item, batch)
        by_user = distance(self.predictor(user).index_select(0, row_u), item_target.index_select(0, row_i))
        by_item = distance(self.predictor(item).index_select(0, row_i), user_target.index_select(0, row_u))
        parts = {"rec": (by_user + by_item).mean()}
        for m, content in self.content.items():
            x = content(items)
            guess = self.predictor(x)
            if self.inter:
                parts[f"inter_{m}"] = self.inter * distance(guess, item_target).index_select(0, row_i).mean()
            if self.intra:
                parts[f"intra_{m}"] = self.intra * distance(guess, self._target(x, batch)).index_select(0, row_i).mean()
        if self.reg:
            parts["reg"] = self.reg * norm_penalty(all_items, all_users)
        return parts

    def _target(self, x: Tensor, batch: Batch) -> Tensor:
        return dropped(x.detach(), self.dropout, batch.generator)

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.encoded()
        return self.predictor(users), self.predictor(items)

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` ``(I, D)``, the items' projected features."""
        return {**super().export(), **{f"projected_{m}": content() for m, content in self.content.items()}}
