"""MMGCN: a graph network for each modality over users and items; its layers share the identities."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Range, Weight
from nbkit.graphs import SparseGraph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper
from nbkit.models.layers import FeatureTable, embedding, linear, product_bpr

Sides = tuple[Tensor, Tensor]  # users (U, D) and items (I, D)


class Hop(nn.Module):
    """One layer: what a node's neighbours say, h, and what it is itself, x̂, made one vector.

    h = φ(R̄ x W₁);  x̂ = φ(W₂ x + b₂) + id;  x' = φ(W₃ [h; x̂] + b₃), or φ(W₃ h + b₃ + x̂) where they are added.

    Shapes: ``x`` ``(U, D')`` and ``(I, D')``, ``ids`` ``(U, D)`` and ``(I, D)`` -> ``(U, D)`` and ``(I, D)``.
    """

    def __init__(self, width: int, dim: int, generator: torch.Generator, *, concat: bool) -> None:
        super().__init__()
        self.message, self.own = linear(width, width, generator, bias=False), linear(width, dim, generator)
        # W₃ in two parts, so that [h; x̂] need not be put together.
        self.from_neighbours = linear(width, dim, generator)
        self.from_own = linear(dim, dim, generator, bias=False) if concat else nn.Identity()

    def forward(self, x: Sides, ids: Sides, to_users: SparseGraph, to_items: SparseGraph) -> Sides:
        users, items = x
        # R̄ (x W) = (R̄ x) W: both products are taken where there are fewer rows, at the items.
        return (
            self._joined(to_users(self.message(items)), users, ids[0]),
            self._joined(self.message(to_items(users)), items, ids[1]),
        )

    def _joined(self, h: Tensor, x: Tensor, ids: Tensor) -> Tensor:
        own = F.leaky_relu(self.own(x)) + ids
        return F.leaky_relu(self.from_neighbours(F.leaky_relu(h, inplace=True)) + self.from_own(own))


class ModalGraph(nn.Module):
    """The layers of one modality, from unit rows of P_m and F_m on; identities of users and items -> their x_mᴸ."""

    def __init__(
        self,
        features: Tensor,
        num_users: int,
        dim: int,
        generator: torch.Generator,
        *,
        latent: int,
        layers: int,
        concat: bool,
        trained: bool,
    ) -> None:
        super().__init__()
        width = features.shape[1]
        self.features = FeatureTable(features)
        self.narrow = linear(width, latent, generator) if width > latent else nn.Identity()
        widths = [min(width, latent)] + [dim] * (layers - 1)
        self.preference = held(embedding(num_users, widths[0], generator), trained)
        self.hops = nn.ModuleList(Hop(w, dim, generator, concat=concat) for w in widths)

    def forward(self, ids: Sides, to_users: SparseGraph, to_items: SparseGraph) -> Sides:
        x = F.normalize(self.preference, dim=1), F.normalize(self.narrow(self.features()), dim=1)
        for hop in self.hops:
            x = hop(x, ids, to_users, to_items)
        return x


def held(table: nn.Parameter, trained: bool) -> Tensor:
    """The table to train, or as a constant that is saved with the weights trained beside it."""
    return table if trained else nn.Buffer(table.detach())


class MMGCN(CollaborativeRecommender):
    """Users have a preference P_m for each modality, items their features F_m; L layers mix both over the graph.

    x_m⁰ = [P_m; F_m], rows of length 1;  x_mˡ⁺¹ = :class:`Hop` of x_mˡ, with the same identities in every layer;
    Z = mean_m x_mᴸ;  s_ui = z_u · z_i;  L = BPR + reg · (mean id_u² + mean id_i² + Σ_m mean p_m,u²) over the batch.

    Shapes: ``users`` ``(U, D)``, ``items`` ``(I, D)``. Source: Wei et al., MM 2019, section 3: aggregation by mean,
    combination by concatenation or element-wise. The released code, the authors' and MMRec's, differs: identities and
    preferences are no parameters there and keep their random start (``train_ids`` false), so that no reg has an
    effect; reg knows the visual preferences alone; there are always three layers, concatenated. From the code are the
    mean over modalities, where the paper sums, and features narrowed first, there the images, here all wide ones.
    """

    name = "mmgcn"
    paper = Paper(
        "MMGCN: Multi-modal Graph Convolution Network for Personalized Recommendation of Micro-video",
        "MM 2019",
        "https://doi.org/10.1145/3343031.3351034",
    )
    grid = Grid("MMRec's", {"reg": (1e-1, 1e-2, 1e-3, 1e-4, 0.0)}, {"lr": (5e-3, 1e-3, 5e-4, 1e-4)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        latent: Annotated[int, Range(1, 8192), "features wider than this are first narrowed to it"] = 256,
        layers: Annotated[int, Range(1, 8), "graph layers L"] = 3,
        combine: Annotated[Literal["concat", "add"], "how a node's own part joins its neighbours'"] = "concat",
        reg: Weight = 1e-3,
        train_ids: Annotated[bool, "false leaves identities and preferences random, as MMRec does"] = True,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        size = inputs.num_users, inputs.num_items
        self.reg = reg if train_ids else 0.0
        users, items = inputs.pairs.unbind(1)
        user_degree, item_degree = torch.bincount(users), torch.bincount(items)
        self.to_users = SparseGraph(users, items, 1 / user_degree[users], size)
        self.to_items = SparseGraph(items, users, 1 / item_degree[items], size[::-1])
        self.users, self.items = (held(embedding(rows, dim, generator), train_ids) for rows in size)
        how: dict[str, Any] = {"latent": latent, "layers": layers, "concat": combine == "concat", "trained": train_ids}
        self.modal = nn.ModuleDict(
            {m: ModalGraph(f, inputs.num_users, dim, generator, **how) for m, f in inputs.features.items()}
        )

    def encoded(self) -> dict[str, Sides]:
        """x_mᴸ of each modality."""
        ids = self.users, self.items
        return {m: modal(ids, self.to_users, self.to_items) for m, modal in self.modal.items()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        users, items = self.embeddings()
        chosen = torch.cat([batch.positives, batch.negatives])
        user, (positive, negative) = users.index_select(0, batch.users), items.index_select(0, chosen).chunk(2)
        parts = {"bpr": product_bpr(user, positive, negative)}
        if self.reg:
            own = [self.users, *(modal.get_parameter("preference") for modal in self.modal.values())]
            rows = [*(table.index_select(0, batch.users) for table in own), self.items.index_select(0, chosen)]
            parts["reg"] = self.reg * torch.stack([r.square().mean() for r in rows]).sum()
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = (torch.stack(side).mean(0) for side in zip(*self.encoded().values(), strict=True))
        return users, items

    def export(self) -> dict[str, Tensor]:
        """Adds ``modal_<modality>`` ``(I, D)``, the items of each x_mᴸ."""
        return {**super().export(), **{f"modal_{m}": x[1] for m, x in self.encoded().items()}}
