"""The built-in data set: a shop whose accidents, gaps, tastes and irrelevant details are all known."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from nbkit import config
from nbkit.data.dataset import Interactions, MultimodalDataset, SealedSplit, Truth
from nbkit.data.splits import NAMES, TRAIN, random_per_user
from nbkit.data.synthetic.cards import draw_cards
from nbkit.data.synthetic.clicks import CHUNK, AccidentalClicks, GenuineClicks, chunks
from nbkit.data.synthetic.counter import uniform
from nbkit.data.synthetic.features import IMAGE_DIM, TEXT_DIM, image_features, mixed_features, text_features
from nbkit.data.synthetic.shop import BoutiqueSettings, Shop, open_shop
from nbkit.data.synthetic.timeline import BEHAVIORS, events, slip_times, view_times
from nbkit.errors import UserError, nearest

SIZES: dict[str, BoutiqueSettings] = {
    "tiny": BoutiqueSettings(users=120, items=80, mean_clicks=9.0, styles=6),
    "small": BoutiqueSettings(users=1200, items=700),
    "medium": BoutiqueSettings(users=10_000, items=3000, mean_clicks=14.0, styles=30),
    "large": BoutiqueSettings(users=1_000_000, items=20_000, mean_clicks=12.0, styles=100, pictures=False),
}
CAVEAT = "planted data: it shows whether noise is found, not how a model fares on a real shop"


def boutique(size: str = "small", *, seed: config.Seed = 0, **overrides: Any) -> MultimodalDataset:
    """A synthetic shop with everything planted kept as truth; equal arguments give an equal fingerprint.

    Validation and test hold genuine clicks only, so that Recall measures preference; accidents are planted
    in training alone. All events of a pair (view, cart, purchase) lie in one split. In the truth,
    ``noisy_pairs`` are the accidents, ``missing_pairs`` what a user would have clicked had it been shown,
    ``relevant`` and ``nuisance`` the attributes of the items. ``overrides`` change single settings
    (:class:`BoutiqueSettings`).

    Raises:
        UserError: an unknown size or setting, or a value out of range.
    """
    return assemble(open_shop(*_spec(size, seed, overrides)), f"boutique-{size}")


@dataclass(frozen=True, eq=False)
class Oracle:
    """The ranker that knows what was planted: no model can expect to order held-out items better."""

    shop: Shop

    def score(self, users: np.ndarray) -> np.ndarray:
        """Log weight of every item in the draw of clicks, ``(B,) -> (B, I)``; -inf where never exposed."""
        users = np.asarray(users, dtype=np.int64)
        shown = self.shop.exposed(users[:, None], np.arange(self.shop.settings.items))
        return np.where(shown, self.shop.log_weight(users), -np.inf)


def perfect_knowledge(size: str = "small", seed: int = 0, **overrides: Any) -> Oracle:
    """The oracle of ``boutique(size, seed=seed, **overrides)``, made without drawing the data again."""
    return Oracle(open_shop(*_spec(size, seed, overrides)))


def _spec(size: str, seed: int, overrides: dict[str, Any]) -> tuple[BoutiqueSettings, int]:
    if size not in SIZES:
        raise UserError(f"unknown boutique size {size!r}; {nearest(size, SIZES)}")
    where = f"boutique-{size}"
    settings = config.build(BoutiqueSettings, {**dataclasses.asdict(SIZES[size]), **overrides}, where=where)
    return settings, config.settings_of(boutique)["seed"].check(seed, where)


def assemble(shop: Shop, name: str, chunk: int = CHUNK) -> MultimodalDataset:
    """The data set of a shop, drawn ``chunk`` users at a time (memory, not result, depends on it)."""
    genuine, missing, codes = _genuine_pairs(shop, chunk)
    splits, noisy = _all_events(shop, genuine, codes, chunk)
    table, features = _item_side(shop)
    return MultimodalDataset(
        name=name,
        user_ids=np.array([f"u{k:07d}" for k in range(shop.settings.users)]),
        item_ids=np.array([f"{shape}-{k:05d}" for k, shape in enumerate(shop.relevant["shape"])]),
        train=splits["train"],
        valid=splits["valid"],
        test=SealedSplit(splits["test"]),
        features=features,
        item_table=table,
        behaviors=BEHAVIORS,
        clock="unix",
        caveat=CAVEAT,
        truth=Truth(noisy_pairs=noisy, missing_pairs=missing, relevant=shop.relevant, nuisance=shop.nuisance),
    )


def _genuine_pairs(shop: Shop, chunk: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Genuine pairs and missing ones, each sorted by user, and the split code of each genuine pair."""
    draw = GenuineClicks(shop)
    drawn = [draw(users, shop.activity(users)) for users in chunks(shop.settings.users, chunk)]
    genuine, missing = (np.concatenate([getattr(d, part) for d in drawn]) for part in ("chosen", "hidden"))
    return genuine, missing, random_per_user(genuine[:, 0], np.random.default_rng([shop.seed, 10]))


def _all_events(
    shop: Shop, genuine: np.ndarray, codes: np.ndarray, chunk: int
) -> tuple[dict[str, Interactions], np.ndarray]:
    """Events by split, and the accidental pairs planted in training."""
    slip, share = AccidentalClicks(shop), shop.settings.accidents
    parts: dict[str, list[Interactions]] = {split: [] for split in NAMES}
    noisy = []
    for users in chunks(shop.settings.users, chunk):
        here = slice(*np.searchsorted(genuine[:, 0], [users[0], users[-1] + 1]))
        own, own_codes = genuine[here], codes[here]
        trained = np.bincount(own[own_codes == TRAIN, 0] - users[0], minlength=len(users))
        need = (trained * share / (1 - share) + uniform(shop.seed, "accidents", users, 0)).astype(np.int64)
        accidents = slip(users, need, own).chosen
        times = view_times(shop, own)
        pairs = np.concatenate([own, accidents])
        when = np.concatenate([times, slip_times(shop, accidents, own, times)])
        happened, row = events(shop, pairs, when, np.arange(len(pairs)) < len(own))
        code = np.concatenate([own_codes, np.full(len(accidents), TRAIN, dtype=np.int8)])[row]
        for k, split in enumerate(NAMES):
            parts[split].append(happened.take(np.flatnonzero(code == k)))
        noisy.append(accidents)
    return {split: _joined(pieces) for split, pieces in parts.items()}, np.concatenate(noisy)


def _joined(pieces: list[Interactions]) -> Interactions:
    names = ("user", "item", "timestamp", "behavior")
    columns = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    return Interactions(**columns)


def _item_side(shop: Shop) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Item table and features."""
    generator = np.random.default_rng([shop.seed, 11])
    cards = draw_cards(shop.relevant, shop.nuisance, generator)
    table = pd.DataFrame({"title": [c.title for c in cards], "category": [c.shape for c in cards]})
    if shop.settings.pictures:
        table["image"] = [c.svg for c in cards]
        return table, {"image": image_features([*table["image"]]), "text": text_features([*table["title"]])}
    seen = shop.nuisance[["background", "lighting", "pose", "filter"]]
    told = shop.nuisance[["pitch", "delivery"]]
    return table, {
        "image": mixed_features(shop.relevant, seen, IMAGE_DIM, generator),
        "text": mixed_features(shop.relevant, told, TEXT_DIM, generator),
    }
