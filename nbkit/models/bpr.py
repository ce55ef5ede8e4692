"""BPR: matrix factorisation trained on the order of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from nbkit.config import Dim, Weight
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper
from nbkit.models.layers import embedding, norm_penalty, product_bpr


class BPR(CollaborativeRecommender):
    """A user and an item vector each; the observed item shall score above a random other.

    s_ui = p_u · q_i;  L = -mean log σ(s_ui - s_uj) + reg · norms(p_u, q_i, q_j).

    Shapes: ``users`` P ``(U, D)``, ``items`` Q ``(I, D)``. Source: Rendle et al., UAI 2009, eq. 4 and section 4.3.1.
    """

    name = "bpr"
    paper = Paper(
        "BPR: Bayesian Personalized Ranking from Implicit Feedback",
        "UAI 2009",
        "https://arxiv.org/abs/1205.2618",
    )
    modalities = "none"
    grid = Grid("MMRec's report, and two learning rates", {"reg": (1.0, 0.1, 0.01, 1e-3, 1e-4)}, {"lr": (1e-3, 5e-4)})

    def __init__(self, inputs: Inputs, *, dim: Dim = 64, reg: Weight = 0.1, generator: torch.Generator) -> None:
        super().__init__()
        self.reg = reg
        self.users = embedding(inputs.num_users, dim, generator)
        self.items = embedding(inputs.num_items, dim, generator)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        user = self.users.index_select(0, batch.users)
        both = torch.cat([batch.positives, batch.negatives])  # gathered at once: one gradient table, not two
        positive, negative = self.items.index_select(0, both).chunk(2)
        return {
            "bpr": product_bpr(user, positive, negative),
            "reg": self.reg * norm_penalty(user, positive, negative),
        }

    def embeddings(self) -> tuple[Tensor, Tensor]:
        return self.users, self.items
