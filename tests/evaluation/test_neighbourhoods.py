"""Claims about neighbourhoods: closed forms, scikit-learn as the oracle, planted structure, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.manifold import trustworthiness as oracle

from nbkit.errors import UserError
from nbkit.evaluation import neighbourhoods
from nbkit.evaluation.neighbourhoods import continuity, displacement, neighbour_overlap, trustworthiness


def rng(seed=0):
    return np.random.default_rng(seed)


def turned(table, seed=1):
    """The same table on other axes."""
    axes = np.linalg.qr(rng(seed).normal(size=(table.shape[1],) * 2))[0]
    return table @ axes


def test_a_table_keeps_all_its_neighbours_when_it_is_turned_or_its_rows_are_stretched():
    table = rng().normal(size=(60, 5))
    stretched = turned(table) * rng(2).uniform(0.5, 2, size=(60, 1))
    assert neighbour_overlap(table, stretched, 7).tolist() == [1.0] * 60


@pytest.mark.parametrize("k", [5, 40])
def test_unrelated_tables_share_neighbours_as_often_as_chance_does(k):
    a, b = rng().normal(size=(2, 500, 8))
    assert neighbour_overlap(a, b, k).mean() == pytest.approx(k / 499, abs=0.01)


def test_the_overlap_of_four_items_counted_by_hand():
    at = np.deg2rad([0, 10, 90, 100])  # two pairs
    a = np.stack([np.cos(at), np.sin(at)], axis=1)
    b = a[[0, 2, 1, 3]]  # items 1 and 2 change places: everybody has another nearest, who was second for 0 and 3
    assert neighbour_overlap(a, b, 1).tolist() == [0, 0, 0, 0]
    assert neighbour_overlap(a, b, 2).tolist() == [1, 0.5, 0.5, 1]


@given(st.integers(0, 1000), st.integers(1, 12), st.sampled_from([3, 512]))
def test_trustworthiness_and_continuity_are_scikit_learns(seed, k, chunk):
    generator = rng(seed)
    table, places = generator.normal(size=(40, 6)), generator.normal(size=(40, 2))
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbourhoods, "_CHUNK", chunk)
        assert trustworthiness(table, places, k).mean() == pytest.approx(oracle(unit, places, n_neighbors=k))
        assert continuity(table, places, k).mean() == pytest.approx(oracle(places, unit, n_neighbors=k))


def test_a_picture_of_a_table_on_a_circle_is_to_be_trusted_item_by_item():
    circle = np.stack([np.cos(at := np.linspace(0, 6, 50)), np.sin(at)], axis=1)
    assert trustworthiness(turned(circle), 3 * circle + 100, 6).tolist() == [1.0] * 50
    misplaced = circle.copy()
    misplaced[0] = circle[25] + 0.001
    values = trustworthiness(circle, misplaced, 6)
    assert values.argmin() == 0
    assert values[[10, 40]].tolist() == [1, 1], "who is far from the misplaced item is shown as before"


def test_a_torn_picture_loses_continuity_and_a_crushed_one_trust():
    line = np.stack([np.cos(at := np.linspace(0, 1.5, 80)), np.sin(at)], axis=1)
    torn = np.stack([np.arange(80) % 2 * 1000 + np.arange(80), np.zeros(80)], axis=1)
    assert continuity(line, torn, 8).mean() < trustworthiness(line, torn, 8).mean()
    sphere = rng(3).normal(size=(300, 3))
    crushed = sphere[:, :2] / np.linalg.norm(sphere, axis=1, keepdims=True)  # both hemispheres on one disc
    assert trustworthiness(sphere, crushed, 8).mean() < continuity(sphere, crushed, 8).mean()


def test_two_tables_of_random_items_are_displaced_by_one():
    a, b = rng().normal(size=(2, 4000, 16)) + 0.7  # a common direction is no difference between items
    assert np.sqrt((displacement(a, b) ** 2).mean()) == pytest.approx(1, abs=0.02)
    assert displacement(a, 5 * a) == pytest.approx(0, abs=1e-12)


def test_only_the_items_that_moved_are_displaced():
    before = rng().normal(size=(30, 4))
    after = before.copy()
    after[7] *= -1
    moved = displacement(before, after)
    assert np.flatnonzero(moved > 1e-12).tolist() == [7]
    spread = before / np.linalg.norm(before, axis=1, keepdims=True)
    pairs = ((spread[:, None] - spread[None]) ** 2).sum(axis=2)
    assert moved[7] == pytest.approx(2 / np.sqrt(pairs.mean()))  # from a point of the sphere to its opposite


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: neighbour_overlap(t, t[1:], 3), r"shapes \(9, 4\) and \(8, 4\); expected one row an item"),
        (lambda t: neighbour_overlap(t, t, 9), "k = 9; expected 1 … 8 neighbours for 9 items"),
        (lambda t: trustworthiness(t, t[:, :2], 5), "k = 5; expected 1 … 4 neighbours for 9 items"),
        (lambda t: continuity(t, t[:, :2], 0), "k = 0; expected 1 … 4"),
        (lambda t: displacement(t, t[:, :2]), "expected two tables of one space"),
        (lambda t: displacement(np.ones((9, 4)), t), "all rows point the same way"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(UserError, match=message):
        call(rng().normal(size=(9, 4)))
