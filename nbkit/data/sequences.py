"""What each user did strictly before a moment: the histories that sequential models read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit.config import Range
from nbkit.data.dataset import GOOD_RATING, RATED, Interactions, TrainingView
from nbkit.errors import UserError, nearest

RAREST = "rarest"
NOW = np.iinfo(np.int64).max  # a moment after every event

# Settings that sequential models share.
Length = Annotated[int, Range(1, 1000), "most events of a history L"]
StreamName = Literal["all", "shallow", "deep"]
Deep = Annotated[str, "the deep behaviour: its name, 'rarest', or 'rated' (a rating of 4 or more)"]
Predict = Annotated[Literal["all", "deep"], "events that are training targets"]


@dataclass(frozen=True)
class Stream:
    """The last events of some users, the oldest first, padded on the left to the longest of the batch.

    Shapes: ``items`` and ``behaviors`` ``(B, L)`` int64, 0 where there is no event; ``mask`` ``(B, L)`` bool,
    whether there is one; L at least 1.
    """

    items: Tensor
    behaviors: Tensor
    mask: Tensor

    def take(self, rows: Tensor) -> Stream:
        """Some rows, padded to the longest of them."""
        mask = self.mask[rows]
        late = slice(-_longest(mask), None)
        return Stream(self.items[rows, late], self.behaviors[rows, late], mask[:, late])


History = Mapping[str, Stream]  # by name: all, shallow, deep


def _longest(mask: Tensor) -> int:
    return max(1, int(mask.sum(1).max())) if len(mask) else 1


def alike(history: History, size: int) -> list[tuple[Tensor, History]]:
    """Rows with like numbers of events, at most ``size`` at a time: which rows, and their streams with less padding."""
    events = torch.stack([stream.mask.sum(1) for stream in history.values()]).sum(0)
    groups = events.argsort(stable=True).split(size)
    return [(rows, {name: stream.take(rows) for name, stream in history.items()}) for rows in groups]


class Timeline:
    """Events of every user in time, so that what lies before a moment is one search and one gather.

    Equal times are in the order of the rows. Times are compared within a user only: unix seconds and the order
    within the user do equally well.
    """

    def __init__(self, events: Interactions, num_users: int, device: torch.device | str = "cpu") -> None:
        assert events.timestamp is not None
        order = np.lexsort((events.timestamp, events.user))  # stable
        user, item = events.user[order], events.item[order]
        behavior = np.zeros_like(item) if events.behavior is None else events.behavior[order].astype(np.int64)
        times, rank = np.unique(events.timestamp[order], return_inverse=True)
        self.width = len(times) + 1
        self.times = torch.from_numpy(times).to(device)
        self.keys = torch.from_numpy(user * self.width + rank).to(device)
        starts = np.searchsorted(user, np.arange(num_users))
        self.starts = torch.from_numpy(starts).to(device)  # (U,)
        # One more event that no mask admits: an empty timeline can be gathered from as well.
        self.items, self.behaviors = (F.pad(torch.from_numpy(c).to(device), (0, 1)) for c in (item, behavior))
        repeats = np.unique(np.stack([user, item]), axis=1, return_counts=True)[1]
        self.most = int(repeats.max(initial=0))  # events of one pair

    def before(self, users: Tensor, moments: Tensor, length: int, *, without: Tensor | None = None) -> Stream:
        """The last ``length`` events of each user strictly before the moment, those of item ``without`` left out.

        Shapes: ``users``, ``moments``, ``without`` ``(B,)`` -> a stream ``(B, L)``, L at most ``length``.
        """
        width = length if without is None else length + self.most
        rank = torch.searchsorted(self.times, moments.contiguous())
        end = torch.searchsorted(self.keys, users * self.width + rank)
        place = end[:, None] + torch.arange(-width, 0, device=users.device)
        mask = place >= self.starts[users][:, None]
        place.clamp_(min=0)
        items = self.items[place]
        if without is not None:  # close the gaps: what is kept moves to the right, its order unchanged
            mask = mask & (items != without[:, None])
            kept = mask.int().argsort(dim=1, stable=True)[:, -length:]
            place, mask, items = place.gather(1, kept), mask.gather(1, kept), items.gather(1, kept)
        place, mask, items = (column[:, -_longest(mask) :] for column in (place, mask, items))
        return Stream(items * mask, self.behaviors[place] * mask, mask)


def behavior_counts(data: TrainingView) -> np.ndarray:
    """Training events of each behaviour, ``(len(behaviors),)``; the fewer, the deeper a behaviour is taken to be."""
    codes = np.zeros(0, dtype=np.int64) if data.train.behavior is None else data.train.behavior
    return np.bincount(codes, minlength=len(data.behaviors))


def stream_rows(data: TrainingView, events: Interactions, deep: str) -> dict[str, np.ndarray]:
    """Which events belong to which stream: ``all``, ``shallow`` and ``deep``, each ``(E,)`` bool.

    ``deep`` is a behaviour by name, the ``rarest`` in training of several (the last of equals), or ``rated``, ratings
    of 4 or more. Of several behaviours the others are shallow; of one, every event is shallow and, without ratings,
    deep. ``rated`` is no more than a proxy: a review is no click, a good one no purchase.

    Raises:
        UserError: an unknown behaviour, or ratings asked for where there are none.
    """
    everything = np.ones(len(events), dtype=bool)
    streams = {"all": everything, "shallow": everything, "deep": everything}
    counts = behavior_counts(data)
    if deep in data.behaviors:
        code = data.behaviors.index(deep)
    elif deep == RATED:
        if events.rating is None:
            raise UserError(f"deep = 'rated': data set {data.name!r} has no ratings; expected a column 'rating'")
        return {**streams, "deep": events.rating >= GOOD_RATING}
    elif deep != RAREST:
        raise UserError(f"deep = {deep!r}; {nearest(deep, (*data.behaviors, RAREST, RATED))}")
    elif (counts > 0).sum() < 2:
        return streams
    else:
        code = int(np.flatnonzero(counts == counts[counts > 0].min())[-1])
    rows = np.asarray(events.behavior) == code
    return {**streams, "shallow": ~rows, "deep": rows}


class Histories:
    """Streams of a model, ready to be read at any moment.

    Raises:
        UserError: events without time, or a deep behaviour that the data does not have.
    """

    def __init__(
        self,
        data: TrainingView,
        events: Interactions,
        *,
        streams: Sequence[str] = ("all",),
        deep: str = RAREST,
        length: int = 20,
        device: torch.device | str = "cpu",
    ) -> None:
        if events.timestamp is None:
            raise UserError(
                f"data set {data.name!r} has no times; expected a column 'timestamp' for a sequential model"
            )
        rows = stream_rows(data, events, deep)
        self.length = length
        self.timelines = {name: Timeline(events.take(rows[name]), data.num_users, device) for name in streams}

    def before(self, users: Tensor, moments: Tensor, *, without: Tensor | None = None) -> History:
        """Each stream of the users strictly before their moments ``(B,)``; see :meth:`Timeline.before`."""
        return {
            name: line.before(users, moments, self.length, without=without) for name, line in self.timelines.items()
        }


@dataclass(frozen=True, eq=False)
class Past:
    """What may be seen when a split is ranked: some events, of each user only those strictly before a moment.

    The moment is the time of the user's earliest held-out pair; a pair's time is that of the last event of its deepest
    (in training rarest) behaviour, as the split by a target behaviour has it. A user without a held-out pair, and all
    where nothing is held out, are seen as of now.
    """

    data: TrainingView
    events: Interactions
    held_out: Interactions | None = None
    _prepared: dict[tuple[object, ...], Histories] = field(default_factory=dict, init=False, repr=False)

    def histories(self, streams: tuple[str, ...], deep: str, length: int, device: torch.device) -> Histories:
        """The streams of what may be seen, sorted once however often they are asked for."""
        key = (streams, deep, length, device)
        if key not in self._prepared:
            self._prepared[key] = Histories(
                self.data, self.events, streams=streams, deep=deep, length=length, device=device
            )
        return self._prepared[key]

    @cached_property
    def moments(self) -> np.ndarray:
        """``(U,)`` int64."""
        moments = np.full(self.data.num_users, NOW)
        held = self.held_out
        if held is not None and len(held) and held.timestamp is not None:
            depth = np.zeros(len(held)) if held.behavior is None else behavior_counts(self.data)[held.behavior]
            order = np.lexsort((-held.timestamp, depth, held.item, held.user))
            user, item, time = held.user[order], held.item[order], held.timestamp[order]
            first = np.concatenate([[True], (user[1:] != user[:-1]) | (item[1:] != item[:-1])])
            np.minimum.at(moments, user[first], time[first])
        return moments


def joined(*parts: Interactions) -> Interactions:
    """The events of several parts, one behind the other; columns that one of them lacks are left out."""
    columns = {name: [getattr(part, name) for part in parts] for name in Interactions.__dataclass_fields__}
    kept = {name: np.concatenate(c) for name, c in columns.items() if all(part is not None for part in c)}
    return Interactions(**kept)
