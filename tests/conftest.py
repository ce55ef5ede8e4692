"""A planted world small enough to reason about: groups of users who like groups of items, and features that say so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nbkit.data.dataset import Interactions, MultimodalDataset

torch.set_num_threads(1)

GROUPS, USERS, ITEMS = 4, 40, 32


def planted(modalities: tuple[str, ...] = ("image", "text"), seed: int = 0) -> MultimodalDataset:
    """Users of group g interact with the items of group g alone; one of them each is for validation, one for test."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[int, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(USERS):
        own = rng.permutation(np.arange(user % GROUPS, ITEMS, GROUPS))
        rows["valid"].append((user, own[0]))
        rows["test"].append((user, own[1]))
        rows["train"] += [(user, item) for item in own[2:]]
    splits = {name: Interactions(*np.array(pairs).T) for name, pairs in rows.items()}
    group = np.eye(GROUPS)[np.arange(ITEMS) % GROUPS]
    features = {
        name: (group @ rng.normal(size=(GROUPS, 6 + index)) + 0.3 * rng.normal(size=(ITEMS, 6 + index))).astype(
            np.float32
        )
        for index, name in enumerate(modalities)
    }
    return MultimodalDataset(
        name="planted",
        user_ids=np.array([f"u{n}" for n in range(USERS)]),
        item_ids=np.array([f"i{n}" for n in range(ITEMS)]),
        features=features,
        **splits,
    )


@pytest.fixture
def make_planted() -> Callable[..., MultimodalDataset]:
    return planted


@pytest.fixture
def world() -> MultimodalDataset:
    return planted()
