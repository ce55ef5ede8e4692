"""A planted world small enough to reason about: groups of users who like groups of items, and features that say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from nbkit.data.dataset import Interactions, MultimodalDataset


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """One thread for every test and its fixtures; a library that a test called may have set another number."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests leave nothing in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


GROUPS, USERS, ITEMS = 4, 40, 32


def planted(modalities: tuple[str, ...] = ("image", "text"), seed: int = 0) -> MultimodalDataset:
    """Users of group g go round the items of group g, from anywhere; the last two are for validation and test.

    So what a user likes is the group, what comes next is the next of the cycle, and every other event is a purchase.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[int, int, int, int]]] = {"train": [], "valid": [], "test": []}
    for user in range(USERS):
        cycle = np.arange(user % GROUPS, ITEMS, GROUPS)
        own = np.roll(cycle, rng.integers(len(cycle)))
        parts = ["train"] * (len(own) - 2) + ["valid", "test"]
        for place, (item, part) in enumerate(zip(own, parts, strict=True)):
            rows[part].append((user, item, place, (user // GROUPS + place) % 2))
    splits = {name: Interactions(*np.array(events).T) for name, events in rows.items()}
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
        behaviors=("view", "purchase"),
        clock="order",
        **splits,
    )


@pytest.fixture
def make_planted() -> Callable[..., MultimodalDataset]:
    return planted


@pytest.fixture
def world() -> MultimodalDataset:
    return planted()
