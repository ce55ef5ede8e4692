"""Ranking metrics per user, computed from the few hits alone, and what top lists do beyond accuracy.

Every accuracy metric here is a sum over a user's hits of a *gain*, divided by an *ideal* of that user. So a
metric is one function from the hits to ``(gain, ideal)``, and the work follows the number of hits, not of
users times places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from nbkit.errors import UserError, nearest

# (place (H,), order (H,), relevant (U,), K) -> (gain of each hit (H,), ideal of each user (U,) or of all ())
Metric = Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def recall(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Share of the user's relevant items among the first K: hits / n."""
    return torch.ones_like(place), relevant


def ndcg(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Binary discounted gain, 1 / log2(place + 1) summed over hits, against that of min(n, K) hits on top."""
    best = (1 / torch.arange(2, k + 2, dtype=place.dtype).log2()).cumsum(0).to(place.device)  # (K,)
    return 1 / (place + 1).log2(), best[relevant.clamp(1, k).long() - 1]


def precision(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Share of the K places that hold a relevant item; below 1 even for a perfect list where n < K."""
    return torch.ones_like(place), place.new_tensor(k)


def hit(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """1 where the first K hold any relevant item (hit rate), else 0."""
    return (order == 1).to(place.dtype), place.new_tensor(1)


def mrr(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """1 / place of the first hit, 0 where it lies beyond K."""
    return (order == 1) / place, place.new_tensor(1)


def average_precision(place: Tensor, order: Tensor, relevant: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Precision at each hit, summed and divided by min(n, K), so that a perfect list scores 1 at every K.

    TREC, ranx and pytrec_eval divide by n instead, which bounds a user with n > K by K / n.
    """
    return order / place, relevant.clamp(max=k)


METRICS: Mapping[str, Metric] = {
    "recall": recall,
    "ndcg": ndcg,
    "precision": precision,
    "hit": hit,
    "mrr": mrr,
    "map": average_precision,
}


def per_user_metrics(
    hits: Tensor, relevant: Tensor, ks: Sequence[int] = (5, 10, 20, 50), names: Sequence[str] = tuple(METRICS)
) -> dict[str, Tensor]:
    """Scores of every user by name (``"recall@20"``), float64 ``(U,)``; nan for users with nothing relevant.

    Shapes: ``hits`` ``(U, Kmax)`` bool, whether the item at that place is relevant, best place first;
    ``relevant`` ``(U,)`` int, the user's number n of relevant items, found or not. A user's score does not
    depend on the other users.

    Raises:
        UserError: unknown metric, a K outside 1 … Kmax, arrays that do not match, more hits than relevant.
    """
    _check(hits, relevant, ks, names)
    user, column = hits.nonzero(as_tuple=True)  # (H,), sorted by user, then place
    found = torch.bincount(user, minlength=len(hits))  # (U,)
    if (wrong := (found > relevant).nonzero()).numel():
        row = int(wrong[0])
        raise UserError(
            f"user row {row} has {int(found[row])} hits among {int(relevant[row])} relevant items, "
            "expected no more hits than relevant items"
        )
    first = found.cumsum(0) - found
    order = (torch.arange(len(user), device=hits.device) - first[user] + 1).double()
    place = (column + 1).double()
    total = relevant.double()

    keys = [(name, k) for name in names for k in ks]
    parts = [METRICS[name](place, order, total, k) for name, k in keys]
    gains = torch.stack(
        [torch.where(place <= k, gain, 0) for (_, k), (gain, _) in zip(keys, parts, strict=True)], dim=1
    )
    # segment_reduce adds the hits of a user in order, so the sums do not depend on chunks
    sums = torch.segment_reduce(gains, "sum", lengths=found, axis=0, initial=0, unsafe=True)  # (U, keys)
    unknown = relevant == 0
    scores = (column_sum / ideal for column_sum, (_, ideal) in zip(sums.unbind(1), parts, strict=True))
    return {f"{name}@{k}": s.masked_fill(unknown, torch.nan) for (name, k), s in zip(keys, scores, strict=True)}


def mean_metrics(
    per_user: Mapping[str, Tensor], without_relevant: Literal["skip", "zero"] = "skip"
) -> dict[str, float]:
    """Means over users, unrounded; users without a score (nan) are left out, or count as 0 if so chosen."""
    if without_relevant not in ("skip", "zero"):
        raise UserError(f"without_relevant is {without_relevant!r}; {nearest(without_relevant, ('skip', 'zero'))}")
    if not per_user:
        return {}
    table = torch.stack(list(per_user.values()))  # (metrics, U)
    means = table.nanmean(1) if without_relevant == "skip" else table.nan_to_num(nan=0.0).mean(1)
    return dict(zip(per_user, means.tolist(), strict=True))


def exposure(topk: Tensor, num_items: int) -> Tensor:
    """How often each item stands in a top list, ``(U, K)`` item rows -> ``(I,)`` int64; -1 is an empty place.

    Raises:
        UserError: an item row outside the catalogue.
    """
    shown = topk[topk >= 0]
    if shown.numel() and (last := int(shown.max())) >= num_items:
        raise UserError(f"top lists hold item row {last}, expected 0 … {num_items - 1}")
    return torch.bincount(shown, minlength=num_items)


def coverage(topk: Tensor, num_items: int) -> float:
    """Share of the catalogue that stands in at least one top list."""
    return float((exposure(topk, num_items) > 0).double().mean())


def gini(topk: Tensor, num_items: int) -> float:
    """Inequality of exposure over the catalogue: 0 all items shown equally often, 1 - 1/I one item only."""
    shown = exposure(topk, num_items).double().sort().values  # (I,), ascending
    weights = 2 * torch.arange(1, num_items + 1, device=shown.device) - num_items - 1
    return float((weights * shown).sum() / (num_items * shown.sum()))


def novelty(topk: Tensor, popularity: Tensor) -> Tensor:
    """Mean self-information of each list, -log2 of an item's share of training interactions: ``(U,)``, bits.

    An item that training never saw counts as seen once. ``popularity`` ``(I,)`` holds training counts.
    Source: Vargas and Castells, RecSys 2011 (free discovery).
    """
    share = popularity.double().clamp(min=1) / popularity.sum()
    return _list_mean(-share.log2(), topk)


def popularity_percentile(popularity: Tensor) -> Tensor:
    """Share of items that are less popular, equally popular ones counted half: ``(I,)``, mean 0.5."""
    ranked = popularity.sort().values
    below, up_to = (torch.searchsorted(ranked, popularity, right=right) for right in (False, True))
    return (below + up_to).double() / (2 * len(popularity))


def popularity_bias(topk: Tensor, popularity: Tensor, history: Tensor) -> dict[str, Tensor]:
    """How popular a user's list is, alone and against what the user chose before; each value is ``(U,)``.

    ``popularity``: mean training count of the items (its mean over users is ARP); ``popularity_lift``: the
    same over that of the history, minus 1; ``percentile`` and ``percentile_lift``: mean popularity
    percentile, and its difference from the history's, which a few blockbusters cannot dominate. Lifts of
    users without history are nan.

    Shapes: ``topk`` ``(U, K)`` item rows; ``popularity`` ``(I,)`` training counts; ``history`` ``(P, 2)``
    pairs of (row of ``topk``, item row). Source: Abdollahpouri et al., RecSys 2020 (popularity lift).
    """
    user, item = history.unbind(1)
    chosen = torch.bincount(user, minlength=len(topk))

    def against_history(value: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.bincount(user, weights=value[item], minlength=len(topk)) / chosen
        return _list_mean(value, topk), before

    count, count_before = against_history(popularity.double())
    percentile, percentile_before = against_history(popularity_percentile(popularity))
    return {
        "popularity": count,
        "popularity_lift": count / count_before - 1,
        "percentile": percentile,
        "percentile_lift": percentile - percentile_before,
    }


def _list_mean(value: Tensor, topk: Tensor) -> Tensor:
    """Mean of an item value (I,) over each list (U, K), empty places left out; nan for an empty list."""
    filled = topk >= 0
    return torch.where(filled, value[topk.clamp(min=0)], 0).sum(1) / filled.sum(1)


def _check(hits: Tensor, relevant: Tensor, ks: Sequence[int], names: Sequence[str]) -> None:
    for name in names:
        if name not in METRICS:
            raise UserError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
    if hits.dtype != torch.bool or hits.ndim != 2 or relevant.shape != hits.shape[:1]:
        raise UserError(
            f"hits are {hits.dtype} {tuple(hits.shape)}, counts of relevant items {tuple(relevant.shape)}; "
            "expected bool (U, Kmax) and (U,)"
        )
    for k in ks:
        if not 1 <= k <= hits.shape[1]:
            raise UserError(f"cut-off K is {k}, expected 1 … {hits.shape[1]}, the length of the top lists")
