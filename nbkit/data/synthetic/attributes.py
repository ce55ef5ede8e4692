"""The vocabulary of the boutique: what drives preference and what does not."""

from __future__ import annotations

import numpy as np
import pandas as pd

RELEVANT: dict[str, tuple[str, ...]] = {
    "shape": ("mug", "vase", "lamp", "bag", "boot", "hat", "chair", "scarf"),
    "material": ("linen", "wool", "leather", "wood", "ceramic", "steel"),
    "pattern": ("plain", "striped", "dotted", "checked", "zigzag", "floral"),
    "colour": ("red", "orange", "yellow", "green", "blue", "purple", "pink", "grey"),
}

NUISANCE: dict[str, tuple[str, ...]] = {
    "background": ("studio", "podium", "room", "marble", "night", "garden"),
    "lighting": ("even", "left", "right", "above", "spot"),
    "pose": ("upright", "mirrored", "tilted left", "tilted right", "close-up", "far"),
    "filter": ("none", "warm", "cold", "faded", "noir"),
    "pitch": ("limited", "new", "bestseller", "gift", "vintage", "sale"),
    "delivery": ("fast", "returns", "stock", "order", "wrapped", "green"),
}


def draw_attributes(
    vocabulary: dict[str, tuple[str, ...]], num_items: int, generator: np.random.Generator
) -> pd.DataFrame:
    """One categorical column an attribute, one row an item; values are equally likely and independent."""
    columns = {}
    for name, values in vocabulary.items():
        drawn = generator.integers(len(values), size=num_items)
        columns[name] = pd.Categorical.from_codes(drawn, dtype=pd.CategoricalDtype(list(values)))
    return pd.DataFrame(columns)


def codes(table: pd.DataFrame) -> np.ndarray:
    """The categories of each column as numbers, ``(I, A)`` int64."""
    return np.stack([table[name].cat.codes.to_numpy(np.int64) for name in table.columns], axis=1)


def one_hot(table: pd.DataFrame) -> np.ndarray:
    """All columns side by side as indicators, ``(I, V)`` float64 with A ones a row."""
    blocks = [np.eye(len(table[name].cat.categories))[table[name].cat.codes] for name in table.columns]
    return np.concatenate(blocks, axis=1)
