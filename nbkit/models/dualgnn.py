"""DualGNN: modalities propagated each by itself, weighed by every user, and learnt from users alike."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Layers, Range, Weight
from nbkit.graphs import SparseGraph, user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper
from nbkit.models.layers import FeatureTable, embedding, linear, product_bpr
from nbkit.neighbours import together


def co_occurrence(pairs: Tensor, num_users: int, k: int) -> SparseGraph:
    """Each user's k users with most items in common, softmax of their numbers as weights; a user with none has none.

    Shapes: ``pairs`` ``(P, 2)`` distinct (user, item) -> a graph ``(U, U)``.
    """
    users, others, counts = together(pairs[:, 0], pairs[:, 1], num_users, k)
    most = torch.zeros(num_users).scatter_reduce_(0, users, counts, "amax")
    odds = (counts - most[users]).exp()
    total = torch.zeros(num_users).index_add_(0, users, odds)
    return SparseGraph(users, others, odds / total[users], (num_users, num_users))


class DualGNN(CollaborativeRecommender):
    """A user-item graph for each modality, a weight of each modality for each user, and a graph of users.

    E_m = Σ_{l=0..L} Âˡ norm[P_m; MLP_m(F_m)];  r_u = Σ_m α_um E_m[u];  z_u = r_u + Σ_v softmax_v(c_uv) r_v over the K
    users with most items c_uv in common;  z_i = Σ_m E_m[i];  s_ui = z_u · z_i;
    L = BPR + reg · (Σ_m mean P_m[u]² + mean of what α_u is made from, squared), means over the batch's users.

    Shapes: P_m ``(U, D)``, E_m ``(U + I, D)``, users first; α ``(U, M)``. Source: Wang et al., TMM 2021. α starts equal
    and is kept a softmax; the released code takes the softmax only once and then trains α as it is (``attention``
    "free"). Graphs without some items of a modality are drawn there and not used. Further, in MMRec's code, users weigh
    (E_image + E_text, E_text), a sum taken in place that the authors' code does not have: with free weights the same
    model from another start, so it has no switch; log₂ makes BPR heavier, so that its reg r is r·ln 2 here; and short
    lists of neighbours are filled up with repetitions, where the softmax here is over those there are.
    """

    name = "dualgnn"
    paper = Paper(
        "DualGNN: Dual Graph Neural Network for Multimedia Recommendation",
        "TMM 2021",
        "https://ieeexplore.ieee.org/abstract/document/9662655",
    )

    weights: Tensor
    grid = Grid("MMRec's", {"reg": (1e-1, 1e-2, 1e-3, 1e-4)}, {"lr": (1e-3, 5e-4, 1e-4)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        hidden: Annotated[int, Range(1, 8192), "width of the feature encoder's inner layer"] = 256,
        layers: Layers = 2,
        neighbours: Annotated[int, Range(0, 1000), "K of the user graph; 0 leaves it out"] = 40,
        attention: Annotated[Literal["softmax", "free"], "how a user's weights of the modalities are kept"] = "softmax",
        reg: Weight = 1e-3,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_users, self.layers, self.reg, self.attention = inputs.num_users, layers, reg, attention
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        self.user_graph = co_occurrence(inputs.pairs, inputs.num_users, neighbours) if neighbours else None
        self.features, self.content, self.preferences = nn.ModuleDict(), nn.ModuleDict(), nn.ParameterDict()
        for m, features in inputs.features.items():
            self.features[m] = FeatureTable(features)
            inner, outer = linear(features.shape[1], hidden, generator), linear(hidden, dim, generator)
            self.content[m] = nn.Sequential(inner, nn.LeakyReLU(), outer)
            self.preferences[m] = embedding(inputs.num_users, dim, generator)
        count = len(self.preferences)
        start = torch.full((inputs.num_users, count), 1 / count if attention == "free" else 0.0)
        # The softmax over a single modality is 1 whatever is trained.
        self.weights = nn.Parameter(start) if attention == "free" or count > 1 else nn.Buffer(start)

    def encoded(self) -> dict[str, Tensor]:
        """E_m of each modality, ``(U + I, D)``."""
        tables = {m: torch.cat([p, self.content[m](self.features[m]())]) for m, p in self.preferences.items()}
        return {m: self.graph.propagate(F.normalize(x, dim=1), self.layers, combine="sum") for m, x in tables.items()}

    def shares(self) -> Tensor:
        """α of each user over the modalities in the order of their names: ``(U, M)``."""
        return self.weights.softmax(1) if self.attention == "softmax" else self.weights

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        users, items = self.embeddings()
        user = users.index_select(0, batch.users)
        positive, negative = items.index_select(0, torch.cat([batch.positives, batch.negatives])).chunk(2)
        parts = {"bpr": product_bpr(user, positive, negative)}
        if self.reg:
            tables = [*self.preferences.values(), self.weights]
            squares = [table.index_select(0, batch.users).square().mean() for table in tables]
            parts["reg"] = self.reg * torch.stack(squares).sum()
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        sides = [x.tensor_split([self.num_users]) for x in self.encoded().values()]
        weighed = zip(self.shares().unbind(1), sides, strict=True)
        users = torch.stack([share[:, None] * users for share, (users, _) in weighed]).sum(0)
        if self.user_graph is not None:
            users = self.user_graph.propagate(users, 1, combine="sum")
        return users, torch.stack([items for _, items in sides]).sum(0)

    def export(self) -> dict[str, Tensor]:
        """Adds ``modal_<modality>`` ``(I, D)``, the items of each E_m, and ``shares`` ``(U, M)``."""
        tables = {f"modal_{m}": x[self.num_users :] for m, x in self.encoded().items()}
        return {**super().export(), **tables, "shares": self.shares()}
