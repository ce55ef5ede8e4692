"""Noise in the interactions: training pairs that mean nothing, and genuine ones that are not observed.

Rates are shares of P, the distinct training pairs. Nothing that a user trained on, is validated or tested on,
or is known to like unobserved is ever added.
"""

from __future__ import annotations

import numpy as np

from nbkit.data.corrupt.truth import merge_truth
from nbkit.data.dataset import Interactions, MultimodalDataset, Truth
from nbkit.errors import UserError


def add_random_edges(
    dataset: MultimodalDataset, rate: float, generator: np.random.Generator
) -> tuple[MultimodalDataset, Truth]:
    """Add ``round(rate · P)`` training pairs: users in proportion to their activity, items uniformly.

    Source: the feedback noise of DA-MRS. Each pair is one event; it takes time, behaviour and rating from a
    random training event of its user, and stands behind the original events.

    Raises:
        UserError: more pairs asked for than there are free ones.
    """
    return _add(dataset, rate, generator, np.ones(dataset.num_items))


def add_popular_edges(
    dataset: MultimodalDataset, rate: float, generator: np.random.Generator
) -> tuple[MultimodalDataset, Truth]:
    """The same with items in proportion to their training degree: clicks that follow the crowd.

    Raises:
        UserError: more pairs asked for than there are free ones.
    """
    degree = np.bincount(dataset.train.pairs()[:, 1], minlength=dataset.num_items)
    return _add(dataset, rate, generator, degree.astype(np.float64))


def drop_edges(
    dataset: MultimodalDataset, rate: float, generator: np.random.Generator
) -> tuple[MultimodalDataset, Truth]:
    """Drop ``round(rate · P)`` random training pairs with all their events; each user keeps one at least.

    The truth lists every dropped pair; merged with what was known, only those that were genuine.

    Raises:
        UserError: more pairs asked for than can go.
    """
    pairs = dataset.train.pairs()
    count = round(rate * len(pairs))
    order = generator.permutation(len(pairs))
    # The pair that comes last in a user's order stays: as if pairs went one by one and a last one was spared.
    _, last = np.unique(pairs[order[::-1], 0], return_index=True)
    free = np.ones(len(pairs), dtype=bool)
    free[len(pairs) - 1 - last] = False
    if count > free.sum():
        raise UserError(
            f"noise drop_edges: rate {rate:g} asks for {count} of {len(pairs)} training pairs; "
            f"expected at most {free.sum()}, as each user keeps one"
        )
    gone = pairs[np.sort(order[free][:count])]
    keep = ~np.isin(_keys(dataset, dataset.train), gone @ [dataset.num_items, 1])
    own = Truth(missing_pairs=gone)
    train = dataset.train.take(np.flatnonzero(keep))
    return dataset.replace(train=train, truth=merge_truth(dataset.truth, own)), own


def _keys(dataset: MultimodalDataset, interactions: Interactions) -> np.ndarray:
    return interactions.user * dataset.num_items + interactions.item


def _forbidden(dataset: MultimodalDataset) -> np.ndarray:
    """Keys, sorted, of every pair that would be no noise: seen in any split, or genuine though unobserved."""
    parts = [_keys(dataset, p) for p in (dataset.train, dataset.valid, dataset.test.open("rewrite"))]
    if dataset.truth is not None and len(dataset.truth.missing_pairs):
        parts.append(dataset.truth.missing_pairs @ [dataset.num_items, 1])
    return np.unique(np.concatenate(parts))


def _add(
    dataset: MultimodalDataset, rate: float, generator: np.random.Generator, weight: np.ndarray
) -> tuple[MultimodalDataset, Truth]:
    train = dataset.train
    pairs = train.pairs()
    count = round(rate * len(pairs))
    keys = _draw(pairs[:, 0], weight, count, _forbidden(dataset), generator)
    user, item = np.divmod(keys, dataset.num_items)

    # Each added event copies the circumstances of a random training event of the same user.
    by_user = np.argsort(train.user, kind="stable")
    first, last = (np.searchsorted(train.user[by_user], user, side) for side in ("left", "right"))
    model = by_user[first + (generator.random(count) * (last - first)).astype(np.int64)]
    added = {name: c[model] for name in ("timestamp", "behavior", "rating") if (c := getattr(train, name)) is not None}
    noisy = Interactions(
        np.concatenate([train.user, user]),
        np.concatenate([train.item, item]),
        **{name: np.concatenate([getattr(train, name), column]) for name, column in added.items()},
    )
    own = Truth(noisy_pairs=np.stack([user, item], axis=1))
    return dataset.replace(train=noisy, truth=merge_truth(dataset.truth, own)), own


def _draw(
    users: np.ndarray, weight: np.ndarray, count: int, forbidden: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """``count`` different keys user · I + item, sorted; users from a list, items by weight, not forbidden."""
    width = len(weight)
    cumulative = np.cumsum(weight)
    last = np.flatnonzero(weight)[-1] if weight.any() else 0
    drawn = np.empty(0, dtype=np.int64)
    for _ in range(50):
        short = count - len(drawn)
        if not short:
            break
        user = users[generator.integers(len(users), size=2 * short + 16)]
        item = np.searchsorted(cumulative, generator.random(len(user)) * cumulative[-1], side="right")
        item = np.minimum(item, last)  # a product that rounds up to the whole weight points past the end
        fresh = user * width + item
        place = np.minimum(np.searchsorted(forbidden, fresh), len(forbidden) - 1)
        drawn = np.concatenate([drawn, fresh[forbidden[place] != fresh]])
        drawn = drawn[np.sort(np.unique(drawn, return_index=True)[1])][:count]  # first come, first served
    else:
        drawn = _fill(np.unique(users), weight, count, forbidden, drawn, generator)
    return np.sort(drawn)


def _fill(
    users: np.ndarray,
    weight: np.ndarray,
    count: int,
    forbidden: np.ndarray,
    drawn: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """The rest of the draw where hardly a pair is free: from a list of all that are."""
    items = np.flatnonzero(weight)
    every = (users[:, None] * len(weight) + items).ravel()
    free = np.setdiff1d(every, np.concatenate([forbidden, drawn]))
    short = count - len(drawn)
    if short > len(free):
        raise UserError(
            f"noise asks for {count} new training pairs; "
            f"expected at most {len(drawn) + len(free)}, as all other pairs are seen or held out"
        )
    return np.concatenate([drawn, generator.choice(free, short, replace=False)])
