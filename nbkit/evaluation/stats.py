"""Statistics on per-user scores: intervals, paired tests, seeds times users, and many comparisons at once.

Scores come in as arrays of users, or of seeds × users, and randomness as a generator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from nbkit.errors import UserError, nearest
from nbkit.evaluation.resampling import bca_limits, bootstrap_means, rounding, sign_flip_p

RESAMPLES = 10_000


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` users with its bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class PairedResult:
    """How far model a is above model b, user by user.

    ``difference`` is the mean of a - b, ``low`` and ``high`` its interval, ``p`` the p-value that covers
    everything sampled (users; with several seeds also seeds), ``p_sign_flip`` and ``p_wilcoxon`` those over
    users alone; ``win``, ``tie``, ``loss`` count users, ``effect`` is Cohen's dz (mean over standard
    deviation of the differences), ``n`` users.
    """

    difference: float
    low: float
    high: float
    p: float
    p_sign_flip: float
    p_wilcoxon: float
    win: int
    tie: int
    loss: int
    effect: float
    n: int
    seeds: int = 1
    note: str = ""


def mean_interval(
    scores: np.ndarray, generator: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES
) -> Interval:
    """The mean of scores of users ``(U,)``, or of seeds and users ``(S, U)``, with its interval; nan is left out.

    One seed: BCa bootstrap over users. Several: as :func:`hierarchical_difference`.

    Raises:
        UserError: no score at all, a user scored by some seeds only, a level outside (0, 1), fewer than 100 resamples.
    """
    values = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    values = values[:, _scored(values)]
    _check_settings(values.shape[1], level, resamples)
    if len(values) == 1:
        means = bootstrap_means(values[0], resamples, generator)
        low, high = bca_limits(values[0], means, level)
        return Interval(float(values.mean()), low, high, values.shape[1])
    per_user, deviation = _deviation(values, resamples, generator)
    low, high = per_user.mean() + np.quantile(deviation, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(per_user.mean()), float(low), float(high), len(per_user))


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> PairedResult:
    """Compare two models on the same users, ``(U,)`` each; users whose score is nan in both are left out.

    Interval: BCa bootstrap over users. ``p_sign_flip``: two-sided sign-flip test of the mean difference,
    exact for up to 14 differing users, else (1 + count) / (1 + resamples). ``p_wilcoxon``: signed ranks, ties
    of users dropped.

    Raises:
        UserError: different numbers of users, a user scored by one model only, no user left.
    """
    d = _differences(a, b)
    interval = mean_interval(d, generator, level=level, resamples=resamples)
    p = sign_flip_p(d, resamples, generator)
    note = "one seed: variation between seeds is not covered"
    return _paired(d, interval.low, interval.high, p, p, seeds=1, note=note)


def hierarchical_difference(
    a: np.ndarray,
    b: np.ndarray,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> PairedResult:
    """Compare two models over seeds and users, ``(S, U)`` each; row s of both belongs to the same seed.

    All seeds rank the same users, so a resample draws users once, for all seeds together: drawing them anew
    within each seed would treat S × U scores as independent and make the interval too narrow. Three to five
    seeds are too few to be resampled themselves (where seeds differ most, 3 of them cover 81-86 %, not 95),
    so their part is a draw of Student's t with S - 1 degrees of freedom times the standard error of the S
    mean differences; ``low`` and ``high`` are quantiles of the sum of both parts, ``p`` the share of such
    sums at least as far from the mean as 0 is. One seed: the same as :func:`paired_difference`.

    Raises:
        UserError: as :func:`paired_difference`, or different numbers of seeds.
    """
    d = _differences(a, b)  # (S, U)
    if d.ndim == 1 or len(d) == 1:
        return paired_difference(np.ravel(a), np.ravel(b), generator, level=level, resamples=resamples)
    _check_settings(d.shape[1], level, resamples)
    per_user, deviation = _deviation(d, resamples, generator)
    low, high = per_user.mean() + np.quantile(deviation, [(1 - level) / 2, (1 + level) / 2])
    far = np.abs(deviation) >= abs(per_user.mean()) - rounding(per_user)
    p = (1 + far.sum()) / (1 + resamples)
    note = "two seeds: too few to judge by, run three or more" if len(d) == 2 else ""
    sign_flip = sign_flip_p(per_user, resamples, generator)
    return _paired(per_user, float(low), float(high), float(p), sign_flip, seeds=len(d), note=note)


@overload
def holm(p_values: Mapping[Any, float]) -> dict[Any, float]: ...
@overload
def holm(p_values: np.ndarray) -> np.ndarray: ...
def holm(p_values):
    """Holm's step-down adjustment of a family of p-values, a mapping or an array ``(N,)``, as it came in.

    The k-th smallest of N is multiplied by N - k + 1, never falls below a smaller one's, and stops at 1.
    Source: Holm, Scandinavian Journal of Statistics, 1979.

    Raises:
        UserError: a value outside 0 … 1.
    """
    if isinstance(p_values, Mapping):
        return dict(zip(p_values, holm(np.array(list(p_values.values()), dtype=float)).tolist(), strict=True))
    p = np.asarray(p_values, dtype=np.float64)
    if bad := [float(value) for value in p if not 0 <= value <= 1]:
        raise UserError(f"p-value is {bad[0]}, expected 0 … 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def compare_all(
    scores: pd.DataFrame,
    baseline: str | None,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Compare every model with the baseline, or all pairs if it is None; Holm's adjustment over the rows.

    ``scores`` is long: columns model, seed, user, value. The result has one row a pair: model, other, their
    means, the fields of :class:`PairedResult`, ``p_holm`` and ``verdict`` ("better", "worse" or "no
    difference shown": of model against other, by ``p_holm`` < 1 - level).

    Raises:
        UserError: a missing column, an unknown baseline, fewer than two models, a user scored twice in a run,
            models that were not run on the same users and seeds.
    """
    tables = _score_tables(scores)
    if baseline is not None and baseline not in tables:
        raise UserError(f"unknown baseline {baseline!r}; {nearest(baseline, tables)}")
    names = list(tables)
    pairs = [(m, o) for i, m in enumerate(names) for o in names[i + 1 :]]
    if baseline is not None:
        pairs = [(m, baseline) for m in names if m != baseline]
    rows = []
    for model, other in pairs:
        result = hierarchical_difference(tables[model], tables[other], generator, level=level, resamples=resamples)
        means = {"mean": np.nanmean(tables[model]), "other_mean": np.nanmean(tables[other])}
        rows.append({"model": model, "other": other} | means | vars(result))
    frame = pd.DataFrame(rows)
    frame.insert(list(frame).index("p") + 1, "p_holm", 1.0)
    return judged(frame, level=level)


def judged(comparisons: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Rows of one or more :func:`compare_all` as one family: ``p_holm`` over all of them, and the ``verdict`` of it."""
    frame = comparisons.assign(p_holm=holm(comparisons["p"].to_numpy()))
    direction = np.where(frame["difference"] > 0, "better", "worse")
    frame["verdict"] = np.where(frame["p_holm"] < 1 - level, direction, "no difference shown")
    return frame


def _score_tables(scores: pd.DataFrame) -> dict[Any, np.ndarray]:
    """One (S, U) array a model, in order of appearance, rows and columns by sorted seed and user."""
    keys = ["model", "seed", "user"]
    for column in (*keys, "value"):
        if column not in scores.columns:
            raise UserError(f"scores lack column {column!r}; {nearest(column, scores.columns)}")
    for wrong, what in (
        (scores[keys].isna().any(axis=1), "without a key"),
        (scores.duplicated(keys), "twice"),
    ):
        if wrong.any():
            model, seed, user = scores.loc[wrong.to_numpy(), keys].iloc[0]
            raise UserError(f"scores hold model {model!r}, seed {seed}, user {user} {what}, expected each once")
    models = list(scores["model"].unique())
    if len(models) < 2:
        raise UserError(f"scores hold {len(models)} model, expected two or more to compare")
    runs = dict(list(scores.sort_values(["seed", "user"]).groupby(["model", "seed"], observed=True)))
    seeds = {model: [seed for name, seed in runs if name == model] for model in models}
    expected = seeds[models[0]]
    users = runs[models[0], expected[0]]["user"].to_numpy()
    for model in models:
        if seeds[model] != expected:
            own, others = (", ".join(map(str, some)) for some in (seeds[model], expected))
            raise UserError(f"model {model!r} has seeds {own}; expected those of {models[0]!r}: {others}")
        for seed in expected:
            if not np.array_equal(have := runs[model, seed]["user"].to_numpy(), users):
                odd = np.setxor1d(have, users)[0]
                raise UserError(
                    f"model {model!r}, seed {seed} {'has' if odd in have else 'lacks'} user {odd}, "
                    f"unlike model {models[0]!r}, seed {expected[0]}; "
                    f"expected the same {len(users)} users in every run"
                )
    values = {key: run["value"].to_numpy(dtype=np.float64) for key, run in runs.items()}
    return {model: np.stack([values[model, seed] for seed in expected]) for model in models}


def _differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, (U,) or (S, U), without the users whose score is nan everywhere."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.shape != b.shape or a.ndim not in (1, 2):
        raise UserError(
            f"the two models have scores of shape {a.shape} and {b.shape}, expected the same users and seeds"
        )
    return (a - b)[..., _scored(np.vstack([a, b]))]


def _scored(scores: np.ndarray) -> np.ndarray:
    """Which users have a score, ``(N, U) -> (U,)``; those who have one must have all."""
    unknown = np.isnan(scores)
    if (uneven := unknown.any(axis=0) & ~unknown.all(axis=0)).any():
        raise UserError(
            f"user row {np.argmax(uneven)} is scored in one run and nan in another, expected the same users in all"
        )
    return ~unknown[0]


def _deviation(scores: np.ndarray, resamples: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Means over seeds ``(S, U) -> (U,)``, and how far the mean of all strays with users and seeds ``(R,)``."""
    per_user, per_seed = scores.mean(axis=0), scores.mean(axis=1)
    per_user[np.abs(per_user) <= 1e-12 * np.abs(scores).max()] = 0  # differences that cancel, but for rounding
    deviation = bootstrap_means(per_user, resamples, generator) - per_user.mean()
    deviation += per_seed.std(ddof=1) / np.sqrt(len(scores)) * generator.standard_t(len(scores) - 1, size=resamples)
    return per_user, deviation


def _paired(
    d: np.ndarray, low: float, high: float, p: float, sign_flip: float, *, seeds: int, note: str
) -> PairedResult:
    mean, spread = float(d.mean()), float(d.std(ddof=1)) if np.ptp(d) > 0 else 0.0
    return PairedResult(
        difference=mean,
        low=low,
        high=high,
        p=p,
        p_sign_flip=sign_flip,
        p_wilcoxon=float(wilcoxon(d).pvalue) if d.any() else 1.0,
        win=int((d > 0).sum()),
        tie=int((d == 0).sum()),
        loss=int((d < 0).sum()),
        effect=mean / spread if spread else float(np.sign(mean) * np.inf if mean else 0),
        n=len(d),
        seeds=seeds,
        note=note,
    )


def _check_settings(users: int, level: float, resamples: int) -> None:
    if not users:
        raise UserError("no user has a score, expected one or more")
    if not 0 < level < 1:
        raise UserError(f"level is {level}, expected a number between 0 and 1, e.g. 0.95")
    if resamples < 100:
        raise UserError(f"resamples is {resamples}, expected 100 or more")
