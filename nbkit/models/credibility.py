"""How far a training pair is to be believed: whether the modalities agree that a user prefers it to another item.

``B`` pairs of a batch, ``M`` modalities, ``N`` = U + I nodes, users first, ``D`` width. Reconstruction of JBM-Diff's
partial-order consistency (see ``jbm_diff``); weighting by mean and variance follows DA-MRS (Xv et al., KDD 2024).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST, MOST = 0.2, 2.0  # bounds of a weight


class PartialOrder(NamedTuple):
    """What is believed of triples (user, i, j), each ``(B,)``: i before j as observed, or the other way round.

    ``consistency`` ō in (0, 1), the mean over modalities of o_m; ``belief`` ō exp(-b v), v their variance;
    ``weight`` w⁺, the belief over its batch mean, within 0.2 … 2; ``reversal`` w⁻, 0 unless every modality and the
    behaviour doubt the order.
    """

    consistency: Tensor
    belief: Tensor
    weight: Tensor
    reversal: Tensor


def leave_one_out(mean: Tensor, own: Tensor, counts: Tensor) -> Tensor:
    """The mean of a user's other items from the mean of all and the one left out; zero where it was the only one.

    Shapes: ``mean`` and ``own`` ``(B, D)``, ``counts`` ``(B,)`` -> ``(B, D)``. Otherwise an observed item helps to make
    the profile that it is judged by, and is always found consistent.
    """
    n = counts[:, None].to(mean.dtype)
    return torch.where(n > 1, (n * mean - own) / (n - 1).clamp(min=1), 0.0)


def order_belief(difference: Tensor) -> Tensor:
    """o = σ(d / κ) of score differences ``(..., B)``, κ their standard deviation in the batch; ½ if they are equal."""
    kappa = difference.std(dim=-1, keepdim=True, correction=0)
    return torch.sigmoid(torch.where(kappa > 0, difference / kappa, 0.0))


def partial_order(modal: Tensor, behaviour: Tensor, *, spread: float = 2.0, margin: float = 0.1) -> PartialOrder:
    """Credibility and reversal of triples from how much higher i scores than j.

    w⁺ ∝ ō exp(-b v); w⁻ = (1-ō) exp(-b v) where max_m o_m and o_b are both below ½ - δ. Shapes: ``modal``
    ``(M, B)``, ``behaviour`` ``(B,)`` score differences; b ``spread``, δ ``margin``.
    """
    o, o_b = order_belief(modal), order_belief(behaviour)
    mean, agreement = o.mean(0), torch.exp(-spread * o.var(0, correction=0))
    belief = mean * agreement
    doubted = (o.amax(0) < 0.5 - margin) & (o_b < 0.5 - margin)
    weight = (belief / belief.mean()).clamp(LEAST, MOST)
    return PartialOrder(mean, belief, weight, doubted * (1 - mean) * agreement)


class Teacher(nn.Module):
    """Slow copies of the node tables that pairs are judged by: behaviour Z, then items and user means by modality.

    Each epoch they become ``ema`` of what they were and the rest of what the model has; at the first, all of it. The
    average of a table that is linear in the weights, such as Z, is that of averaged weights. Shapes: ``tables``
    ``(1 + M, N, D)``, saved with the model; ``counts`` ``(U,)`` training pairs of each user.
    """

    tables: Tensor
    counts: Tensor

    def __init__(
        self,
        counts: Tensor,
        nodes: int,
        modalities: int,
        dim: int,
        *,
        ema: float,
        leave_one_out: bool = True,
        spread: float = 2.0,
        margin: float = 0.1,
    ) -> None:
        super().__init__()
        self.ema, self.leave_one_out, self.spread, self.margin = ema, leave_one_out, spread, margin
        self.register_buffer("counts", counts, persistent=False)
        self.register_buffer("tables", torch.zeros(1 + modalities, nodes, dim))

    @torch.no_grad()
    def follow(self, z: Tensor, modal: list[Tensor], *, first: bool) -> None:
        """Take in the model's tables of a new epoch."""
        self.tables.lerp_(torch.stack([z, *modal]), 1.0 if first else 1 - self.ema)

    def users_and_items(self) -> list[tuple[Tensor, Tensor]]:
        """The tables parted: ``(U, D)`` and ``(I, D)`` of behaviour, then of each modality."""
        users = len(self.counts)
        return [(table[:users], table[users:]) for table in self.tables]

    def judge(self, users: Tensor, first: Tensor, second: Tensor, *, observed: bool = True) -> PartialOrder:
        """What is believed of user, i, j, ``(B,)`` each; ``observed`` says that i is one of the user's training items.

        Both items are judged by one profile, without i where it is observed: cos(h_u, h_i) - cos(h_u, h_j) by each
        modality, z_u · (z_i - z_j) by behaviour.
        """
        rows = torch.cat([users, first + len(self.counts), second + len(self.counts)])
        user, i, j = F.embedding(rows, self.tables[0]).chunk(3)
        behaviour, modal = (user * (i - j)).sum(1), []
        for table in self.tables[1:]:
            user, i, j = F.embedding(rows, table).chunk(3)
            if observed and self.leave_one_out:
                user = leave_one_out(user, i, self.counts[users])
            modal.append(F.cosine_similarity(user, i) - F.cosine_similarity(user, j))
        return partial_order(torch.stack(modal), behaviour, spread=self.spread, margin=self.margin)
