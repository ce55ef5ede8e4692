"""The few building blocks that models share; every random draw comes from the generator given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
        return self.table if items is None else self.table.index_select(0, items)


class ProjectedFeatures(nn.Module):
    """A feature table and its linear projection to ``dim``; a batch gives only its distinct items, each projected once.

    Shapes: ``forward(items)`` ``(B,) -> (B, dim)``; ``forward()`` ``(I, dim)``.
    """

    def __init__(
        self, features: Tensor, dim: int, generator: torch.Generator, *, trained: bool, bias: bool = True
    ) -> None:
        super().__init__()
        self.features = FeatureTable(features, trained=trained)
        self.project = linear(features.shape[1], dim, generator, bias=bias)

    def forward(self, items: Tensor | None = None) -> Tensor:
        return self.project(self.features(items))


def concatenated(features: Mapping[str, Tensor]) -> Tensor:
    """All modalities side by side in the order of their names: ``(I, sum of D_m)``."""
    return torch.cat([features[name] for name in sorted(features)], dim=1)


def bpr_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """``-mean log σ(s⁺ - s⁻)`` of scores ``(B,)``. Source: BPR (Rendle et al., UAI 2009, eq. 4)."""
    return F.softplus(negative - positive).mean()


def product_bpr(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """BPR of s = u · i, from the vectors ``(B, D)`` of users, of items they took and of items they did not."""
    return bpr_loss((user * positive).sum(1), (user * negative).sum(1))


def norm_penalty(*rows: Tensor, squared: bool = False) -> Tensor:
    """Norms of the batch's embeddings ``(B, D)``, over their number of rows.

    Plain Frobenius norms by default, as in MMRec's code, so that published weights mean the same here; ``squared``
    gives half the sum of squares, as papers write it.
    """
    count = rows[0].shape[0]
    if squared:
        return torch.stack([r.square().sum() for r in rows]).sum() / (2 * count)
    return torch.stack([r.norm() for r in rows]).sum() / count


class _InfoNCE(torch.autograd.Function):
    """Loss and gradients in one pass over chunks of rows: no similarity matrix outlives its chunk."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, own: Tensor, chunk: int) -> Tensor:
        total, grad_a = a.new_zeros(()), torch.empty_like(a)
        grad_b = torch.zeros_like(b).index_add_(0, own, a, alpha=-1)
        for start in range(0, len(a), chunk):
            rows, positive = a[start : start + chunk], b.index_select(0, own[start : start + chunk])
            scores = rows @ b.T  # (chunk, N)
            most = scores.amax(1)
            # One exponential an entry, in place; its row's sum divides the narrow factors instead of the wide matrix.
            weight = scores.sub_(most[:, None]).exp_()
            mass = weight.sum(1, keepdim=True)
            total += (most + mass[:, 0].log() - (rows * positive).sum(1)).sum()
            grad_a[start : start + chunk] = (weight @ b) / mass - positive
            grad_b += weight.T @ (rows / mass)
        ctx.save_for_backward(grad_a, grad_b)
        return total / len(a)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_a, grad_b = ctx.saved_tensors
        scale = gradient / len(grad_a)
        return scale * grad_a, scale * grad_b, None, None


def info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float,
    *,
    own: Tensor | None = None,
    cosine: bool = True,
    chunk: int = 2048,
) -> Tensor:
    """``-mean_i log( exp(cos(a_i, b_i)/τ) / Σ_j exp(cos(a_i, b_j)/τ) )`` of two views ``(B, D)`` of the same B rows.

    With ``own`` ``(B,)`` the second view is a table ``(N, D)`` of more rows, all of them in the sum, and ``own`` says
    which is a row's other view. One direction, as papers of the field write it; without ``cosine`` of plain dot
    products. Memory is ``chunk × N`` floats, however many rows are contrasted.
    Source: van den Oord et al., 2018, eq. 4.
    """
    if cosine:
        first, second = F.normalize(first, dim=1), F.normalize(second, dim=1)
    scale = temperature**-0.5
    own = torch.arange(len(second), device=second.device) if own is None else own
    loss: Tensor = _InfoNCE.apply(first * scale, second * scale, own, chunk)
    return loss


def linear_cka(a: Tensor, b: Tensor) -> Tensor:
    """Likeness of two tables of the same rows, ``(I, D)`` and ``(I, D')``, 0 … 1 whatever their rotation and scale.

    Source: Kornblith et al., ICML 2019, eq. 4; a constant table is like nothing.
    """
    a, b = a - a.mean(0), b - b.mean(0)
    cross, own = (a.T @ b).square().sum(), (a.T @ a).norm() * (b.T @ b).norm()
    return cross / own.clamp(min=torch.finfo(own.dtype).tiny)
