"""Films of denoising: what each model's frames are, and purity against planted labels and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nbkit import repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.models.base import build_model
from nbkit.studies.films import Film, film, item_labels, purity
from tests.conftest import GROUPS, ITEMS, planted


@pytest.fixture(scope="module")
def world() -> MultimodalDataset:
    return planted()


@pytest.mark.parametrize(("name", "points"), [("jbm_diff", ITEMS), ("diffcl", ITEMS), ("m3bsr", None)])
def test_every_model_that_diffuses_features_has_a_film(world: MultimodalDataset, name: str, points: int | None) -> None:
    model = build_model(name, world.sealed(), {}, repro.generator(0, "weights")).eval()
    shown = film(model, world.sealed(), "text", seed=3)
    assert shown.steps[-1] == 0
    assert list(shown.steps) == sorted(shown.steps, reverse=True)
    number = len(shown.items)
    assert points is None or number == points
    assert shown.states.shape == shown.predicted.shape == (shown.frames, number, shown.clean.shape[1])
    np.testing.assert_array_equal(shown.states[-1], shown.predicted[-1])
    assert shown.snr[-1] == np.inf
    assert (np.diff(shown.snr[:-1]) > 0).all(), "every frame has less noise than the one before"
    assert set(shown.items) <= set(range(ITEMS))
    again = film(model, world.sealed(), "text", seed=3)
    np.testing.assert_array_equal(shown.states, again.states)
    assert not np.array_equal(shown.states[0], film(model, world.sealed(), "text", seed=4).states[0])
    # the first frame is the clean rows under the process's noise: signal · x_0 + sigma · ε
    correlation = np.corrcoef(shown.states[0].ravel(), shown.clean.ravel())[0, 1]
    signal = np.sqrt(shown.snr[0] / (1 + shown.snr[0]))
    assert correlation == pytest.approx(signal, abs=0.12)


def test_the_points_of_a_sequential_model_are_the_events_of_its_users(world: MultimodalDataset) -> None:
    model = build_model("m3bsr", world.sealed(), {"length": 50}, repro.generator(0, "weights")).eval()
    shown = film(model, world.sealed(), "image")
    behavior = world.train.behavior
    assert behavior is not None
    shallow = np.bincount(world.train.item, minlength=ITEMS)
    assert (np.bincount(shown.items, minlength=ITEMS) <= shallow).all()


def test_who_has_no_film_is_told(world: MultimodalDataset) -> None:
    model = build_model("bpr", world.sealed(), {}, repro.generator(0, "weights"))
    with pytest.raises(UserError, match="model bpr diffuses no features of items"):
        film(model, world.sealed(), "text")
    model = build_model("diffcl", world.sealed(), {}, repro.generator(0, "weights"))
    with pytest.raises(UserError, match="did you mean 'text'"):
        film(model, world.sealed(), "texts")


def made(states: np.ndarray, items: np.ndarray) -> Film:
    steps = tuple(range(len(states) - 1, -1, -1))
    return Film("made", "text", steps, states, states, states[-1], items, np.arange(len(states), dtype=float))


def test_purity_rises_from_chance_to_one_where_structure_comes_out_of_noise() -> None:
    generator = np.random.default_rng(0)
    label = np.arange(200) % GROUPS
    structure, noise = np.eye(GROUPS)[label], generator.standard_normal((200, GROUPS))
    shown = made(np.stack([noise, structure + 0.01 * noise]), np.arange(200))
    table = purity(shown, {"group": label.astype(str)}, k=5).query("table == 'x_t'")
    assert table["purity"].iloc[0] == pytest.approx(1 / GROUPS, abs=0.06)
    assert table["purity"].iloc[-1] == 1.0
    assert table["chance"].iloc[0] == pytest.approx(49 / 199)


def test_purity_by_hand_and_not_from_the_same_item() -> None:
    x = np.array([[[1.0, 0.0], [1.0, 0.01], [0.9, 0.1], [0.0, 1.0]]])
    labels = {"kind": np.array(["a", "b", "a"])}
    shown = made(x, np.array([0, 0, 1, 2]))  # points 0 and 1 are one item
    table = purity(shown, labels, k=1).query("table == 'x_t'")
    # nearest other item: 0 -> 2 (a, b: no), 1 -> 2 (no), 2 -> 1 (no), 3 -> 2 (a, b: no)... labels a a b a
    assert table["purity"].tolist() == [0.0]
    with pytest.raises(UserError, match="k = 4; expected 1 … 3, for 4 points"):
        purity(shown, labels, k=4)


def test_labels_are_what_is_known_of_items(world: MultimodalDataset) -> None:
    labels = item_labels(world)
    assert "popularity" in labels
    assert all(len(of) == ITEMS for of in labels.values())
