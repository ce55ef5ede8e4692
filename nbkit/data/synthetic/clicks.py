"""Who clicks what: genuine clicks by taste, accidental ones by popularity, and what was never shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nbkit.data.synthetic.attributes import RELEVANT, codes
from nbkit.data.synthetic.counter import uniform
from nbkit.data.synthetic.shop import Shop

CHUNK = 256  # users drawn at a time: bounds the memory, has no influence on the result
_MOST_PROPOSALS = 4096


@dataclass(frozen=True)
class Draw:
    """Pairs by user, as drawn: ``chosen`` ``(P, 2)``; ``hidden`` ``(H, 2)`` came up but was not exposed."""

    chosen: np.ndarray
    hidden: np.ndarray


def chunks(num_users: int, size: int) -> Iterator[np.ndarray]:
    """All user numbers in pieces."""
    for start in range(0, num_users, size):
        yield np.arange(start, min(start + size, num_users))


class GenuineClicks:
    """Plackett-Luce draws without replacement with weight popularity · exp(utility).

    A combination of relevant values is drawn first, then one of its items by popularity: the cost of a user
    grows with the number of combinations (2,304), not of items.
    """

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.sizes = [len(values) for values in RELEVANT.values()]
        member = np.ravel_multi_index(tuple(codes(shop.relevant).T), self.sizes)
        self.order = np.argsort(member, kind="stable")
        self.cumulative = np.cumsum(shop.popularity[self.order])
        bounds = np.concatenate([[0], np.cumsum(np.bincount(member, minlength=int(np.prod(self.sizes))))])
        edges = np.concatenate([[0.0], self.cumulative])[bounds]
        self.below, self.share = edges[:-1], np.diff(edges)

    def __call__(self, users: np.ndarray, need: np.ndarray) -> Draw:
        """The first ``need[b]`` exposed items that each user draws."""
        factors = np.split(np.exp(self.shop.taste(users)), np.cumsum(self.sizes)[:-1], axis=1)
        weights = factors[0]
        for factor in factors[1:]:
            weights = (weights[:, :, None] * factor[:, None, :]).reshape(len(users), -1)
        mass = np.cumsum(weights * self.share, axis=1)

        def propose(rows: np.ndarray, count: int) -> np.ndarray:
            who, turn = users[rows, None], np.arange(count)
            level = uniform(self.shop.seed, "combination", who, turn) * mass[rows, -1:]
            # "right" passes over combinations that no item has.
            picked = np.stack([mass[row].searchsorted(level[k], "right") for k, row in enumerate(rows)])
            place = self.below[picked] + uniform(self.shop.seed, "item", who, turn) * self.share[picked]
            return self.order[np.minimum(self.cumulative.searchsorted(place), len(self.order) - 1)]

        def refused(pair_users: np.ndarray, items: np.ndarray) -> np.ndarray:
            return np.zeros(items.shape, dtype=bool)

        return _collect(self.shop, users, need, propose, self.shop.log_weight, refused)


class AccidentalClicks:
    """Draws without replacement with weight popularity, whatever the taste; genuine pairs are passed over."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.cumulative = np.cumsum(shop.popularity)

    def __call__(self, users: np.ndarray, need: np.ndarray, genuine: np.ndarray) -> Draw:
        """The first ``need[b]`` exposed items outside ``genuine``, the users' own pairs ``(P, 2)``."""
        num_items = len(self.cumulative)
        taken = np.sort(genuine[:, 0] * num_items + genuine[:, 1])

        def propose(rows: np.ndarray, count: int) -> np.ndarray:
            place = uniform(self.shop.seed, "slip", users[rows, None], np.arange(count)) * self.cumulative[-1]
            return np.minimum(np.searchsorted(self.cumulative, place), num_items - 1)

        def log_weight(some: np.ndarray) -> np.ndarray:
            return np.broadcast_to(np.log(self.shop.popularity), (len(some), num_items))

        def refused(pair_users: np.ndarray, items: np.ndarray) -> np.ndarray:
            keys = pair_users * num_items + items
            return taken[np.minimum(np.searchsorted(taken, keys), len(taken) - 1)] == keys

        return _collect(self.shop, users, need, propose, log_weight, refused)


def _collect(
    shop: Shop,
    users: np.ndarray,
    need: np.ndarray,
    propose: Callable[[np.ndarray, int], np.ndarray],
    log_weight: Callable[[np.ndarray], np.ndarray],
    refused: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Draw:
    """Take proposals in order, without repeats, until each user has enough.

    Independent proposals with the repeats left out are a draw without replacement. More proposals begin with
    the same ones, so how many are made at a time does not matter. Users whose taste is so narrow that
    thousands do not suffice race all items against each other (Gumbel keys): the same distribution.
    """
    chosen: list[np.ndarray] = []
    hidden: list[np.ndarray] = []
    waiting, count = np.flatnonzero(need > 0), 32
    while len(waiting):
        last = count > _MOST_PROPOSALS
        batch = waiting[:64] if last else waiting
        if last:
            runners = np.arange(len(shop.popularity))
            gumbel = -np.log(-np.log(uniform(shop.seed, "race", users[batch, None], runners)))
            items = np.argsort(-(log_weight(users[batch]) + gumbel), axis=1)
        else:
            items = propose(batch, count)
        pair_users = np.broadcast_to(users[batch, None], items.shape)
        fresh = _first_occurrence(items) & ~refused(pair_users, items)
        exposed = shop.exposed(pair_users, items)
        rank = np.cumsum(fresh & exposed, axis=1)
        enough = (rank[:, -1] >= need[batch]) | last
        within = fresh & enough[:, None]
        for pairs, mask in (
            (chosen, within & exposed & (rank <= need[batch, None])),
            (hidden, within & ~exposed & (rank < need[batch, None])),
        ):
            pairs.append(np.stack([pair_users[mask], items[mask]], axis=1))
        waiting = np.concatenate([batch[~enough], waiting[len(batch) :]])
        count = count if last else 4 * count
    return Draw(*(_by_user(pairs) for pairs in (chosen, hidden)))


def _first_occurrence(items: np.ndarray) -> np.ndarray:
    order = np.argsort(items, axis=1, kind="stable")
    ranked = np.take_along_axis(items, order, axis=1)
    first = np.ones(items.shape, dtype=bool)
    np.put_along_axis(first, order[:, 1:], ranked[:, 1:] != ranked[:, :-1], axis=1)
    return first


def _by_user(pieces: list[np.ndarray]) -> np.ndarray:
    pairs = np.concatenate([np.empty((0, 2), dtype=np.int64), *pieces])
    return pairs[np.argsort(pairs[:, 0], kind="stable")]
