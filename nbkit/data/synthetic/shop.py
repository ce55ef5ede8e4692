"""The planted world: what items are, what users like, what is popular and what nobody was shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
import pandas as pd
from scipy.special import ndtri

from nbkit.config import Range
from nbkit.data.synthetic.attributes import NUISANCE, RELEVANT, codes, draw_attributes
from nbkit.data.synthetic.counter import uniform


@dataclass(frozen=True)
class BoutiqueSettings:
    """What a boutique is made of; :data:`nbkit.data.synthetic.SIZES` names some."""

    users: Annotated[int, Range(1, 20_000_000), "users U"] = 1200
    items: Annotated[int, Range(40, 1_000_000), "items I"] = 700
    mean_clicks: Annotated[float, Range(5.5, 500), "mean of the genuine clicks a user; the least is 5"] = 12.0
    accidents: Annotated[float, Range(0, 0.5), "share of accidental clicks among the training clicks"] = 0.13
    unexposed: Annotated[float, Range(0, 0.5), "share of the items that a user was never shown"] = 0.2
    taste: Annotated[float, Range(0, 5), "strength of taste against popularity"] = 1.4
    styles: Annotated[int, Range(1, 1000), "clusters of taste"] = 10
    individuality: Annotated[float, Range(0, 1), "share of a user's taste that is not the cluster's"] = 0.3
    popularity: Annotated[float, Range(0, 3), "exponent of the power law of item popularity"] = 0.6
    pictures: Annotated[bool, "draw pictures and compute features from them and the titles, or mix the attributes"] = (
        True
    )


LEAST_CLICKS = 5


@dataclass(frozen=True, eq=False)
class Shop:
    """Items with attributes and popularity ``(I,)``, and styles of taste ``(S, V)`` over relevant values.

    Users are not stored: taste and exposure are functions of the user's number.
    """

    settings: BoutiqueSettings
    seed: int
    relevant: pd.DataFrame
    nuisance: pd.DataFrame
    popularity: np.ndarray
    styles: np.ndarray

    @cached_property
    def codes(self) -> np.ndarray:
        """Relevant values of the items, ``(I, A)``, numbered through all attributes: columns of a taste."""
        sizes = [len(values) for values in RELEVANT.values()]
        return codes(self.relevant) + np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def taste(self, users: np.ndarray) -> np.ndarray:
        """Utility of each relevant value for some users, ``(B, V)``.

        The cluster's taste and the user's own, times how much the user minds each attribute.
        """
        share, rows = self.settings.individuality, users[:, None]
        sizes = [len(values) for values in RELEVANT.values()]
        style = (uniform(self.seed, "style", users, 0) * self.settings.styles).astype(np.int64)
        own = ndtri(uniform(self.seed, "own taste", rows, np.arange(sum(sizes))))
        mixed = np.sqrt(1 - share) * self.styles[style] + np.sqrt(share) * own
        # Two exponentials make a Gamma(2): few users mind all attributes alike.
        exponentials = -np.log(uniform(self.seed, "minds", rows, np.arange(2 * len(sizes))))
        minds = exponentials[:, ::2] + exponentials[:, 1::2]
        minds = len(sizes) * minds / _over_attributes(minds)[:, None]
        return self.settings.taste * mixed * np.repeat(minds, sizes, axis=1)

    def utility(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Utility of pairs, ``(P,)``: the sum of the user's taste over the item's relevant values."""
        distinct, row = np.unique(users, return_inverse=True)
        return _over_attributes(self.taste(distinct)[row[:, None], self.codes[items]])

    def exposed(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether the user was ever shown the item; broadcasts."""
        return uniform(self.seed, "exposure", users, items) >= self.settings.unexposed

    def log_weight(self, users: np.ndarray) -> np.ndarray:
        """Log weight of every item in the draw of genuine clicks, ``(B, I)``, as if all were exposed."""
        return _over_attributes(self.taste(users)[:, self.codes]) + np.log(self.popularity)

    def activity(self, users: np.ndarray) -> np.ndarray:
        """Number of genuine clicks, ``(B,)`` int64: Pareto from 5 on, at most a quarter of the items."""
        excess = self.settings.mean_clicks + 0.5 - LEAST_CLICKS  # the half is what rounding down takes
        tail = (LEAST_CLICKS + excess) / excess
        clicks = LEAST_CLICKS * uniform(self.seed, "activity", users, 0) ** (-1 / tail)
        return np.minimum(clicks, max(LEAST_CLICKS, self.settings.items // 4)).astype(np.int64)


def _over_attributes(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis in a fixed order: no last bit depends on how many rows are summed at a time."""
    total = values[..., 0]
    for a in range(1, values.shape[-1]):
        total = total + values[..., a]
    return total


def open_shop(settings: BoutiqueSettings, seed: int) -> Shop:
    """The planted world of a seed: attributes, popularity and styles, each from a generator of its own."""
    items = settings.items
    relevant, nuisance, popularity, styles = (np.random.default_rng([seed, k]) for k in range(4))
    weight = (1.0 + popularity.permutation(items)) ** -settings.popularity
    return Shop(
        settings=settings,
        seed=seed,
        relevant=draw_attributes(RELEVANT, items, relevant),
        nuisance=draw_attributes(NUISANCE, items, nuisance),
        popularity=weight / weight.sum(),
        styles=styles.standard_normal((settings.styles, sum(map(len, RELEVANT.values())))),
    )
