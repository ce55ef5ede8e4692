"""Measures of denoising, for data whose noise is known.

Every measure comes as one value a unit (user or item) whose mean is the measure: the infinitesimal jackknife's
pseudo-values, measure + n · (its derivative by the unit's weight). The house's bootstrap of a mean then gives every
interval, and two measures on the same units are compared pair by pair. Intervals of the non-linear ones hold to first
order. Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 6.

``P`` training pairs, ``I`` items, ``D`` width, ``n`` units.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array
from scipy.stats import rankdata

from nbkit.errors import UserError
from nbkit.graphs import nearest_neighbours

_STRENGTHS = np.logspace(-4, 4, 17)  # of a probe's ridge, beside the mean squared singular value
_CHUNK = 16_384  # pairs whose feature rows are held at a time


def noise_auc(credibility: np.ndarray, noisy: np.ndarray, users: np.ndarray) -> np.ndarray:
    """ROC-AUC at finding noisy pairs: the share of (noisy, genuine) pairs with the noisy one less credible, ties half.

    Shapes: ``credibility``, ``noisy`` (bool) and ``users`` ``(P,)``; result one pseudo-value a user, ``(n,)``.
    Source: Hanley & McNeil, Radiology 1982; DeLong et al., Biometrics 1988, for its derivative.

    Raises:
        UserError: no noisy or no genuine pair, or a credibility that is not finite.
    """
    _check_pairs(credibility, noisy)
    # A rank among all, less the rank within its own kind, counts the pairs of the other kind below.
    below = rankdata(credibility)
    for kind in (noisy, ~noisy):
        below[kind] -= rankdata(credibility[kind])
    genuine = np.flatnonzero(~noisy)
    placed = np.where(noisy, 1 - below / len(genuine), below / noisy.sum())  # (P,) share on the right side of each
    auc = placed[genuine].mean()
    return _per_user(auc, (placed - auc) / np.where(noisy, noisy.sum(), len(genuine)), users)


def noise_average_precision(credibility: np.ndarray, noisy: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Average precision of a list of pairs, least credible first, at finding noisy ones; tied pairs stand together.

    Shapes and errors: as :func:`noise_auc`. By chance it is the share of noisy pairs.
    """
    _check_pairs(credibility, noisy)
    _, place, size = np.unique(credibility, return_inverse=True, return_counts=True)
    found = np.bincount(place, weights=noisy)  # (L,) noisy pairs at each level of credibility, lowest first
    true, listed = found.cumsum(), size.cumsum()
    precision, total = true / listed, found.sum()
    value = (found @ precision) / total
    # A pair's weight moves the precision of its own level and of every level after it.
    raised = _from_here_on(found * (listed - true) / listed**2)[place]
    lowered = _from_here_on(found * true / listed**2)[place]
    derivative = np.where(noisy, precision[place] - value + raised, -lowered) / total
    return _per_user(value, derivative, users)


def profile_cosine(pairs: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Cosine of each pair's item with the mean of the user's *other* items, ``(P,)``: the baseline of a credibility.

    Shapes: ``pairs`` ``(P, 2)`` distinct, ``features`` ``(I, D)``, rows scaled to length 1 first. A user's only item
    gets 0.
    """
    unit = unit_rows(features.astype(np.float64))
    users, place = np.unique(pairs[:, 0], return_inverse=True)
    history = csr_array((np.ones(len(pairs)), (place, pairs[:, 1])), shape=(len(users), len(features)))
    total = history @ unit  # (users, D)
    cosines = np.empty(len(pairs))
    for start in range(0, len(pairs), _CHUNK):
        some = slice(start, start + _CHUNK)
        own = unit[pairs[some, 1]]
        others = total[place[some]] - own
        others[(history.indptr[1:] - history.indptr[:-1])[place[some]] == 1] = 0  # rounding is no profile
        cosines[some] = (unit_rows(others) * own).sum(axis=1)
    return cosines


def probe_r2(table: np.ndarray, labels: pd.DataFrame, folds: np.ndarray) -> np.ndarray:
    """Share of the variance of one-hot attributes that a linear probe of the table explains on items it has not seen.

    One ridge regression for each fold, fitted on the other folds, its strength chosen there by generalised
    cross-validation (Golub, Heath & Wahba, Technometrics 1979); R² = 1 - squared error / squared deviation, summed over
    all values of all attributes. Shapes: ``table`` ``(I, D)``, ``labels`` one row an item, ``folds`` ``(I,)`` fold
    numbers; result ``(I,)`` pseudo-values, given the fitted probes. More items make a better probe: compare tables of
    the same items only.

    Raises:
        UserError: attributes that are the same for all items.
    """
    target = pd.get_dummies(labels, columns=list(labels.columns)).to_numpy(np.float64)  # (I, V)
    deviation = ((target - target.mean(axis=0)) ** 2).sum(axis=1)
    if not deviation.any():
        raise UserError(f"attributes {', '.join(labels.columns)} have one value each; expected some that vary")
    error = np.empty(len(table))
    for fold in np.unique(folds):
        fit, rest = folds != fold, folds == fold
        centre, mean = table[fit].mean(axis=0), target[fit].mean(axis=0)
        left, singular, right = np.linalg.svd(table[fit].astype(np.float64) - centre, full_matrices=False)
        turned = left.T @ (target[fit] - mean)  # (r, V)
        ridge = _best_ridge(singular**2, (turned**2).sum(axis=1), ((target[fit] - mean) ** 2).sum(), fit.sum() - 1)
        weights = right.T @ ((singular / (singular**2 + ridge))[:, None] * turned)
        error[rest] = ((target[rest] - mean - (table[rest] - centre) @ weights) ** 2).sum(axis=1)
    ratio = error.mean() / deviation.mean()
    return 1 - ratio - (error - ratio * deviation) / deviation.mean()


def _best_ridge(power: np.ndarray, explained: np.ndarray, total: float, freedom: int) -> float:
    """The ridge of least squared error over (freedom left)², from what each of r directions ``(r,)`` can explain."""
    ridges = _STRENGTHS * max(power.mean(), np.finfo(float).tiny)
    kept = power / (power + ridges[:, None])  # (ridges, r)
    error = total - (kept * (2 - kept)) @ explained
    return float(ridges[np.argmin(error / (freedom - kept.sum(axis=1)).clip(min=1e-9) ** 2)])


def neighbour_purity(table: np.ndarray, labels: pd.DataFrame, k: int) -> np.ndarray:
    """Share of an item's ``k`` nearest items by cosine with the same value, mean over attributes and items.

    Shapes: ``table`` ``(I, D)``, ``labels`` one row an item; result ``(I,)`` pseudo-values. An item counts twice: by
    its own neighbours, and as a neighbour of others, where it stands in place of an average one. Memory grows with I,
    not with I².
    """
    near = nearest_neighbours(torch.from_numpy(np.array(table, dtype=np.float32)), k, include_self=False)[0].numpy()
    codes = labels.apply(lambda column: pd.factorize(column)[0]).to_numpy()  # (I, A)
    same = (codes[near] == codes[:, None]).mean(axis=2)  # (I, k)
    own = same.mean(axis=1, keepdims=True)
    as_neighbour = np.bincount(near.ravel(), weights=(same - own).ravel(), minlength=len(near)) / near.shape[1]
    return own[:, 0] + as_neighbour


def linear_cka(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Linear CKA of two tables of the same items, 0 … 1: ``(I, D)``, ``(I, D')`` -> ``(I,)`` pseudo-values.

    ‖AᵀB‖² / (‖AᵀA‖ ‖BᵀB‖) of centred tables, Frobenius norms: D × D' numbers, never I × I. A constant table gets 0.
    Source: Kornblith et al., ICML 2019, eq. 4.
    """
    a, b = (x.astype(np.float64) - x.mean(axis=0) for x in (a, b))

    def shares(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        cross = x.T @ y
        return float((cross**2).sum()), ((x @ cross) * y).sum(axis=1)  # the second sums to the first

    (ab, of_ab), (aa, of_aa), (bb, of_bb) = shares(a, b), shares(a, a), shares(b, b)
    if not ab:
        return np.zeros(len(a))
    return ab / np.sqrt(aa * bb) * (1 + len(a) * (2 * of_ab / ab - of_aa / aa - of_bb / bb))


def _per_user(measure: float, derivative: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Pseudo-values of users, whose pairs come and go together: ``(P,)`` derivatives -> ``(n,)``."""
    _, place = np.unique(users, return_inverse=True)
    sums = np.bincount(place, weights=derivative)
    return measure + len(sums) * sums


def _from_here_on(values: np.ndarray) -> np.ndarray:
    return values[::-1].cumsum()[::-1]


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, ``(N, D)``; rows of zeros stay."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _check_pairs(credibility: np.ndarray, noisy: np.ndarray) -> None:
    if not np.isfinite(credibility).all():
        row = int(np.argmin(np.isfinite(credibility)))
        raise UserError(f"credibility of pair {row} is {credibility[row]}; expected finite numbers")
    if noisy.all() or not noisy.any():
        raise UserError(f"{noisy.sum()} of {len(noisy)} training pairs are noisy; expected some of both kinds")
