"""Groups of users and items: labels by hand, and groups that add up to the whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.evaluation.groups import (
    cold_items,
    degree_groups,
    grouped_means,
    popularity_groups,
    recall_by_item_group,
)

counts_of_many = st.lists(st.integers(0, 40), min_size=1, max_size=60).map(np.array)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- labels ---


def test_degree_edges_are_the_highest_counts_of_their_groups() -> None:
    labels = degree_groups(np.array([0, 5, 6, 10, 11, 12, 99]), edges=(5, 10, 11))
    assert list(labels) == ["≤5", "≤5", "6–10", "6–10", "11", ">11", ">11"]
    assert list(labels.categories) == ["≤5", "6–10", "11", ">11"]
    assert list(degree_groups(np.array([0, 1]), edges=(0,))) == ["0", ">0"]


def test_degree_quarters_of_distinct_counts_are_equally_large() -> None:
    labels = degree_groups(rng().permutation(40))
    assert pd.Series(labels).value_counts().tolist() == [10, 10, 10, 10]
    assert list(labels.categories) == ["≤9", "10–19", "20–29", ">29"]
    assert list(degree_groups(np.arange(10), quantiles=(0.5, 0.9)).categories) == ["≤4", "5–8", ">8"]


@given(counts_of_many, st.integers(1, 6))
@settings(deadline=None)
def test_equal_degrees_share_a_group_and_higher_ones_never_fall_lower(counts: np.ndarray, parts: int):
    codes = degree_groups(counts, quantiles=parts).codes
    assert (codes >= 0).all()
    assert len(set(codes)) == len(degree_groups(counts, quantiles=parts).categories) <= parts  # none is empty
    assert (np.diff(codes[np.argsort(counts, kind="stable")]) >= 0).all()
    for count in np.unique(counts):
        assert len(set(codes[counts == count])) == 1


def test_all_users_alike_are_one_group() -> None:
    assert set(degree_groups(np.full(9, 3))) == {"all"}


def test_head_mid_and_tail_by_hand() -> None:
    # of 100 interactions the head has 30; .3 have passed before the mid, .8 and more before the tail
    counts = np.array([1, 30, 25, 10, 25, 8, 1, 0])
    assert list(popularity_groups(counts)) == ["tail", "head", "mid", "tail", "mid", "tail", "tail", "tail"]
    # half of all interactions passes before the second of the 25s, but equally popular items stay together
    assert list(popularity_groups(counts, (0.5, 0.9)))[1:5] == ["head", "head", "mid", "head"]


@given(counts_of_many)
@settings(deadline=None)
def test_more_popular_items_are_never_nearer_the_tail(counts: np.ndarray) -> None:
    codes = popularity_groups(counts).codes
    assert (np.diff(codes[np.argsort(-counts, kind="stable")]) >= 0).all()
    assert (codes[counts == 0] == 2).all()
    if counts.any():
        assert (codes[counts == counts.max()] == 0).all()


def test_cold_items_have_no_training_interaction() -> None:
    assert cold_items(np.array([0, 3, 1])).tolist() == [True, False, False]
    assert cold_items(np.array([0, 3, 1]), at_most=1).tolist() == [True, False, True]


# --- means of groups ---


def scores(users: int = 60) -> pd.DataFrame:
    generator = rng(1)
    table = pd.DataFrame({"user": generator.permutation(users), "split": "test", "recall@20": generator.random(users)})
    table["ndcg@20"] = np.where(generator.random(users) < 0.2, np.nan, generator.random(users))
    return table


def test_means_of_groups_weighted_by_n_give_the_overall_mean() -> None:
    table = scores()
    groups = grouped_means(table, degree_groups(rng(2).integers(0, 30, 60)), rng(), resamples=200)
    for metric, part in groups.groupby("metric"):
        assert part["n"].sum() == table[metric].notna().sum()
        assert (part["mean"] * part["n"]).sum() / part["n"].sum() == pytest.approx(table[metric].mean(), rel=1e-12)
    assert ((groups["low"] < groups["mean"]) & (groups["mean"] < groups["high"])).all()


def test_labels_are_matched_by_user_not_by_row() -> None:
    table = scores()
    even = np.where(np.arange(60) % 2 == 0, "even", "odd")
    by_row_number = grouped_means(table, even, rng(), resamples=200).set_index(["group", "metric"])["mean"]
    for parity, name in enumerate(("even", "odd")):
        own = table[table["user"] % 2 == parity]
        assert by_row_number[name, "recall@20"] == pytest.approx(own["recall@20"].mean())
    named = table.assign(user="u" + table["user"].astype(str))
    labels = pd.Series(even[::-1], index=[f"u{n}" for n in range(59, -1, -1)])
    by_id = grouped_means(named, labels, rng(), resamples=200).set_index(["group", "metric"])["mean"]
    pd.testing.assert_series_equal(by_id, by_row_number)


def test_groups_come_in_their_own_order_and_empty_ones_not_at_all() -> None:
    labels = degree_groups(np.arange(60), edges=(2, 10, 100))
    groups = grouped_means(scores()[["user", "recall@20"]], labels, rng(), resamples=200)
    assert groups["group"].tolist() == ["≤2", "3–10", "11–100"]


# --- recall by item group ---


def relevant_positions(seed: int = 3, users: int = 30, items: int = 25) -> pd.DataFrame:
    generator = rng(seed)
    wanted = np.argwhere(generator.random((users, items)) < 0.15)
    rank = np.where(generator.random(len(wanted)) < 0.4, -1, generator.integers(0, 50, len(wanted)))
    return pd.DataFrame({"user": wanted[:, 0], "item": wanted[:, 1], "rank": rank})


@given(st.integers(0, 50), st.integers(1, 60))
@settings(deadline=None, max_examples=25)
def test_item_groups_add_up_to_the_overall_recall(seed: int, k: int) -> None:
    positions = relevant_positions(seed)
    groups = recall_by_item_group(positions, popularity_groups(rng(seed).integers(0, 30, 25)), k)
    found = (positions["rank"] >= 0) & (positions["rank"] < k)
    overall = found.groupby(positions["user"]).mean().mean()
    assert groups["contribution"].sum() == pytest.approx(overall, abs=1e-12)
    assert (groups["pair_recall"] * groups["pairs"]).sum() == pytest.approx(found.sum())
    assert groups["pairs"].sum() == len(positions)


def test_recall_of_an_item_group_by_hand() -> None:
    positions = pd.DataFrame([(0, 0, 0), (0, 1, -1), (0, 2, 7), (1, 0, 3), (2, 1, 2)], columns=["user", "item", "rank"])
    table = recall_by_item_group(positions, np.array(["head", "tail", "tail"]), 5, rng()).set_index("group")
    # tail: user 0 has items 1 (not found) and 2 (place 8, beyond 5), user 2 has item 1 (place 3)
    assert table.loc["tail", ["recall", "users", "pairs", "pair_recall"]].tolist() == [
        0.5,
        2,
        3,
        pytest.approx(1 / 3),
    ]
    assert table.loc["head", ["recall", "users", "pairs", "pair_recall"]].tolist() == [1, 2, 2, 1]
    assert table["contribution"].to_dict() == pytest.approx({"head": (1 / 3 + 1) / 3, "tail": 1 / 3})
    assert table.loc["tail", "low"] <= 0.5 <= table.loc["tail", "high"]


def test_a_pair_found_under_one_seed_of_two_counts_half() -> None:
    one = pd.DataFrame([(0, 0, 0), (0, 1, -1), (1, 0, 9)], columns=["user", "item", "rank"])
    two = one.assign(rank=[0, 2, 9])
    both = pd.concat([one.assign(seed=0), two.assign(seed=1)])
    table = recall_by_item_group(both, np.array(["head", "tail"]), 5).set_index("group")
    assert table.loc["tail", ["recall", "users", "pairs"]].tolist() == [0.5, 1, 1]
    assert table.loc["head", ["recall", "users", "pairs"]].tolist() == [0.5, 2, 2]
    assert table["contribution"].to_dict() == pytest.approx({"head": 1 / 4, "tail": 1 / 8})


# --- bad input ---


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: degree_groups(np.array([1, -1])), "expected one whole number of 0 or more for every user"),
        (lambda: degree_groups(np.array([0.5])), "training counts are float64 (1,)"),
        (
            lambda: degree_groups(np.arange(5), edges=(3, 3)),
            "edges of degree groups are (3, 3), expected rising",
        ),
        (lambda: degree_groups(np.arange(5), quantiles=(0.5, 1.5)), "quantiles are (0.5, 1.5)"),
        (lambda: popularity_groups(np.arange(5), (0.8, 0.2)), "popularity shares are (0.8, 0.2)"),
        (lambda: grouped_means(scores().drop(columns="user"), np.zeros(60), rng()), "lack column 'user'"),
        (lambda: grouped_means(scores()[["user"]], np.zeros(60), rng()), "hold no metric"),
        (lambda: grouped_means(scores(), np.zeros(59), rng()), "user 59 has no group label"),
        (lambda: grouped_means(pd.concat([scores()] * 2), np.zeros(60), rng()), "twice"),
        (lambda: grouped_means(scores(), pd.Series([0, 0], [7, 7]), rng()), "group labels name user 7 twice"),
        (lambda: recall_by_item_group(relevant_positions(), np.zeros(25), 0), "cut-off K is 0"),
        (lambda: recall_by_item_group(relevant_positions(), np.zeros(9), 5), "has no group label"),
        (lambda: recall_by_item_group(pd.concat([relevant_positions()] * 2), np.zeros(25), 5), "twice"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, line: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    assert line in str(error.value)
    assert "\n" not in str(error.value)
