"""How far two tables of the same items, or a table and its picture, agree on who is near whom.

Every measure comes as one value an item, whose mean is the measure. A bootstrap over them holds neighbourhoods fixed,
though an item drawn or not is also a neighbour gained or lost: for all but the displacement such intervals came out 15
to 30 % too narrow in simulations of 200 and 600 items.
Tables ``(I, D)`` are compared by cosine, places ``(I, 2)`` in a picture by distance. ``I`` items, ``k`` neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from nbkit.errors import UserError
from nbkit.evaluation.denoising import unit_rows
from nbkit.graphs import nearest_neighbours

_CHUNK = 512  # items whose closeness to all others is held at a time


def neighbour_overlap(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Share of an item's ``k`` nearest items by cosine that two tables have in common: ``(I, D)``, ``(I, D')``.

    1 for tables that are rotations of each other; about k / (I - 1) for unrelated ones.

    Raises:
        UserError: tables of different length, or k that the items are too few for.
    """
    _check(a, b, k, len(a) - 1)
    near_a, near_b = (nearest_neighbours(torch.from_numpy(_float(x)), k, include_self=False)[0].numpy() for x in (a, b))
    return (near_a[:, :, None] == near_b[:, None, :]).any(axis=2).mean(axis=1)


def trustworthiness(table: np.ndarray, places: np.ndarray, k: int) -> np.ndarray:
    """How far neighbours in the picture are neighbours in the table, 1 if all are: ``(I, D)``, ``(I, 2)``.

    1 - 2 / (k (2I - 3k - 1)) · sum of (rank - k) over the ``k`` nearest in the picture, ranks by cosine in the table
    and those up to k free. About ½ for a random picture. Source: Venna & Kaski, ICANN 2001, eq. 1.

    Raises:
        UserError: tables of different length, or k not below half the items.
    """
    return _kept_near(places, "distance", table, "cosine", k)


def continuity(table: np.ndarray, places: np.ndarray, k: int) -> np.ndarray:
    """How far neighbours in the table are neighbours in the picture: trustworthiness with the two exchanged.

    Low where the picture tears neighbours apart. Source: Venna & Kaski, ICANN 2001, eq. 2. Errors:
    :func:`trustworthiness`.
    """
    return _kept_near(table, "cosine", places, "distance", k)


def displacement(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far each item's direction moved within one space, both ``(I, D)``; 1 is as far as two random items.

    Distance of the rows, scaled to length 1, over the root mean squared distance of two items drawn from ``before``;
    a row sent to the mean of all gets about 0.7, so being drawn to the middle is not the way back.
    For tables with axes in common: rotate one of two equal tables, and everything has moved.

    Raises:
        UserError: tables of different shape, or a table whose rows all point one way.
    """
    if before.shape != after.shape:
        raise UserError(f"displacement: shapes {before.shape} and {after.shape}; expected two tables of one space")
    before, after = unit_rows(before.astype(np.float64)), unit_rows(after.astype(np.float64))
    spread = np.sqrt(2 * ((before - before.mean(axis=0)) ** 2).sum(axis=1).mean())
    if spread < 1e-9:
        raise UserError("displacement: all rows point the same way; expected a table in which items differ")
    return np.linalg.norm(after - before, axis=1) / spread


Metric = Literal["cosine", "distance"]


def _kept_near(near: np.ndarray, by: Metric, judge: np.ndarray, judge_by: Metric, k: int) -> np.ndarray:
    """1 less the penalty of an item's ``k`` nearest in ``near`` for their ranks in ``judge``."""
    _check(near, judge, k, (len(near) - 1) // 2)
    number = len(near)
    values = np.empty(number)
    pairs = zip(_closeness(near, by), _closeness(judge, judge_by), strict=True)
    for (rows, close), (_, judged) in pairs:
        nearest = np.argpartition(-close, k - 1, axis=1)[:, :k]
        order = np.argsort(-judged, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, number + 1)[None, :], axis=1)
        beyond = (np.take_along_axis(ranks, nearest, axis=1) - k).clip(min=0)
        values[rows] = 1 - 2 * beyond.sum(axis=1) / (k * (2 * number - 3 * k - 1))
    return values


def _closeness(table: np.ndarray, by: Metric) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Some rows' numbers and their closeness to all items ``(n, I)``, to themselves least of all."""
    rows = table.astype(np.float64)
    rows = unit_rows(rows) if by == "cosine" else rows - rows.mean(axis=0)
    for start in range(0, len(rows), _CHUNK):
        some = np.arange(start, min(start + _CHUNK, len(rows)))
        close = rows[some] @ rows.T
        if by == "distance":
            close -= (rows**2).sum(axis=1) / 2  # the item's own length shifts a whole row and changes no order
        close[some - start, some] = -np.inf
        yield some, close


def _float(table: np.ndarray) -> np.ndarray:
    return np.array(table, dtype=np.float32)


def _check(a: np.ndarray, b: np.ndarray, k: int, most: int) -> None:
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise UserError(f"neighbours of tables of shapes {a.shape} and {b.shape}; expected one row an item in both")
    if not 1 <= k <= most:
        raise UserError(f"k = {k}; expected 1 … {most} neighbours for {len(a)} items")
