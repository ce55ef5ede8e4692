"""Exact full ranking in bounded memory: scores of a few users at a time, masked, cut to the best K."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from nbkit.errors import UserError
from nbkit.evaluation.metrics import per_user_metrics
from nbkit.models.base import Past, Recommender, Score

Ranker = Score | Recommender  # a model is ranked from what the split lets it see, a score knows by itself

# Scores held at a time: enough for BLAS to work well, small enough to stay in the processor's cache.
CPU_BUDGET, CUDA_BUDGET = 2**21, 2**28


class PairTable:
    """Pairs grouped by user, so that the items of a list of users are found without a search."""

    def __init__(self, pairs: np.ndarray | Tensor, num_users: int, device: torch.device | str = "cpu") -> None:
        pairs = torch.as_tensor(np.array(pairs) if isinstance(pairs, np.ndarray) else pairs, device=device).reshape(
            -1, 2
        )
        self.items = pairs[torch.argsort(pairs[:, 0], stable=True), 1]
        self.counts = torch.bincount(pairs[:, 0], minlength=num_users)  # (U,)
        self.starts = self.counts.cumsum(0) - self.counts

    def entries(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """For users ``(B,)``: the place in the list and the item of each of their pairs, both ``(n,)``."""
        counts = self.counts[users]
        place = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        first = torch.repeat_interleave(self.starts[users] - (counts.cumsum(0) - counts), counts)
        return place, self.items[first + torch.arange(len(place), device=users.device)]


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Items of the ``k`` highest scores and these scores, highest first, equal ones by lower item number.

    Where only -inf is left the item is -1. Shapes: ``scores`` ``(B, I)``, result ``(B, k)`` int64 and ``(B, k)``.
    """
    width = scores.shape[1]
    values, items = scores.topk(min(k + 1, width), dim=1)
    tied = (values[:, 1:] == values[:, :-1]).any(1)
    if tied.any():  # topk promises no order among equals: sort these rows for certain
        values[tied], items[tied] = (
            t[:, : items.shape[1]] for t in scores[tied].sort(dim=1, descending=True, stable=True)
        )
    items, values = items.masked_fill(values == -torch.inf, -1)[:, :k], values[:, :k]
    missing = (0, max(0, k - width))
    return pad(items, missing, value=-1), pad(values, missing, value=-torch.inf)


@torch.inference_mode()
def scorer(model: Recommender, past: Past | None = None) -> Score:
    """Scores of a model in evaluation mode, from what may be seen of the users."""
    return torch.inference_mode()(model.eval().scorer(past))


@dataclass(frozen=True)
class Ranking:
    """Best items and hits of ranked users.

    Shapes: ``users`` ``(n,)``, ``items`` and ``hits`` ``(n, K)``, ``relevant`` ``(n,)``.
    """

    users: Tensor
    items: Tensor
    hits: Tensor
    relevant: Tensor


def rank(
    score: Score,
    users: Tensor,
    k: int,
    exclude: Sequence[PairTable],
    num_items: int,
    *,
    chunk: int | None = None,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Best ``k`` items of each user, in chunks of (users ``(B,)``, items ``(B, k)``, their scores ``(B, k)``).

    Excluded pairs are never candidates.

    Memory is ``chunk × I`` scores; the default chunk keeps that product constant.
    """
    budget = CUDA_BUDGET if users.is_cuda else CPU_BUDGET
    for some in users.split(chunk or max(1, budget // num_items)):
        scores = score(some)
        for table in exclude:
            scores[table.entries(some)] = -torch.inf
        yield some, *top_k(scores, k)


class Evaluator:
    """Full-ranking evaluation of held-out pairs, prepared once and used for every epoch.

    Shapes: ``target`` ``(P, 2)`` held-out (user, item) pairs; ``exclude`` pairs that are no candidates: train alone
    (MMRec's masking) or train and validation; ``past`` is what models may see of the users. Users without a held-out
    item are not ranked.
    """

    def __init__(
        self,
        target: np.ndarray,
        exclude: Sequence[np.ndarray],
        num_users: int,
        num_items: int,
        *,
        ks: Sequence[int] = (5, 10, 20, 50),
        device: torch.device | str = "cpu",
        chunk: int | None = None,
        past: Past | None = None,
    ) -> None:
        self.num_items, self.ks, self.chunk, self.past = num_items, tuple(ks), chunk, past
        self.target = PairTable(target, num_users, device)
        self.exclude = [PairTable(pairs, num_users, device) for pairs in exclude]
        self.users = torch.nonzero(self.target.counts).flatten()
        if not len(self.users):
            raise UserError("nothing to rank: no user has a held-out interaction in this split")

    @torch.inference_mode()
    def rank(self, ranker: Ranker) -> Ranking:
        """Rank all items for every user with a held-out item."""
        score = scorer(ranker, self.past) if isinstance(ranker, Recommender) else ranker
        k, parts = max(self.ks), []
        for some, items, _ in rank(score, self.users, k, self.exclude, self.num_items, chunk=self.chunk):
            relevant = torch.zeros(len(some), self.num_items, dtype=torch.bool, device=some.device)
            relevant[self.target.entries(some)] = True
            parts.append((items, relevant.gather(1, items.clamp(min=0)) & (items >= 0)))
        items, hits = (torch.cat(column) for column in zip(*parts, strict=True))
        return Ranking(self.users, items, hits, self.target.counts[self.users])

    def per_user(self, ranker: Ranker) -> dict[str, Tensor]:
        """Metrics of each ranked user, ``(n,)`` each, by name (``recall@20``)."""
        ranking = self.rank(ranker)
        return per_user_metrics(ranking.hits, ranking.relevant, ks=self.ks)

    def __call__(self, ranker: Ranker) -> dict[str, float]:
        """Means over users: what early stopping sees."""
        return {name: float(values.mean()) for name, values in self.per_user(ranker).items()}
