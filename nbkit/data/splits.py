"""Cutting interactions into train, validation and test, and the k-core that comes before the cut.

Every function works on whole columns and loops over no user. The cuts are codes: 0 train, 1 valid, 2 test.
A user with a single pair keeps it for training; of two pairs one is trained on and one tested: each user
keeps a history, and the test is served before the validation.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from nbkit.data.dataset import Interactions
from nbkit.errors import UserError, nearest

TRAIN, VALID, TEST = 0, 1, 2
NAMES = ("train", "valid", "test")

SplitName = Literal["random", "leave-one-out", "temporal"]


def _places(user: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place from the end (0 = last) within the user, and the user's number of rows: ``(P,)`` in row order."""
    _, index, counts = np.unique(user, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    place = np.empty(len(user), dtype=np.int64)
    place[order] = ends[index[order]] - 1 - np.arange(len(user))
    return place, counts[index]


def random_per_user(user: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Per-user random cut, as in MMRec's preprocessing (``1splitting``).

    Shuffle the user's n pairs. For n < 10 the last two become one validation and one test pair; otherwise the
    last ``floor(n / 5)`` are held out, ``floor`` of half of them for validation, the rest for test.

    Shapes: ``user`` ``(P,)``, one row a distinct (user, item) pair, in any order -> ``(P,)`` int8 codes.
    """
    user = np.asarray(user)
    place, n = _places(user, np.lexsort((generator.random(len(user)), user)))
    held = np.where(n < 10, np.minimum(n - 1, 2), n // 5)
    test = held - held // 2
    return _codes(place, held, test)


def leave_one_out(user: np.ndarray, timestamp: np.ndarray) -> np.ndarray:
    """Each user's last pair in time is the test, the one before it the validation; the later row wins a tie.

    Shapes: ``user``, ``timestamp`` ``(P,)`` -> ``(P,)`` int8 codes.
    """
    user = np.asarray(user)
    place, n = _places(user, np.lexsort((np.asarray(timestamp), user)))  # lexsort is stable
    return _codes(place, np.minimum(n - 1, 2), np.minimum(n - 1, 1))


def _codes(place: np.ndarray, held: np.ndarray | int, test: np.ndarray | int) -> np.ndarray:
    return np.where(place < test, TEST, np.where(place < held, VALID, TRAIN)).astype(np.int8)


def global_temporal(timestamp: np.ndarray, valid_share: float = 0.1, test_share: float = 0.1) -> np.ndarray:
    """One point in time for everybody: the latest share of all pairs is the test, the share before it valid.

    Users and items may then have no training history; their held-out pairs stay, as they would in real use,
    and ``catalog.check`` counts them. Rows of the same time are taken in the order given.

    Shapes: ``timestamp`` ``(P,)`` -> ``(P,)`` int8 codes.

    Raises:
        UserError: a negative share, or shares that leave nothing to train on.
    """
    if not (valid_share >= 0 and test_share >= 0 and valid_share + test_share < 1):
        raise UserError(
            f"temporal split: valid_share {valid_share!r} and test_share {test_share!r}; "
            "expected shares with a sum below 1"
        )
    timestamp = np.asarray(timestamp)
    place = np.empty(len(timestamp), dtype=np.int64)
    place[np.argsort(timestamp, kind="stable")[::-1]] = np.arange(len(timestamp))
    test = round(test_share * len(timestamp))
    return _codes(place, test + round(valid_share * len(timestamp)), test)


def k_core(user: np.ndarray, item: np.ndarray, k_user: int, k_item: int) -> np.ndarray:
    """Rows left when users below ``k_user`` and items below ``k_item`` partners are removed, repeatedly.

    Repeated events of a pair count once. The result is the largest such set; it may be empty.

    Shapes: ``user``, ``item`` ``(E,)`` -> ``(E,)`` bool.
    """
    pair, index = _pairs(user, item)
    keep = np.ones(len(pair), dtype=bool)
    while True:
        enough = keep.copy()
        for column, k in ((pair[:, 0], k_user), (pair[:, 1], k_item)):
            degree = np.bincount(column[keep], minlength=int(column.max()) + 1 if len(column) else 0)
            enough &= degree[column] >= k
        if enough.sum() == keep.sum():
            return keep[index]
        keep = enough


def _pairs(user: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs as small numbers ``(P, 2)``, and the number of each event's pair ``(E,)``."""
    _, u = np.unique(user, return_inverse=True)
    items, i = np.unique(item, return_inverse=True)
    keys, index = np.unique(u.astype(np.int64) * max(len(items), 1) + i, return_inverse=True)
    return np.stack(np.divmod(keys, max(len(items), 1)), axis=1), index


def split_interactions(
    interactions: Interactions,
    how: SplitName,
    generator: np.random.Generator,
    *,
    target: np.ndarray | None = None,
    valid_share: float = 0.1,
    test_share: float = 0.1,
) -> tuple[Interactions, Interactions, Interactions]:
    """Train, validation and test interactions; all events of a (user, item) pair stay together.

    A pair's time is that of its last event, so that no training event is later than the held-out pair. With
    ``target``, bool ``(E,)``, only pairs with such an event are cut, at the time of the last of them; the others are
    trained on. Rows keep their order.

    Raises:
        UserError: an unknown split, or a split by time where there is no time.
    """
    if how not in get_args(SplitName):
        raise UserError(f"unknown split {how!r}; {nearest(how, get_args(SplitName))}")
    if how != "random" and interactions.timestamp is None:
        raise UserError(f"split {how!r} needs timestamps or positions; there are none (use 'random')")
    pair, index = _pairs(interactions.user, interactions.item)
    counted = np.ones(len(interactions), dtype=bool) if target is None else target
    cut = np.unique(index[counted])  # the pairs that may be held out, by number
    if how == "random":
        codes = random_per_user(pair[cut, 0], generator)
    else:
        assert interactions.timestamp is not None
        last = np.full(len(pair), np.iinfo(np.int64).min)
        np.maximum.at(last, index[counted], interactions.timestamp[counted])
        # Pairs are numbered by user and item; equal times are settled by the order of the rows instead.
        arrival = np.zeros(len(pair), dtype=np.int64)
        np.maximum.at(arrival, index[counted], np.flatnonzero(counted))
        cut = cut[np.argsort(arrival[cut], kind="stable")]
        if how == "leave-one-out":
            codes = leave_one_out(pair[cut, 0], last[cut])
        else:
            codes = global_temporal(last[cut], valid_share, test_share)
    of_pair = np.full(len(pair), TRAIN, dtype=np.int8)
    of_pair[cut] = codes
    of_event = of_pair[index]
    return (
        interactions.take(np.flatnonzero(of_event == TRAIN)),
        interactions.take(np.flatnonzero(of_event == VALID)),
        interactions.take(np.flatnonzero(of_event == TEST)),
    )
