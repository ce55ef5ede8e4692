"""The model arena without a page: duels by hand, profiles against planted truth, turned pairs, selections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError
from nbkit.widgets.arena import ModelArena, duel, profiles, who
from tests.conftest import USERS, planted


@pytest.fixture(scope="module")
def world() -> MultimodalDataset:
    data = planted()
    noisy = data.train.pairs()[data.train.user < 10][::2]  # half of the clicks of the first ten users
    table = pd.DataFrame({"category": [f"kind {n % 4}" for n in range(data.num_items)]})
    return replace(data, truth=Truth(noisy_pairs=noisy), item_table=table)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """b is better for the first ten users, a by more for the next twenty; equal for the rest. c is noise."""
    generator = np.random.default_rng(0)
    rows = []
    for seed in range(3):
        for user in range(USERS):
            base = 0.5 + 0.01 * seed
            better = {
                "a": 0.4 if 10 <= user < 30 else 0.0,
                "b": 0.2 if user < 10 else 0.0,
                "c": generator.random() - 0.5,
            }
            rows += [(model, seed, user, base + more) for model, more in better.items()]
    return pd.DataFrame(rows, columns=["model", "seed", "user", "value"])


@pytest.fixture
def arena(scores: pd.DataFrame, world: MultimodalDataset) -> ModelArena:
    made = ModelArena(scores, world, metric="recall@20")
    assert made.view is not None
    assert made.error == ""
    return made


def test_a_duel_counts_every_user_once_seeds_averaged(scores: pd.DataFrame) -> None:
    table = duel(scores, "a", "b")
    assert table["outcome"].value_counts().to_dict() == {"first better": 20, "second better": 10, "equal": 10}
    np.testing.assert_allclose(table["difference"][:30], [-0.2] * 10 + [0.4] * 20)
    np.testing.assert_allclose(table["first"][35], 0.51)


@pytest.mark.parametrize(
    ("pair", "said"), [(("a", "d"), "no scores of 'd'"), (("a", "a"), "a against itself; expected two models")]
)
def test_impossible_duels_are_refused(scores: pd.DataFrame, pair: tuple[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        duel(scores, *pair)


def test_profiles_know_planted_accidents(world: MultimodalDataset) -> None:
    table = profiles(world)
    accidental = table["share of accidental clicks"]
    np.testing.assert_allclose(accidental[:10].mean(), 0.5, atol=0.1)
    assert (accidental[10:] == 0).all()
    assert table["training clicks"].sum() == len(world.train)
    assert (table["share of clicks on the favourite category"] == 1).all(), "a planted user stays in one group"


def test_who_finds_what_the_selected_have_in_common(world: MultimodalDataset) -> None:
    table = who(profiles(world), range(10), range(USERS)).set_index("property")
    row = table.loc["share of accidental clicks"]
    assert row["selected"] == pytest.approx(0.5, abs=0.1)
    assert row["others"] == 0
    assert row["p_holm"] < 0.001
    assert table.loc["share of clicks on the favourite category", "p_holm"] == 1, "the same for all"
    for selected in ((), range(USERS)):
        with pytest.raises(UserError, match="expected some and not all"):
            who(profiles(world), selected, range(USERS))


def test_turning_the_pair_turns_every_number(arena: ModelArena) -> None:
    one = arena.pair().iloc[0]
    arena.state.first, arena.state.second = "c", "a"  # by way of c against b
    arena.state.first, arena.state.second = "b", "a"
    two = arena.pair().iloc[0]
    assert two["difference"] == -one["difference"]
    assert (two["low"], two["high"]) == (-one["high"], -one["low"])
    assert (two["win"], two["loss"]) == (one["loss"], one["win"])
    assert {one["verdict"], two["verdict"]} in ({"better", "worse"}, {"no difference shown"})
    assert one["p_holm"] == two["p_holm"]


def test_losers_are_selected_marked_and_described(arena: ModelArena) -> None:
    arena.select("second better")
    assert arena.state.selected == tuple(range(10))
    marked = [list(trace.selectedpoints) for trace in arena._cloud.widget.data]
    assert [len(of) for of in marked] == [0, 0, 10]
    assert "share of accidental clicks" in arena._who.value
    arena.select("")
    assert "Nobody is selected" in arena._who.value
    assert all(trace.selectedpoints is None for trace in arena._cloud.widget.data)


def test_a_model_against_itself_is_said_and_the_picture_stays(arena: ModelArena) -> None:
    before = len(arena._cloud.widget.data)
    arena.state.second = "a"
    assert "a against itself" in arena.error
    assert len(arena._cloud.widget.data) == before
    arena.state.second = "c"
    assert arena.error == ""


def test_one_model_is_no_arena(scores: pd.DataFrame, world: MultimodalDataset) -> None:
    with pytest.raises(UserError, match="expected two models at least"):
        ModelArena(scores[scores["model"] == "a"], world)
