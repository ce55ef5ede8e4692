"""SLMRec: one user table seen through the identities' graph and each modality's; views of an item tell it apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Range, Weight
from nbkit.graphs import user_item_graph
from nbkit.layers import dropout, linear
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import ProjectedFeatures, info_nce, node_table

Temperature = Annotated[float, Range(0.01, 10), "temperature"]
LOGS = "logs of DA-MRS's authors"


class SLMRec(CollaborativeRecommender):
    """LightGCN on the identities and on each modality with the users P in common, fused, ranked within the batch.

    Z_0 = mean_l Âˡ [P; Q];  Z_m = mean_l Âˡ [P; W_m f_m/‖f_m‖ + b_m], m = 1 … M in the order of the names;
    h_u = W_U [z_0,u; …; z_M,u] + b_U, h_i = W_I [z_0,i; …; z_M,i] + b_I;
    L = InfoNCE_τ(h_u, h_i) + ssl · L_task, over the pairs (u, i) of the batch; the batch's negatives are not read.
    ``fac``   from fine to coarse: a_0 = z_0,i, a_m = G_m a_{m-1} + g_m, L = Σ_m CE(a_m · (H_m z_m,i)/τ_s), each item
              against the batch's; the last of several spaces is half as wide. H_m needs no bias: it would cancel.
    ``fd``    L = InfoNCE_τs of two views of the users + of the items; a view drops out what each hop carries.
    ``fm``    the same of two views; each lacks the item table of one of Q, X_1 … X_M, another in each.
    ``fd+fm`` both at once.

    Shapes: ``nodes`` = [P; Q] ``(U + I, D)``, h of width D; fused Z ``(n, (M + 1)D)``.
    Source: Tao et al., TMM 2022; its tasks as the authors' code has them, which mixes a masked view's own features with
    the other view's hops (here each keeps its own). MMRec has ``fac`` with a further linear map between G_1 and G_2,
    which adds nothing G_2 cannot do. The raw features are frozen, as in both codes. ``ssl`` of 0 leaves the task out,
    exactly. Both codes train with cosines and rank by dot products, and published numbers need it: negatives from the
    batch are as frequent as items are popular, so that cosines forget popularity, and the length of h_i, which the loss
    does not see, brings it back. On Amazon Baby (seed 0, no task, three epochs) it goes with log
    popularity (correlation .91), and validation Recall@20 is .081; ranking by what was trained, ``score`` "cosine",
    gives .040.
    """

    name = "slmrec"
    paper = Paper(
        "Self-supervised Learning for Multimedia Recommendation",
        "TMM 2022",
        "https://doi.org/10.1109/TMM.2022.3187556",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        data: Preset(LOGS, settings, {"lr": 1e-3, "batch_size": 256, "weight_decay": 1e-4})
        for data, settings in {
            "baby": {"ssl": 0.01, "ssl_temperature": 0.2},
            "sports": {"ssl": 0.01, "ssl_temperature": 0.2},
            "clothing": {"ssl": 0.05, "ssl_temperature": 1.0},
        }.items()
    }
    grid = Grid(
        "MMRec's, less the largest steps",
        {"ssl": (0.01, 0.05, 0.1, 0.5, 1.0), "ssl_temperature": (0.1, 0.2, 0.5, 1.0)},
        {"lr": (1e-3, 5e-3), "weight_decay": (1e-4,)},
    )

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 3,
        temperature: Annotated[Temperature, "τ of the ranking loss"] = 0.2,
        task: Annotated[Literal["fac", "fd", "fm", "fd+fm"], "what the self-supervision asks"] = "fac",
        ssl: Annotated[Weight, "weight of the self-supervision; 0 leaves it out"] = 0.01,
        ssl_temperature: Annotated[Temperature, "τ of the self-supervision"] = 0.2,
        hop_dropout: Annotated[Dropout, "share of what a hop carries that fd leaves out"] = 0.3,
        score: Annotated[Literal["dot", "cosine"], "what items are ranked by"] = "dot",
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.temperature, self.task = layers, temperature, task
        self.ssl, self.ssl_temperature, self.hop_dropout, self.by = ssl, ssl_temperature, hop_dropout, score
        self.num_users = inputs.num_users
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        features = {m: F.normalize(inputs.features[m], dim=1) for m in sorted(inputs.features)}
        self.content = nn.ModuleDict(
            {m: ProjectedFeatures(f, dim, generator, trained=False) for m, f in features.items()}
        )
        self.fuse = nn.ModuleList(linear((len(features) + 1) * dim, dim, generator) for _ in ("users", "items"))
        self.coarser, self.modal = nn.ModuleDict(), nn.ModuleDict()
        if ssl and task == "fac":
            last = max(1, dim // 2) if len(features) > 1 else dim
            for place, m in enumerate(features, start=1):
                width = last if place == len(features) else dim
                self.coarser[m] = linear(dim, width, generator)
                self.modal[m] = linear(dim, width, generator, bias=False)

    def tables(self) -> list[Tensor]:
        """[P; Q] and [P; X_m] of each modality: M + 1 of ``(U + I, D)``."""
        users = self.nodes[: self.num_users]
        return [self.nodes, *(torch.cat([users, content()]) for content in self.content.values())]

    def _fused(self, views: list[Tensor], users: int) -> tuple[Tensor, Tensor]:
        """h of rows of which the first are users."""
        user, item = (fuse(z) for fuse, z in zip(self.fuse, torch.cat(views, 1).tensor_split([users]), strict=True))
        return user, item

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        tables = self.tables()
        rows = torch.cat([batch.users, batch.positives + self.num_users])
        views = [self.graph.propagate_rows(table, self.layers, rows)[0] for table in tables]
        parts = {"rec": info_nce(*self._fused(views, len(batch.users)), self.temperature)}
        if self.ssl and self.task == "fac":
            item, *modal = (z[len(batch.users) :] for z in views)
            for m, z in zip(self.coarser, modal, strict=True):
                item = self.coarser[m](item)
                parts[f"ssl_{m}"] = self.ssl * info_nce(item, self.modal[m](z), self.ssl_temperature, cosine=False)
        elif self.ssl:
            (user, item), others = (self._augmented(some, rows, batch) for some in self._masked(tables, batch))
            for kind, one, other in zip(("users", "items"), (user, item), others, strict=True):
                parts[f"ssl_{kind}"] = self.ssl * info_nce(one, other, self.ssl_temperature)
        return parts

    def _masked(self, tables: list[Tensor], batch: Batch) -> list[list[Tensor]]:
        """The tables of two views, in each the items of another one set to 0 if the task masks."""
        if "fm" not in self.task:
            return [tables, tables]
        order = torch.randperm(len(tables), generator=batch.generator, device=batch.generator.device)
        is_user = torch.arange(len(tables[0]), device=tables[0].device)[:, None] < self.num_users
        return [[t * is_user if k == gone else t for k, t in enumerate(tables)] for gone in order[:2].tolist()]

    def _augmented(self, tables: list[Tensor], rows: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        rate, views = self.hop_dropout if "fd" in self.task else 0.0, []
        for x in tables:
            hops = [x]
            for _ in range(self.layers):
                hops.append(dropout(self.graph(hops[-1]), rate, batch.generator))
            views.append((torch.stack(hops).sum(0) / len(hops)).index_select(0, rows))
        return self._fused(views, len(batch.users))

    def embeddings(self) -> tuple[Tensor, Tensor]:
        views = [self.graph.propagate(table, self.layers) for table in self.tables()]
        users, items = self._fused(views, self.num_users)
        return (users, items) if self.by == "dot" else (F.normalize(users, dim=1), F.normalize(items, dim=1))

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` ``(I, D)``, the items' projected features."""
        return {**super().export(), **{f"projected_{m}": content() for m, content in self.content.items()}}
