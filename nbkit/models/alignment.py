"""Losses over all pairs of two sets of rows, in chunks of rows: value and gradient in one pass, no table of pairs kept.

``U``, ``I`` rows of users and items, ``V`` views of all items, ``B`` anchors, ``D`` width. Source: DA-MRS (Xv et al.,
KDD 2024), alignment guided by user preference and by graded item relations; labels as in the authors' code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class _PreferenceDivergence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, users: Tensor, first: Tensor, second: Tensor, chunk: int) -> Tensor:
        total, grads = users.new_zeros(()), [torch.zeros_like(x) for x in (users, first, second)]
        for start in range(0, len(users), chunk):
            rows = users[start : start + chunk]
            a, b = rows @ first.T, rows @ second.T  # (chunk, I)
            p, q = a.sigmoid(), b.sigmoid()
            logits, gap = a.sub_(b), p - q
            total += torch.dot(gap.flatten(), logits.flatten())
            to_a = torch.addcmul(gap, p.sub_(p * p), logits)
            to_b = torch.addcmul(gap, q.sub_(q * q), logits).neg_()
            grads[0][start : start + chunk] = to_a @ first + to_b @ second
            grads[1] += to_a.T @ rows
            grads[2] += to_b.T @ rows
        ctx.grads, ctx.count = grads, len(users) * len(first)
        return total / ctx.count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradient / ctx.count
        return *(scale * grad for grad in ctx.grads), None


def preference_divergence(users: Tensor, first: Tensor, second: Tensor, *, chunk: int = 256) -> Tensor:
    """Mean over users and items of KL(p‖q) + KL(q‖p) of two Bernoullis, p = σ(u · x̄), q = σ(u · ȳ), x̄ = x / ‖x‖.

    The sum of both is (p - q)(logit p - logit q): no logarithm, nothing to keep from 0.
    Shapes: ``users`` ``(U, D)``, ``first`` and ``second`` ``(I, D)``.
    """
    loss: Tensor = _PreferenceDivergence.apply(users, F.normalize(first, dim=1), F.normalize(second, dim=1), chunk)
    return loss


def graded_neighbours(own: Tensor, every: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For each anchor the k items nearest by all views, one view twice, and the k next nearest by that view alone.

    Shapes: ``own`` the view's soft-max of cosines over all items and ``every`` the sum of all views', ``(B, I)``, I at
    least 2k -> two of ``(B, k)``, no item in both.
    """
    near = (own + every).topk(k, dim=1, sorted=False).indices
    best = own.topk(2 * k, dim=1).indices  # at most k of these are taken already
    taken = (best[:, :, None] == near[:, None, :]).any(2)
    return near, best.gather(1, taken.to(torch.int8).argsort(dim=1, stable=True)[:, :k])


class _NeighbourDiscrimination(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, views: Tensor, anchors: Tensor, k: int, temperature: float, chunk: int) -> Tensor:
        total, grad = views.new_zeros(()), torch.zeros_like(views)
        for some in anchors.split(chunk):
            rows = views[:, some]  # (V, chunk, D)
            cosines = [row @ view.T for row, view in zip(rows, views, strict=True)]  # (chunk, I) each
            shares = [c.softmax(1) for c in cosines]
            every = sum(shares[1:], start=shares[0])
            for v, (cosine, share) in enumerate(zip(cosines, shares, strict=True)):
                near, alone = graded_neighbours(share, every, k)
                # Ratios alone count, so the row's largest may be 1; the rest is a sum, no difference of near equals.
                e = cosine.sub_(cosine.amax(1, keepdim=True)).div_(temperature).exp_()
                e_near, e_alone = e.gather(1, near), e.gather(1, alone)
                by_all, by_one = e_near.sum(1, keepdim=True), e_alone.sum(1, keepdim=True)
                rest = e.scatter_(1, near, 0.0).sum(1, keepdim=True)
                whole = by_all + rest
                total += ((rest / by_all).log1p() + (rest / by_one).log()).sum()
                # d loss / d cosine, over e / τ: 1/whole + 1/rest; -rest/(whole by_all) of the near; -1/by_one as well.
                e.mul_(1 / whole + 1 / rest)
                e.scatter_(1, near, e_near.mul_(-rest / (whole * by_all)))
                e.scatter_add_(1, alone, e_alone.div_(-by_one))
                grad[v].index_add_(0, some, e @ views[v])
                grad[v] += e.T @ rows[v]
        count = len(anchors) * len(views)
        ctx.grad, ctx.scale = grad, 1 / (temperature * count)
        return total / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.grad * (gradient * ctx.scale), None, None, None, None


def neighbour_discrimination(
    views: Tensor, anchors: Tensor, *, k: int = 10, temperature: float = 0.2, chunk: int = 256
) -> Tensor:
    """Contrast with neighbours of two grades: mean over anchors i and views of -log(N/A) - log(O/(A - N)).

    A, N, O are the sums of exp(cos(v_i, v_j) / τ) over all items, over the k that all views call near, and over the k
    next that this view calls near (:func:`graded_neighbours`).
    Shapes: ``views`` ``(V, I, D)``, ``anchors`` ``(B,)`` item rows, each once; a single item has no neighbours: 0.
    """
    k = min(k, views.shape[1] // 2)
    if not k:
        return views.sum() * 0.0
    loss: Tensor = _NeighbourDiscrimination.apply(F.normalize(views, dim=2), anchors, k, temperature, chunk)
    return loss
