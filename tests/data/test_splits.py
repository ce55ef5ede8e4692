"""Claims about cutting interactions: sizes, order in time, k-cores, pairs that stay together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.data import splits
from nbkit.data.dataset import Interactions
from nbkit.errors import UserError

users = st.lists(st.integers(0, 6), max_size=80).map(lambda u: np.array(u, dtype=np.int64))
events = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9), st.integers(0, 2)), max_size=60)


def interactions_of(rows):
    columns = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Interactions(columns[0], columns[1], timestamp=columns[2], behavior=columns[3])


def mmrec_sizes(n):
    """Train, valid and test sizes of a user with n pairs, written out from the protocol's words."""
    if n <= 2:
        return (1, 0, n - 1)
    if n < 10:
        return (n - 2, 1, 1)
    held = int(np.floor(0.2 * n + 1e-9))
    valid = int(np.floor(0.5 * held))
    return (n - held, valid, held - valid)


@given(users, st.integers(0, 99))
def test_random_split_has_the_protocols_sizes_for_every_user(user, seed):
    codes = splits.random_per_user(user, np.random.default_rng(seed))
    assert codes.dtype == np.int8
    for u in np.unique(user):
        mine = codes[user == u]
        assert tuple(np.bincount(mine, minlength=3)) == mmrec_sizes(len(mine))


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 14, 15, 19, 20, 25, 35, 99, 100, 1000])
def test_random_split_sizes_at_the_edges(n):
    codes = splits.random_per_user(np.zeros(n, dtype=int), np.random.default_rng(0))
    assert tuple(np.bincount(codes, minlength=3)) == mmrec_sizes(n)


def test_random_split_holds_out_every_place_equally_often():
    generator, n, draws = np.random.default_rng(0), 12, 4000
    held = np.zeros(n)
    for _ in range(draws):
        held += splits.random_per_user(np.zeros(n, dtype=int), generator) == splits.TEST
    expected = draws / n  # one test pair of 12
    assert np.abs(held - expected).max() < 5 * np.sqrt(expected)


def test_random_split_depends_on_the_generator_alone():
    user = np.repeat(np.arange(50), 8)
    first, again, other = (splits.random_per_user(user, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


@given(events)
def test_leave_one_out_keeps_the_last_for_test_and_the_one_before_for_validation(rows):
    data = interactions_of(rows)
    codes = splits.leave_one_out(data.user, data.timestamp)
    for u in np.unique(data.user):
        mine = np.flatnonzero(data.user == u)
        in_time = mine[np.argsort(data.timestamp[mine], kind="stable")]
        expected = {1: [0], 2: [0, 2]}.get(len(mine), [0] * (len(mine) - 2) + [1, 2])
        assert codes[in_time].tolist() == expected


@given(st.lists(st.integers(0, 20), max_size=60).map(np.array))
def test_temporal_split_never_trains_on_what_comes_after_validation_or_test(timestamp):
    codes = splits.global_temporal(timestamp, 0.2, 0.1)
    assert (codes == splits.TEST).sum() == round(0.1 * len(timestamp))
    assert (codes == splits.VALID).sum() == round(0.2 * len(timestamp))
    parts = [timestamp[codes == code] for code in (splits.TRAIN, splits.VALID, splits.TEST)]
    for earlier, later in ((0, 1), (1, 2), (0, 2)):
        if len(parts[earlier]) and len(parts[later]):
            assert parts[earlier].max() <= parts[later].min()


def test_temporal_split_refuses_shares_that_leave_nothing_to_train_on():
    with pytest.raises(UserError, match="expected shares"):
        splits.global_temporal(np.arange(5), 0.5, 0.5)


def core_by_removal(pairs, k_user, k_item):
    pairs = set(pairs)
    while True:
        gone = {
            (u, i) for u, i in pairs if sum(v == u for v, _ in pairs) < k_user or sum(j == i for _, j in pairs) < k_item
        }
        if not gone:
            return pairs
        pairs -= gone


@given(events, st.integers(1, 4), st.integers(1, 4))
def test_k_core_equals_removing_one_by_one(rows, k_user, k_item):
    data = interactions_of(rows)
    keep = splits.k_core(data.user, data.item, k_user, k_item)
    kept = set(zip(data.user[keep].tolist(), data.item[keep].tolist(), strict=True))
    assert kept == core_by_removal({(u, i) for u, i, _, _ in rows}, k_user, k_item)
    assert keep.sum() == sum((u, i) in kept for u, i, _, _ in rows)  # every event of a kept pair stays


def test_k_core_counts_repeated_events_once():
    assert not splits.k_core(np.zeros(5, dtype=int), np.zeros(5, dtype=int), 2, 1).any()


@given(events, st.sampled_from(["random", "leave-one-out", "temporal"]), st.sampled_from([None, 0, 2]))
def test_split_keeps_every_event_once_in_order_and_the_events_of_a_pair_together(rows, how, target):
    data = interactions_of(rows)
    parts = splits.split_interactions(
        data, how, np.random.default_rng(3), target=None if target is None else data.behavior == target
    )
    seen = [{tuple(p) for p in part.pairs().tolist()} for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))
    back = sorted(tuple(r) for part in parts for r in part.frame().itertuples(index=False))
    assert back == sorted(map(tuple, data.frame().itertuples(index=False)))
    for part in parts:
        rows_of = [tuple(r) for r in part.frame().itertuples(index=False)]
        everything = iter([tuple(r) for r in data.frame().itertuples(index=False)])
        assert all(r in everything for r in rows_of)  # a subsequence: the order is kept


@given(events)
def test_split_by_time_has_no_training_event_after_the_test_pair_was_last_seen(rows):
    data = interactions_of(rows)
    train, _, test = splits.split_interactions(data, "leave-one-out", np.random.default_rng(0))
    for u, i in test.pairs():
        seen = test.timestamp[(test.user == u) & (test.item == i)].max()
        assert (train.timestamp[train.user == u] <= seen).all()


@given(events)
def test_split_by_target_holds_out_only_pairs_with_that_behaviour(rows):
    data = interactions_of(rows)
    _, valid, test = splits.split_interactions(
        data, "leave-one-out", np.random.default_rng(0), target=data.behavior == 1
    )
    bought = {(u, i) for u, i, _, b in rows if b == 1}
    assert {tuple(p) for part in (valid, test) for p in part.pairs().tolist()} <= bought


def test_equal_times_are_settled_by_the_order_of_the_rows():
    data = Interactions(user=[0, 0, 0, 0], item=[9, 3, 5, 1], timestamp=[7, 7, 7, 7])
    train, valid, test = splits.split_interactions(data, "leave-one-out", np.random.default_rng(0))
    assert (train.item.tolist(), valid.item.tolist(), test.item.tolist()) == ([9, 3], [5], [1])


def test_split_by_time_needs_times_and_a_known_name():
    data = Interactions(user=[0, 0], item=[0, 1])
    with pytest.raises(UserError, match="needs timestamps"):
        splits.split_interactions(data, "temporal", np.random.default_rng(0))
    with pytest.raises(UserError, match="did you mean 'random'"):
        splits.split_interactions(data, "randon", np.random.default_rng(0))
