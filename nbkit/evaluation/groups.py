"""For whom and for which items a model works: groups of users by history, of items by popularity."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from nbkit.errors import UserError, nearest
from nbkit.evaluation.stats import RESAMPLES, mean_interval

# A Series is looked up by its index, the others by row number.
Labels = pd.Series | pd.Categorical | np.ndarray


def degree_groups(
    counts: np.ndarray, *, edges: Sequence[int] | None = None, quantiles: int | Sequence[float] = 4
) -> pd.Categorical[Any]:
    """Ordered labels of users by their number of training interactions: ``(U,)`` counts -> ``(U,)`` labels.

    ``edges`` are the highest counts of each group but the last: (5, 10) gives "≤5", "6–10", ">10". Without
    them, edges are quantiles of the counts: 4 for quarters, or shares such as (0.5, 0.9). Equal counts are
    never parted, so groups may differ in size, and quantiles that fall on the same count merge.

    Raises:
        UserError: no users, negative counts, edges that do not rise, shares outside (0, 1).
    """
    counts = _counts(counts, "user")
    if edges is None:
        shares = np.arange(1, quantiles) / quantiles if isinstance(quantiles, int) else np.asarray(quantiles)
        if np.any((shares <= 0) | (shares >= 1)):
            raise UserError(f"quantiles are {quantiles}, expected shares between 0 and 1, or a number of groups")
        found = np.unique(np.quantile(counts, shares, method="inverted_cdf")).astype(np.int64)
        edges = found[found < counts.max()].tolist()
    if any(low >= high for low, high in pairwise(edges)):
        raise UserError(f"edges of degree groups are {tuple(edges)}, expected rising numbers")
    names = _range_names(list(edges))
    return _ordered(np.searchsorted(edges, counts), names)


def popularity_groups(counts: np.ndarray, shares: tuple[float, float] = (0.2, 0.8)) -> pd.Categorical[Any]:
    """Ordered labels "head", "mid", "tail" of items by popularity: ``(I,)`` counts -> ``(I,)`` labels.

    Items are taken from the most popular down: those before which less than the first share of all
    interactions has passed are the head, before which less than the second share has passed the mid, the rest
    the tail. Items of equal popularity stay together.

    Raises:
        UserError: no items, negative counts, shares that are not 0 < first <= second < 1.
    """
    counts = _counts(counts, "item")
    if not 0 < shares[0] <= shares[1] < 1:
        raise UserError(f"popularity shares are {shares}, expected two rising numbers between 0 and 1")
    popularity, position, times = np.unique(-counts, return_inverse=True, return_counts=True)
    mass = -popularity * times  # interactions with items of each popularity, most popular first
    before = (mass.cumsum() - mass) / max(1, mass.sum())
    codes = np.searchsorted(shares, before, side="right")
    codes[popularity == 0] = 2
    return _ordered(codes[position], ["head", "mid", "tail"])


def cold_items(counts: np.ndarray, at_most: int = 0) -> np.ndarray:
    """Items with at most so many training interactions, none by default: ``(I,)`` counts -> ``(I,)`` bool."""
    return _counts(counts, "item") <= at_most


def grouped_means(
    per_user: pd.DataFrame,
    labels: Labels,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Mean of every metric in every group of users: columns group, metric, mean, low, high, n.

    ``per_user`` has one row a user: a column ``user`` and metrics, the columns with an ``@`` in their name;
    ``labels`` are the users' groups. Users without a score (nan) are left out, so that the means of a metric
    weighted by ``n`` give its overall mean; a group without a scored user has no row.

    Raises:
        UserError: no column ``user``, no metric, a user with two rows or without a label.
    """
    _need(per_user, ["user"], "per-user scores")
    metrics = [name for name in per_user.columns if "@" in str(name)]
    if not metrics:
        raise UserError("per-user scores hold no metric, expected columns such as 'recall@20'")
    if (twice := per_user["user"].duplicated()).any():
        user = per_user["user"][twice].iloc[0]
        raise UserError(f"per-user scores hold user {user} twice, expected one run, split and masking")
    rows = []
    groups = pd.Series(_groups_of(labels, per_user["user"], "user"), index=per_user.index)
    for name, part in per_user.groupby(groups, observed=True):
        for metric in metrics:
            if part[metric].notna().any():
                interval = mean_interval(part[metric].to_numpy(), generator, level=level, resamples=resamples)
                rows.append({"group": name, "metric": metric} | vars(interval))
    return pd.DataFrame(rows, columns=["group", "metric", "mean", "low", "high", "n"])


def recall_by_item_group(
    positions: pd.DataFrame,
    item_labels: Labels,
    k: int,
    generator: np.random.Generator | None = None,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Recall@K of relevant items group by group, one row a group of items.

    ``positions`` is long, one row a relevant (user, item) with its ``rank`` in the user's list: 0 is the
    first place, -1 not in the list. Columns: ``recall``, the mean over the ``users`` with a relevant item in
    the group of the share of those found (with a generator also its interval ``low``, ``high``);
    ``pair_recall``, the share of all ``pairs`` of the group that were found: weighted by ``pairs`` it gives
    the overall share; ``contribution``, what the group adds to the usual Recall@K: contributions sum to it.

    With a column ``seed`` a pair may come once a seed: whether it was found is the mean over them.

    Raises:
        UserError: a missing column, a pair given twice, an item without a label, K below 1.
    """
    _need(positions, ["user", "item", "rank"], "positions")
    if k < 1:
        raise UserError(f"cut-off K is {k}, expected 1 or more")
    key = ["user", "item", *(["seed"] if "seed" in positions else [])]
    if (twice := positions.duplicated(key)).any():
        user, item = positions.loc[twice, ["user", "item"]].iloc[0]
        raise UserError(f"positions hold user {user}, item {item} twice, expected every relevant pair once")
    found = positions["rank"].between(0, k - 1).astype(np.float64)
    pairs = found.groupby([positions["user"], positions["item"]]).mean().rename("found").reset_index()
    pairs["group"] = _groups_of(item_labels, pairs["item"], "item")
    pairs["share"] = pairs["found"] / pairs.groupby("user")["found"].transform("size")
    rows = []
    for name, part in pairs.groupby("group", observed=True):
        recall = part.groupby("user")["found"].mean().to_numpy()
        row = {"group": name, "recall": recall.mean()}
        if generator is not None:
            interval = mean_interval(recall, generator, level=level, resamples=resamples)
            row |= {"low": interval.low, "high": interval.high}
        row |= {"users": len(recall), "pairs": len(part), "pair_recall": part["found"].mean()}
        rows.append(row | {"contribution": part["share"].sum() / pairs["user"].nunique()})
    return pd.DataFrame(rows)


def _groups_of(labels: Labels, rows: pd.Series, what: str) -> pd.Categorical[Any]:
    """The label of each row's user or item, in the order of the labels."""
    table = labels if isinstance(labels, pd.Series) else pd.Series(labels)
    if not table.index.is_unique:
        key = table.index[table.index.duplicated()][0]
        raise UserError(f"group labels name {what} {key} twice, expected one label for every {what}")
    place = table.index.get_indexer(pd.Index(rows))
    groups = pd.Categorical(table).take(place, allow_fill=True)
    if (missing := groups.isna()).any():
        raise UserError(f"{what} {rows.to_numpy()[missing.argmax()]} has no group label, expected one for every {what}")
    return groups


def _ordered(codes: np.ndarray, names: list[str]) -> pd.Categorical[Any]:
    return pd.Categorical.from_codes(codes.tolist(), dtype=pd.CategoricalDtype(names, ordered=True))


def _range_names(edges: list[int]) -> list[str]:
    if not edges:
        return ["all"]
    inner = [f"{low + 1}–{high}" if low + 1 < high else f"{high}" for low, high in pairwise(edges)]
    return [f"≤{edges[0]}" if edges[0] else "0", *inner, f">{edges[-1]}"]


def _counts(counts: np.ndarray, what: str) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise UserError(
            f"training counts are {counts.dtype} {counts.shape}, "
            f"expected one whole number of 0 or more for every {what}"
        )
    return counts.astype(np.int64)


def _need(table: pd.DataFrame, columns: list[str], what: str) -> None:
    for column in columns:
        if column not in table.columns:
            raise UserError(f"{what} lack column {column!r}; {nearest(column, map(str, table.columns))}")
