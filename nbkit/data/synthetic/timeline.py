"""When it happened and what came of it: sessions over a year, and the way from a view to a purchase."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import expit

from nbkit.data.dataset import Interactions
from nbkit.data.synthetic.attributes import RELEVANT
from nbkit.data.synthetic.counter import uniform
from nbkit.data.synthetic.shop import Shop

BEHAVIORS = ("view", "cart", "purchase")
YEAR_START, YEAR = 1_704_067_200, 365 * 86_400  # 2024-01-01 00:00 UTC, and a year in seconds
_PACE = 300  # seconds between two views of a session


def view_times(shop: Shop, pairs: np.ndarray) -> np.ndarray:
    """Seconds at which genuine pairs ``(P, 2)``, sorted by user, are viewed: ``(P,)`` int64.

    A user comes for shapes (three users in five) or for colours: what is viewed in one session is more
    alike than what is viewed across sessions.
    """
    user, item = pairs.T
    names = list(RELEVANT)
    by_shape = uniform(shop.seed, "looks for", user, 0) < 0.6
    shape, colour = (shop.codes[item, names.index(name)] for name in ("shape", "colour"))
    theme = np.where(by_shape, shape, colour)
    draw = partial(uniform, shop.seed)
    order = np.lexsort((draw("within", user, item), draw("theme", user, theme), user))
    user, item, theme = user[order], item[order], theme[order]
    same_user, same_theme = user[1:] == user[:-1], theme[1:] == theme[:-1]
    leaves = draw("leaves", user[1:], item[1:]) < np.where(same_theme, 0.15, 0.8)
    starts = np.concatenate([[True], ~same_user | leaves])
    first = np.flatnonzero(starts)
    session = np.cumsum(starts) - 1
    place = np.arange(len(user)) - first[session]
    begin = draw("begins", user[first], item[first]) * YEAR
    jitter = draw("pace", user, item) * (_PACE / 3)
    times = np.empty(len(user), dtype=np.int64)
    times[order] = (YEAR_START + begin[session] + _PACE * place + jitter).astype(np.int64)
    return times


def slip_times(shop: Shop, accidents: np.ndarray, genuine: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Seconds of accidental clicks ``(N, 2)``: a moment after some genuine view of the user."""
    low, high = (np.searchsorted(genuine[:, 0], accidents[:, 0], side=side) for side in ("left", "right"))
    host = low + (uniform(shop.seed, "slips after", *accidents.T) * (high - low)).astype(np.int64)
    return times[host] + 2 + (uniform(shop.seed, "slips at", *accidents.T) * 18).astype(np.int64)


def events(shop: Shop, pairs: np.ndarray, times: np.ndarray, genuine: np.ndarray) -> tuple[Interactions, np.ndarray]:
    """All events of some pairs, sorted by user and time, and the row of the pair of each event.

    Every pair is viewed. A genuine one goes to the cart, and on to the purchase, the more likely the more
    its utility exceeds the mean of the user's genuine clicks; an accident stays a view.

    Shapes: ``pairs`` ``(P, 2)``, ``times`` ``(P,)`` of the views, ``genuine`` ``(P,)`` bool.
    """
    user, item = pairs.T
    utility = shop.utility(user, item)
    rows, inverse = np.unique(user, return_inverse=True)
    total, count = (np.bincount(inverse, weights, len(rows)) for weights in (utility * genuine, genuine))
    means = total / np.maximum(count, 1)
    chance = expit(utility - means[inverse])
    cart = genuine & (uniform(shop.seed, "cart", user, item) < 0.25 + 0.6 * chance)
    purchase = cart & (uniform(shop.seed, "purchase", user, item) < 0.15 + 0.7 * chance)
    row = np.concatenate([np.arange(len(pairs)), np.flatnonzero(cart), np.flatnonzero(purchase)])
    behavior = np.repeat(np.arange(3), [len(pairs), cart.sum(), purchase.sum()])
    moment = times[row] + np.array([0, 30, 80])[behavior]
    order = np.lexsort((behavior, item[row], moment, user[row]))
    row, behavior, moment = row[order], behavior[order], moment[order]
    return Interactions(user=user[row], item=item[row], timestamp=moment, behavior=behavior), row
