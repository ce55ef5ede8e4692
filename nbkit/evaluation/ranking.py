"""Exact full ranking in bounded memory: scores of a few users at a time, masked, cut to the best K."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from nbkit.data.sequences import Past
from nbkit.errors import UserError
from nbkit.evaluation.metrics import per_user_metrics
from nbkit.models.base import Recommender, Score

Ranker = Score | Recommender  # a model is ranked from what the split lets it see, a score knows by itself

# Scores held at a time: enough for BLAS to work well, small enough to stay in the processor's cache.
CPU_BUDGET, CUDA_BUDGET = 2**21, 2**28


def chunk_size(num_items: int, device: torch.device | str) -> int:
    """Users ranked at a time, so that their scores stay within the budget of the device."""
    budget = CUDA_BUDGET if torch.device(device).type == "cuda" else CPU_BUDGET
    return max(1, budget // num_items)


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
    for some in users.split(chunk or chunk_size(num_items, users.device)):
        scores = score(some)
        for table in exclude:
            scores[table.entries(some)] = -torch.inf
        yield some, *top_k(scores, k)


@dataclass(frozen=True)
class Chunk:
    """Users that are ranked together, with what is excluded and held out for them, found once for all epochs.

    Shapes: ``users`` ``(B,)``; ``excluded`` ``(E,)`` places in the flat ``(B · I)`` scores; ``row`` and ``item``
    ``(H,)`` the held-out pairs by row of the chunk, the first of every user before the second of any: ``row[:B]`` is
    ``0 … B-1``.
    """

    users: Tensor
    excluded: Tensor
    row: Tensor
    item: Tensor


def places(scores: Tensor, row: Tensor, item: Tensor, k: int) -> Tensor:
    """The 0-based place of each pair's item in the ranking of its row, exact below ``k``: ``(H,)`` int32.

    An item stands behind those that score higher, and behind equal ones of lower number; one that scores -inf or NaN
    is in no list. Counting reads the scores once a held-out item and sorts nothing.

    Shapes: ``scores`` ``(B, I)``; ``row``, ``item`` ``(H,)`` ordered as in :class:`Chunk`.
    """
    value = scores[row, item][:, None]
    place = torch.empty(len(row), dtype=torch.int32, device=scores.device)
    for piece in torch.arange(len(row), device=scores.device).split(len(scores)):
        rows = scores if piece[0] == 0 else scores.index_select(0, row[piece])
        place[piece] = (rows > value[piece]).view(torch.uint8).sum(1, dtype=torch.int32)
    place[~(value[:, 0] > -torch.inf)] = k
    number = torch.arange(scores.shape[1], device=scores.device)
    for near in torch.nonzero(place < k).flatten().split(len(scores)):
        before = (scores.index_select(0, row[near]) == value[near]) & (number < item[near, None])
        place[near] += before.view(torch.uint8).sum(1, dtype=torch.int32)
    return place


class Evaluator:
    """Full-ranking evaluation of held-out pairs, prepared once and used for every epoch.

    Shapes: ``target`` ``(P, 2)`` held-out (user, item) pairs; ``exclude`` pairs that are no candidates: train alone
    (MMRec's masking) or train and validation; ``past`` is what models may see of the users. ``users`` ``(n,)``, those
    with a held-out item; the others are not ranked. ``relevant`` ``(n,)``, their number of held-out items.
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
        self.num_items, self.ks, self.past = num_items, tuple(ks), past
        held = PairTable(target, num_users, device)
        self.users = torch.nonzero(held.counts).flatten()
        if not len(self.users):
            raise UserError("nothing to rank: no user has a held-out interaction in this split")
        self.relevant = held.counts[self.users]
        hidden = [PairTable(pairs, num_users, device) for pairs in exclude]
        self.chunks = [
            self._chunk(users, held, hidden) for users in self.users.split(chunk or chunk_size(num_items, device))
        ]

    def _chunk(self, users: Tensor, held: PairTable, hidden: Sequence[PairTable]) -> Chunk:
        flat = [row * self.num_items + item for row, item in (table.entries(users) for table in hidden)]
        row, item = held.entries(users)
        counts = held.counts[users]
        turn = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        order = torch.argsort(turn, stable=True)
        return Chunk(users, torch.cat([row.new_empty(0), *flat]), row[order], item[order])

    @torch.inference_mode()
    def places(self, ranker: Ranker) -> tuple[Tensor, Tensor, Tensor]:
        """Held-out pairs: row of ``users``, item, 0-based place among all items, exact below K; each ``(P,)``."""
        score = scorer(ranker, self.past) if isinstance(ranker, Recommender) else ranker
        parts, start = [], 0
        for chunk in self.chunks:
            scores = score(chunk.users).contiguous()
            scores.view(-1).index_fill_(0, chunk.excluded, -torch.inf)
            parts.append((chunk.row + start, chunk.item, places(scores, chunk.row, chunk.item, max(self.ks))))
            start += len(chunk.users)
        row, item, place = (torch.cat(column) for column in zip(*parts, strict=True))
        return row, item, place

    def metrics(self, row: Tensor, place: Tensor) -> dict[str, Tensor]:
        """Metrics of each ranked user, ``(n,)`` each, by name (``recall@20``), from what :meth:`places` found."""
        return per_user_metrics(self._hits(row, place), self.relevant, ks=self.ks)

    def _hits(self, row: Tensor, place: Tensor) -> Tensor:
        hits = torch.zeros(len(self.users), max(self.ks), dtype=torch.bool, device=row.device)
        found = place < max(self.ks)
        hits[row[found], place[found].long()] = True
        return hits

    def hits(self, ranker: Ranker) -> Tensor:
        """Whether a held-out item stands at each of the first K places among all items: ``(n, K)`` bool."""
        row, _, place = self.places(ranker)
        return self._hits(row, place)

    def per_user(self, ranker: Ranker) -> dict[str, Tensor]:
        """Metrics of each ranked user, as :meth:`metrics`."""
        row, _, place = self.places(ranker)
        return self.metrics(row, place)

    def __call__(self, ranker: Ranker) -> dict[str, float]:
        """Means over users: what early stopping sees."""
        return {name: float(values.mean()) for name, values in self.per_user(ranker).items()}
