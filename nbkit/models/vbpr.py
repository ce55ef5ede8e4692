"""VBPR: matrix factorisation with a projection of the items' features beside the item vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from nbkit.config import Dim, Weight
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import ProjectedFeatures, concatenated, embedding, norm_penalty, product_bpr


class VBPR(CollaborativeRecommender):
    """Each item is [its own vector; a projection of its features], each user one vector of the double width.

    e_i = [q_i; W f_i + b];  s_ui = p_u · e_i;  L = -mean log σ(s_ui - s_uj) + reg · norms(p_u, e_i, e_j).

    Shapes: ``users`` ``(U, 2D)``, ``items`` ``(I, D)``; f is all modalities side by side.
    Source: He & McAuley, AAAI 2016, eq. 4-7; without its bias terms and with any number of modalities, as in MMRec.
    """

    name = "vbpr"
    paper = Paper("VBPR: Visual Bayesian Personalized Ranking", "AAAI 2016", "https://arxiv.org/abs/1510.01784")
    presets: ClassVar[Mapping[str, Preset]] = {"baby": Preset("validation, seed 0, of 1, .3, .1 and .01", {"reg": 0.3})}

    grid = Grid("MMRec's report, .3 added", {"reg": (1.0, 0.3, 0.1, 0.01, 1e-3)}, {"lr": (1e-3, 5e-4)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        reg: Weight = 1.0,
        train_features: Annotated[bool, "train the raw features, as MMRec does"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.reg = reg
        self.users = embedding(inputs.num_users, 2 * dim, generator)
        self.items = embedding(inputs.num_items, dim, generator)
        self.content = ProjectedFeatures(concatenated(inputs.features), dim, generator, trained=train_features)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        user = self.users.index_select(0, batch.users)
        distinct, place = torch.unique(torch.cat([batch.positives, batch.negatives]), return_inverse=True)
        items = torch.cat([self.items.index_select(0, distinct), self.content(distinct)], dim=1)
        positive, negative = items.index_select(0, place).chunk(2)
        return {
            "bpr": product_bpr(user, positive, negative),
            "reg": self.reg * norm_penalty(user, positive, negative),
        }

    def embeddings(self) -> tuple[Tensor, Tensor]:
        return self.users, torch.cat([self.items, self.content()], dim=1)

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected`` ``(I, D)``, the items' projected features."""
        return {**super().export(), "projected": self.content()}
