"""What noise costs: retention curves, the area under them, and where one model falls below another.

``K`` rates, the first of them clean data; ``S`` seeds; ``U`` users; ``C`` curves of a study; ``R`` resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from nbkit.data.corrupt import Operator, operators
from nbkit.errors import UserError, nearest
from nbkit.evaluation.stats import holm

RESAMPLES = 2_000
_DIFFERENCES = ["model", "operator", "other", "mean", "other_mean", "difference", "low", "high", "p"]
_DRAWS = 4_000_000  # users drawn at a time: some 64 MB


@dataclass(frozen=True, eq=False)
class NoiseCurve:
    """Per-user scores of a model under one noise operator: ``values`` ``(K, S, U)`` at ``rates``, clean data first.

    Raises:
        UserError: no clean data or no noise, rates that do not rise in strength, scores of another shape or not finite.
    """

    model: str
    operator: str
    rates: tuple[float, ...]
    values: np.ndarray

    def __post_init__(self) -> None:
        what = f"noise curve of {self.model} under {self.operator}"
        if len(self.rates) < 2 or self.strengths[0] != 0 or (np.diff(self.strengths) <= 0).any():
            raise UserError(f"{what}: rates {list(self.rates)}; expected clean data, then rising noise")
        if self.values.ndim != 3 or len(self.values) != len(self.rates) or not self.values.size:
            raise UserError(
                f"{what}: scores of shape {self.values.shape}; expected ({len(self.rates)}, seeds, users), not empty"
            )
        if not np.isfinite(self.values).all():
            raise UserError(f"{what}: some scores are not finite; expected one number for every rate, seed and user")

    @property
    def kind(self) -> Operator:
        return operators()[self.operator]

    @cached_property
    def strengths(self) -> np.ndarray:
        """How strong the noise is ``(K,)``, clean data 0 (:meth:`nbkit.data.corrupt.Operator.strength`)."""
        return np.array([self.kind.strength(rate) for rate in self.rates])

    @cached_property
    def area_weights(self) -> np.ndarray:
        """Of each rate's value in the area under its curve ``(K,)``: trapezoids over strength, divided by its range."""
        steps = np.diff(self.strengths)
        return (np.append(steps, 0) + np.append(0, steps)) / 2 / self.strengths[-1]


class Robustness:
    """What the noise curves of a study say, from one resampling of users that all its numbers share.

    *Retention* is the mean over users under noise divided by that on clean data, for each seed, then averaged over
    seeds. The *area* under it is taken over the strength of the noise from clean data to the strongest rate, divided by
    that range: 1 is a model that loses nothing, and a share of it is the mean share kept. Areas of one operator compare
    models; those of two operators cover two scales.

    A resample draws users, the same for every model, rate and seed, and computes every number anew from them. From two
    seeds on it adds the seeds' part as :func:`nbkit.evaluation.stats.hierarchical_difference` does: Student's t with
    S - 1 degrees of freedom times the standard error of the seeds' numbers, here of all numbers jointly. One seed
    covers users alone. Intervals are quantiles of resamples; p-values the share of them that lie at least as far from
    the number as 0 does.

    Raises:
        UserError: no curves, one given twice, models of an operator with different rates, seeds or users, a model that
            finds nothing on clean data.
    """

    def __init__(
        self,
        curves: Sequence[NoiseCurve],
        generator: np.random.Generator,
        *,
        level: float = 0.95,
        resamples: int = RESAMPLES,
    ) -> None:
        _check(curves)
        self.curves, self.level = tuple(curves), level
        self.seeds, self.users = curves[0].values.shape[1:]
        cells = np.concatenate([curve.values for curve in curves]).reshape(-1, self.users)  # (all K · S, U)
        ends = np.cumsum([len(curve.rates) for curve in curves])[:-1]
        shape = (-1, self.seeds)
        self._means = np.split(cells.mean(axis=1).reshape(shape), ends)  # C of (K, S)
        drawn = _resampled_means(cells, resamples, generator).reshape(resamples, *shape)
        self._drawn = np.split(drawn, ends, axis=1)  # C of (R, K, S)
        # One draw of the seeds' part for all numbers: (R, S), so that z @ (number of a seed - mean) is Student's t.
        normal = generator.standard_normal((resamples, self.seeds))
        chi = generator.chisquare(max(self.seeds - 1, 1), (resamples, 1))
        self._seeds_part = normal / np.sqrt(chi * self.seeds)

    def quality(self) -> pd.DataFrame:
        """The metric itself: model, operator, rate, strength, mean, low, high, n (users), seeds."""
        return self._by_rate([self._estimate(m, d) for m, d in zip(self._means, self._drawn, strict=True)])

    def retention(self) -> pd.DataFrame:
        """Retention: model, operator, rate, strength, mean, low, high, n (users), seeds; 1 on clean data."""
        return self._by_rate(
            [self._estimate(_kept(m), _kept(d)) for m, d in zip(self._means, self._drawn, strict=True)]
        )

    def areas(self) -> pd.DataFrame:
        """Area under retention: model, operator, mean, low, high, n (users), seeds."""
        frame = pd.DataFrame({"model": c.model, "operator": c.operator} for c in self.curves)
        limits = [self._interval(*area) for area in self._areas]
        return frame.assign(
            **dict(zip(("mean", "low", "high"), np.array(limits).T, strict=True)), n=self.users, seeds=self.seeds
        )

    def differences(self, baseline: str | None = None) -> pd.DataFrame:
        """Paired differences in area, model - other, as :func:`nbkit.evaluation.stats.compare_all` gives them.

        Columns: model, operator, other, mean, other_mean, difference, low, high, p, p_holm, verdict. Of every
        model from the baseline, or of all pairs: none of a single model. Holm's adjustment is over all rows, operators
        included.

        Raises:
            UserError: an unknown baseline.
        """
        models = list(dict.fromkeys(c.model for c in self.curves))
        if baseline is not None and baseline not in models:
            raise UserError(f"unknown baseline {baseline!r}; {nearest(baseline, models)}")
        rows = []
        for a, b in self._pairs(baseline):
            (mine, drawn), (others, drawn_too) = self._areas[a], self._areas[b]
            value, deviation = mine - others, drawn - drawn_too
            mean, low, high = self._interval(value, deviation)
            p = (1 + (np.abs(deviation) >= abs(mean) - 1e-12).sum()) / (1 + len(deviation))
            one, other = self.curves[a], self.curves[b]
            rows.append(
                {"model": one.model, "operator": one.operator, "other": other.model, "mean": mine, "other_mean": others}
                | {"difference": mean, "low": low, "high": high, "p": p}
            )
        frame = pd.DataFrame(rows, columns=_DIFFERENCES)
        frame["p_holm"] = holm(frame["p"].to_numpy())
        sign = np.where(frame["difference"] > 0, "better", "worse")
        frame["verdict"] = np.where(frame["p_holm"] < 1 - self.level, sign, "no difference shown")
        return frame

    def crossings(self) -> pd.DataFrame:
        """Where a model that leads on clean data falls below another: model, operator, other, rate, low, high, share.

        ``model`` is ahead of ``other`` in the mean on clean data; ``rate`` is where the metric's mean curves, joined by
        straight lines over strength, first cross (nan: they do not). ``share`` is that of resamples in which the model
        is ahead on clean data and behind at some rate: about how sure it is that they cross. ``low`` and ``high`` are
        quantiles of the crossing among those resamples, in the order of strength.
        """
        rows = []
        quality = [self._estimate(m, d) for m, d in zip(self._means, self._drawn, strict=True)]
        for a, b in self._pairs(None):
            if quality[a][0][0] < quality[b][0][0]:
                a, b = b, a
            one, other = self.curves[a], self.curves[b]
            ahead = quality[a][0] - quality[b][0]  # (K,)
            drawn = first_crossing(ahead + quality[a][1] - quality[b][1], one.strengths)  # (R,)
            crossed = ~np.isnan(drawn)
            limits = np.quantile(drawn[crossed], self._tails) if crossed.any() else [np.nan, np.nan]
            at = [first_crossing(ahead[None], one.strengths)[0], *limits]
            rate, low, high = (np.nan if np.isnan(x) else one.kind.rate(float(x)) for x in at)
            rows.append(
                {"model": one.model, "operator": one.operator, "other": other.model}
                | {"rate": rate, "low": low, "high": high, "share": crossed.mean()}
            )
        return pd.DataFrame(rows, columns=["model", "operator", "other", "rate", "low", "high", "share"])

    @cached_property
    def _areas(self) -> list[tuple[np.ndarray, np.ndarray]]:
        found = []
        for curve, means, drawn in zip(self.curves, self._means, self._drawn, strict=True):
            weights = curve.area_weights
            found.append(self._estimate(weights @ _kept(means), np.einsum("k,rks->rs", weights, _kept(drawn))))
        return found

    @property
    def _tails(self) -> list[float]:
        return [(1 - self.level) / 2, (1 + self.level) / 2]

    def _estimate(self, by_seed: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A number's mean over seeds, and how far it strays with users and seeds: ``(…, S)``, ``(R, …, S)``."""
        mean = by_seed.mean(axis=-1)
        return mean, drawn.mean(axis=-1) - mean + self._seeds_part @ (by_seed - mean[..., None]).T

    def _interval(self, value: np.ndarray, deviation: np.ndarray) -> tuple[float, float, float]:
        low, high = value + np.quantile(deviation, self._tails)
        return float(value), float(low), float(high)

    def _by_rate(self, estimates: list[tuple[np.ndarray, np.ndarray]]) -> pd.DataFrame:
        rows = []
        for curve, (value, deviation) in zip(self.curves, estimates, strict=True):
            low, high = value + np.quantile(deviation, self._tails, axis=0)
            part = {"rate": curve.rates, "strength": curve.strengths, "mean": value, "low": low, "high": high}
            rows.append(pd.DataFrame({"model": curve.model, "operator": curve.operator} | part))
        return pd.concat(rows, ignore_index=True).assign(n=self.users, seeds=self.seeds)

    def _pairs(self, baseline: str | None) -> list[tuple[int, int]]:
        """Places of two models' curves under the same operator; against the baseline it stands second."""
        pairs = [
            (a, b)
            for a, b in combinations(range(len(self.curves)), 2)
            if self.curves[a].operator == self.curves[b].operator
        ]
        if baseline is None:
            return pairs
        turned = [(b, a) if self.curves[a].model == baseline else (a, b) for a, b in pairs]
        return [(a, b) for a, b in turned if self.curves[b].model == baseline]


def first_crossing(ahead: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Where a lead falls through 0, straight lines between strengths: ``(R, K)``, ``(K,)`` -> ``(R,)``.

    nan where it was no lead at the first strength or never turns into a lag.
    """
    behind = ahead < 0
    place = behind.argmax(axis=1)
    row = np.arange(len(ahead))
    crosses = (place > 0) & behind[row, place] & (ahead[:, 0] >= 0)
    before, after = np.maximum(place - 1, 0), place
    step = ahead[row, before] - ahead[row, after]
    part = np.divide(ahead[row, before], step, out=np.zeros(len(ahead)), where=crosses)
    return np.where(crosses, strengths[before] + part * (strengths[after] - strengths[before]), np.nan)


def _kept(means: np.ndarray) -> np.ndarray:
    """Means divided by the clean ones: ``(…, K, S)``; a resample without any hit on clean data kept nothing."""
    clean = means[..., :1, :]
    return np.divide(means, clean, out=np.zeros_like(means), where=clean > 0)


def _resampled_means(cells: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means of rows ``(N, U)`` over resamples of their columns, the same columns for all rows: ``(R, N)``."""
    users = cells.shape[1]
    means = np.empty((resamples, len(cells)))
    step = max(1, _DRAWS // users)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        picked = generator.integers(users, size=(size, users)) + users * np.arange(size)[:, None]
        times = np.bincount(picked.ravel(), minlength=size * users).reshape(size, users)
        means[start : start + size] = times.astype(np.float64) @ cells.T
    return means / users


def _check(curves: Sequence[NoiseCurve]) -> None:
    if not curves:
        raise UserError("no noise curves; expected at least one model under one noise")
    first: dict[str, NoiseCurve] = {}
    seen = set()
    for curve in curves:
        what = f"noise curve of {curve.model} under {curve.operator}"
        like = first.setdefault(curve.operator, curve)
        if (curve.model, curve.operator) in seen:
            raise UserError(f"{what} is given twice; expected it once")
        seen.add((curve.model, curve.operator))
        if curve.rates != like.rates:
            raise UserError(f"{what} has rates {list(curve.rates)}; expected those of {like.model}: {list(like.rates)}")
        if curve.values.shape[1:] != curves[0].values.shape[1:]:
            raise UserError(
                f"{what} has {curve.values.shape[1:]} seeds and users; expected {curves[0].values.shape[1:]}, as before"
            )
        if not (curve.values[0].mean(axis=-1) > 0).all():
            raise UserError(f"{what}: a seed scores 0 for all users on clean data; retention is a share of that score")
