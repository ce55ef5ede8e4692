"""The few building blocks that models share; every random draw comes from the generator given."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.layers import embedding, linear


def node_table(num_users: int, num_items: int, dim: int, generator: torch.Generator) -> nn.Parameter:
    """Users and items in one table ``(U + I, dim)``, users first, each kind Xavier-uniform by itself.

    One table needs no concatenation in a step and is updated in one pass.
    """
    parts = [embedding(rows, dim, generator).detach() for rows in (num_users, num_items)]
    return nn.Parameter(torch.cat(parts))


class FeatureTable(nn.Module):
    """Raw item features of one modality, ``(I, D_m)``: frozen unless ``trained``, and then a parameter like any other.

    MMRec's code trains them (31.6 million weights for Baby); papers describe them as given. Frozen is the default here.
    """

    table: Tensor

    def __init__(self, features: Tensor, *, trained: bool = False) -> None:
        super().__init__()
        if trained:
            self.table = nn.Parameter(features.clone())
        else:
            self.register_buffer("table", features, persistent=False)

    def forward(self, items: Tensor | None = None) -> Tensor:
        """Rows of the given items ``(B, D_m)``, or all ``(I, D_m)``."""
        return self.table if items is None else F.embedding(items, self.table)


class ProjectedFeatures(nn.Module):
    """A feature table and its linear projection to ``dim``; a batch projects only its distinct items.

    Shapes: ``forward(items)`` ``(B,) -> (B, dim)``; ``forward()`` ``(I, dim)``.
    """

    def __init__(
        self, features: Tensor, dim: int, generator: torch.Generator, *, trained: bool, bias: bool = True
    ) -> None:
        super().__init__()
        self.features = FeatureTable(features, trained=trained)
        self.project = linear(features.shape[1], dim, generator, bias=bias)

    def forward(self, items: Tensor | None = None) -> Tensor:
        if items is None:
            return self.project(self.features())
        distinct, place = torch.unique(items, return_inverse=True)
        return F.embedding(place, self.project(self.features(distinct)))


def concatenated(features: Mapping[str, Tensor]) -> Tensor:
    """All modalities side by side in the order of their names: ``(I, sum of D_m)``."""
    return torch.cat([features[name] for name in sorted(features)], dim=1)


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """``-mean log σ(s⁺ - s⁻)`` of scores ``(B,)``. Source: BPR (Rendle et al., UAI 2009, eq. 4)."""
    return F.softplus(negative - positive).mean()


def norm_penalty(*rows: Tensor, squared: bool = False) -> Tensor:
    """Norms of the batch's embeddings ``(B, D)``, over their number of rows.

    Plain Frobenius norms by default, as in MMRec's code, so that published weights mean the same here; ``squared``
    gives half the sum of squares, as papers write it.
    """
    count = rows[0].shape[0]
    if squared:
        return torch.stack([r.square().sum() for r in rows]).sum() / (2 * count)
    return torch.stack([r.norm() for r in rows]).sum() / count


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Contrast of rows that belong together against the batch's others, by cosine: ``(B, D)`` twice -> scalar.

    ``-mean_n log softmax_k(cos(a_n, b_k) / τ)[n]``. Source: van den Oord et al., 2018, eq. 4.
    """
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(a), device=a.device))


def linear_cka(a: Tensor, b: Tensor) -> Tensor:
    """Likeness of two tables of the same rows, ``(I, D)`` and ``(I, D')``, 0 … 1 whatever their rotation and scale.

    Source: Kornblith et al., ICML 2019, eq. 4; a constant table is like nothing.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    cross, own = (a.T @ b).square().sum(), (a.T @ a).norm() * (b.T @ b).norm()
    return cross / own.clamp(min=torch.finfo(own.dtype).tiny)
