"""Scores of many runs gathered for comparison: the same data, the same held-out pairs, no run twice."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies.compare import held_out_scores

Key = TypeVar("Key", bound=Hashable)


class Scored(NamedTuple, Generic[Key]):
    """A run of a study: what its scores are of, under which condition (noise) it was trained, and its name in words."""

    key: Key
    condition: Hashable
    seed: int
    title: str
    run: RunFolder


def scores_by_seed(
    runs: Iterable[Scored[Key]], metric: str, *, split: str, masking: str
) -> dict[Key, dict[int, np.ndarray]]:
    """Per-user scores ``(U,)`` by key and seed, users in one order.

    Raises:
        UserError: a run that is not finished or has no such scores, two runs of one key and seed, runs of one condition
            and seed on different data, or other held-out pairs than elsewhere.
    """
    found: dict[Key, dict[int, np.ndarray]] = {}
    data: dict[tuple[Hashable, int], tuple[str, str]] = {}
    first: tuple[np.ndarray, str] | None = None
    for key, condition, seed, title, run in runs:
        trained = run.read_json("environment.json")["dataset"]["data"]
        same, other = data.setdefault((condition, seed), (trained, run.id))
        if trained != same:
            raise UserError(f"runs {other} and {run.id} ({title}) were trained on different data; expected the same")
        users, values = held_out_scores(run, metric, split, masking)
        first = first or (users, run.id)
        if not np.array_equal(users, first[0]):
            raise UserError(f"run {run.id} ({title}) has other {split} pairs than run {first[1]}; expected the same")
        by_seed = found.setdefault(key, {})
        if seed in by_seed:
            raise UserError(f"two runs are {title}; expected one")
        by_seed[seed] = values
    return found
