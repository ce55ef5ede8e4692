"""Training triples: every positive once an epoch, each with one negative by exact rejection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from nbkit.data.dataset import Interactions
from nbkit.data.sequences import Histories, History
from nbkit.errors import UserError


@dataclass(frozen=True)
class Batch:
    """Training triples and the generator of every random draw inside a step.

    Shapes: ``users``, ``positives``, ``negatives`` are ``(B,)`` int64 row numbers; ``history`` holds what the user did
    strictly before the positive, for sequential models, and is empty for others.
    """

    users: Tensor
    positives: Tensor
    negatives: Tensor
    generator: torch.Generator
    history: History = field(default_factory=dict)


class Sampler(Protocol):
    """Anything that deals an epoch's batches."""

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]: ...

    def steps(self, batch_size: int) -> int: ...


class TripleSampler:
    """Draws (user, positive, negative) triples; a negative is uniform over the items that occur in training and that
    the user did not train on. Source: MMRec's protocol for pairwise losses.

    Shapes: ``pairs`` ``(P, 2)`` distinct training pairs; everything lives on the device of ``pairs``.

    Raises:
        UserError: no training pairs, or a user whose training items are all the items there are.
    """

    def __init__(self, pairs: Tensor, num_users: int, num_items: int) -> None:
        if not len(pairs):
            raise UserError("training split is empty; expected at least one (user, item) pair")
        self.num_items = num_items
        # In the order of users, where the search for observed pairs stays in the cache.
        self.users, self.positives = pairs[torch.argsort(pairs[:, 0], stable=True)].T.contiguous()
        self.candidates = torch.unique(pairs[:, 1])  # items that occur in training
        self.keys = torch.sort(pairs[:, 0] * num_items + pairs[:, 1]).values
        full = torch.nonzero(torch.bincount(pairs[:, 0], minlength=num_users) >= len(self.candidates))
        if len(full):
            raise UserError(
                f"user row {int(full[0])} trained on all {len(self.candidates)} items; "
                "expected at least one item left as a negative"
            )

    def _observed(self, users: Tensor, items: Tensor) -> Tensor:
        keys = users * self.num_items + items
        place = torch.searchsorted(self.keys, keys).clamp_(max=len(self.keys) - 1)
        return self.keys[place] == keys

    def negatives(self, users: Tensor, generator: torch.Generator) -> Tensor:
        """One negative item for each user in the list: ``(B,) -> (B,)``."""

        def draw(count: int) -> Tensor:
            chosen = torch.randint(len(self.candidates), (count,), generator=generator, device=users.device)
            return self.candidates[chosen]

        items = draw(len(users))
        again = torch.nonzero(self._observed(users, items)).flatten()
        while len(again):
            items[again] = draw(len(again))
            again = again[self._observed(users[again], items[again])]
        return items

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All training pairs in a new random order, each with a negative, in batches."""
        negatives = self.negatives(self.users, generator)
        order = torch.randperm(len(self.users), generator=generator, device=self.users.device)
        columns = [column[order].split(batch_size) for column in (self.users, self.positives, negatives)]
        for users, positives, negatives in zip(*columns, strict=True):
            yield Batch(users, positives, negatives, generator)

    def steps(self, batch_size: int) -> int:
        """Number of batches an epoch."""
        return -(-len(self.users) // batch_size)


class SequenceSampler:
    """Deals each target event once an epoch, with its user's history strictly before it and a negative.

    Other events of the target's own pair are left out of its history: a split holds all events of a pair out together,
    so the model sees in training what it will see when it is asked.

    Raises:
        UserError: no target events, or whatever :class:`TripleSampler` refuses.
    """

    def __init__(self, targets: Interactions, histories: Histories, triples: TripleSampler) -> None:
        if not len(targets) or targets.timestamp is None:
            raise UserError("no training event to predict; expected at least one, with its time")
        self.histories, self.triples = histories, triples
        columns = (targets.user, targets.item, targets.timestamp)
        self.users, self.items, self.times = (torch.tensor(c, device=triples.users.device) for c in columns)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """All target events in a new random order, in batches."""
        order = torch.randperm(len(self.users), generator=generator, device=self.users.device)
        for rows in order.split(batch_size):
            users, items = self.users[rows], self.items[rows]
            history = self.histories.before(users, self.times[rows], without=items)
            yield Batch(users, items, self.triples.negatives(users, generator), generator, history)

    def steps(self, batch_size: int) -> int:
        """Number of batches an epoch."""
        return -(-len(self.users) // batch_size)
