"""Claims about histories: strictly past, the last L, padded on the left, and dealt as they will be asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit import repro
from nbkit.data.dataset import Interactions, TrainingView
from nbkit.data.sampling import SequenceSampler, TripleSampler
from nbkit.data.sequences import NOW, Histories, Past, Timeline, alike, joined, stream_rows
from nbkit.errors import UserError

USERS, ITEMS = 4, 6
rows = st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(-3, 12), st.integers(0, 2))
events = st.lists(rows, max_size=40)


def interactions(rows, **columns):
    user, item, time, behavior = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Interactions(user, item, timestamp=time, behavior=behavior, **columns)


def view_of(train, valid=(), behaviors=("view", "cart", "buy"), **columns):
    return TrainingView(
        name="hand",
        user_ids=np.arange(USERS),
        item_ids=np.arange(ITEMS),
        train=interactions(train, **columns),
        valid=interactions(valid),
        behaviors=behaviors,
        clock="unix",
    )


def slow(rows, user, moment, length, without=None):
    """The same history by sorting and slicing lists."""
    own = sorted((t, n, i, b) for n, (u, i, t, b) in enumerate(rows) if u == user and t < moment and i != without)
    return [(i, b) for _, _, i, b in own][-length:]


def read(stream, row):
    mask = stream.mask[row]
    return list(zip(stream.items[row][mask].tolist(), stream.behaviors[row][mask].tolist(), strict=True))


def test_the_last_events_before_the_moment_the_oldest_first_padded_on_the_left():
    line = Timeline(interactions([(0, 3, 30, 0), (0, 1, 10, 1), (1, 5, 5, 0), (0, 2, 20, 2)]), USERS)
    stream = line.before(torch.tensor([0, 0, 0, 1, 3]), torch.tensor([31, 30, 10, 99, 99]), 3)
    assert stream.items.tolist() == [[1, 2, 3], [0, 1, 2], [0, 0, 0], [0, 0, 5], [0, 0, 0]]
    assert stream.behaviors.tolist() == [[1, 2, 0], [0, 1, 2], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert stream.mask.int().tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_events_of_equal_time_stand_in_the_order_of_their_rows():
    line = Timeline(interactions([(0, 4, 7, 0), (0, 2, 7, 0), (0, 3, 7, 0)]), USERS)
    assert line.before(torch.tensor([0]), torch.tensor([8]), 3).items.tolist() == [[4, 2, 3]]


@given(
    rows=events,
    asked=st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(-5, 14), st.integers(0, ITEMS - 1)), min_size=1),
    length=st.integers(1, 5),
    leave_out=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_histories_equal_those_of_sorted_lists(rows, asked, length, leave_out):
    users, moments, items = torch.tensor(asked).unbind(1)
    stream = Timeline(interactions(rows), USERS).before(users, moments, length, without=items if leave_out else None)
    longest = max(len(slow(rows, u, t, length, i if leave_out else None)) for u, t, i in asked)
    assert stream.items.shape == stream.behaviors.shape == stream.mask.shape == (len(asked), max(1, longest))
    assert (stream.mask.int().diff(dim=1) >= 0).all()  # padding on the left alone
    assert not stream.items[~stream.mask].any()
    for row, (user, moment, item) in enumerate(asked):
        assert read(stream, row) == slow(rows, user, moment, length, item if leave_out else None)


@given(rows=events, size=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_groups_of_like_length_hold_every_row_once_with_no_column_of_padding_alone(rows, size):
    users, moments = torch.arange(USERS).repeat(2), torch.arange(2 * USERS)
    data = view_of(rows)
    histories = Histories(data, data.train, streams=("all", "deep"), deep="buy", length=3)
    history = histories.before(users, moments)
    groups = alike(history, size)
    events = torch.stack([stream.mask.sum(1) for stream in history.values()]).sum(0)
    order = torch.cat([row for row, _ in groups])
    assert order.sort().values.tolist() == list(range(2 * USERS))
    assert (events[order].diff() >= 0).all()
    for row, part in groups:
        assert len(row) <= size
        for name, stream in part.items():
            assert stream.mask.shape[1] == max(1, int(stream.mask.sum(1).max()))
            assert [read(stream, n) for n in range(len(row))] == [read(history[name], r) for r in row.tolist()]


def test_histories_of_what_may_be_seen_are_prepared_once():
    data = view_of(TRAIN)
    past = Past(data, data.train)
    asked = ("all", "deep"), "buy", 3, torch.device("cpu")
    first = past.histories(*asked)
    assert past.histories(*asked) is first
    other = past.histories(("deep",), "cart", 3, torch.device("cpu"))
    assert read(other.before(torch.tensor([1]), torch.tensor([9]))["deep"], 0) == [(3, 1), (4, 1)]
    assert read(first.before(torch.tensor([1]), torch.tensor([9]))["deep"], 0) == [(3, 2)]


@given(rows=events, later=events, moment=st.integers(-3, 13), user=st.integers(0, USERS - 1))
@settings(max_examples=100, deadline=None)
def test_what_happens_at_or_after_the_moment_is_never_in_a_history(rows, later, moment, user):
    past = [r for r in rows if r[0] != user or r[2] < moment]
    future = [(u, i, t, b) if u != user else (u, i, max(t, moment), b) for u, i, t, b in later]
    own_future = [r for r in future if r[0] == user]
    asked = torch.tensor([user]), torch.tensor([moment]), 4
    one, other = (Timeline(interactions(r), USERS).before(*asked) for r in (past, own_future + past))
    assert torch.equal(one.items, other.items)
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.behaviors, other.behaviors)


TRAIN = [(0, 0, 1, 0), (0, 1, 2, 0), (0, 1, 3, 2), (1, 2, 4, 0), (1, 3, 5, 1), (1, 3, 6, 2), (1, 4, 7, 1)]


@pytest.mark.parametrize(
    ("named", "deep", "shallow"),
    [
        ("buy", [2, 5], [0, 1, 3, 4, 6]),
        ("cart", [4, 6], [0, 1, 2, 3, 5]),
        ("rarest", [2, 5], [0, 1, 3, 4, 6]),  # cart and buy are equally rare: the last named
    ],
)
def test_one_behaviour_is_deep_and_the_others_are_shallow(named, deep, shallow):
    data = view_of(TRAIN)
    streams = stream_rows(data, data.train, named)
    assert np.flatnonzero(streams["deep"]).tolist() == deep
    assert np.flatnonzero(streams["shallow"]).tolist() == shallow
    assert streams["all"].all()


def test_of_one_behaviour_every_event_is_shallow_and_deep_unless_good_ratings_stand_for_depth():
    one = [(u, i, t, 0) for u, i, t, _ in TRAIN]
    data = view_of(one, behaviors=("review",), rating=np.array([5, 4, 3.5, 1, 4.5, 2, 3]))
    assert all(stream_rows(data, data.train, "rarest")[name].all() for name in ("shallow", "deep"))
    rated = stream_rows(data, data.train, "rated")
    assert np.flatnonzero(rated["deep"]).tolist() == [0, 1, 4]
    assert rated["shallow"].all()


def test_a_wrong_behaviour_and_missing_times_or_ratings_are_one_line():
    data = view_of(TRAIN)
    with pytest.raises(UserError, match="deep = 'bye'; did you mean 'buy'"):
        stream_rows(data, data.train, "bye")
    with pytest.raises(UserError, match="deep = 'rated': data set 'hand' has no ratings"):
        stream_rows(data, data.train, "rated")
    with pytest.raises(UserError, match="'hand' has no times; expected a column 'timestamp'"):
        Histories(data, Interactions([0], [1]))


def test_each_target_event_is_dealt_once_an_epoch_with_what_was_before_it_and_not_the_item_itself():
    data = view_of(TRAIN)
    histories = Histories(data, data.train, streams=("all", "deep"), deep="buy", length=3)
    triples = TripleSampler(torch.from_numpy(data.train.pairs()), USERS, ITEMS)
    sampler = SequenceSampler(data.train.take(np.array([2, 5])), histories, triples)
    assert (sampler.steps(1), sampler.steps(2)) == (2, 1)
    seen = {}
    for batch in sampler.epoch(1, repro.generator(0, "training")):
        key = batch.users.item(), batch.positives.item()
        seen[key] = read(batch.history["all"], 0), read(batch.history["deep"], 0)
        assert batch.negatives.item() not in {i for u, i, _, _ in TRAIN if u == key[0]}
    assert seen == {(0, 1): ([(0, 0)], []), (1, 3): ([(2, 0)], [])}  # view and cart of the item bought are left out


def test_without_target_events_there_is_nothing_to_train_on():
    data = view_of(TRAIN)
    triples = TripleSampler(torch.from_numpy(data.train.pairs()), USERS, ITEMS)
    with pytest.raises(UserError, match="no training event to predict"):
        SequenceSampler(data.train.take(np.arange(0)), Histories(data, data.train), triples)


def test_the_moment_of_a_user_is_that_of_the_earliest_held_out_pair_at_its_deepest_event():
    held = [
        (0, 5, 20, 0), (0, 5, 25, 2), (0, 5, 40, 0),  # seen, bought, seen again: the purchase counts
        (1, 5, 50, 0), (1, 0, 31, 0), (1, 0, 33, 0),  # two pairs, the earlier one last seen at 33
        (2, 1, 9, 1),
    ]  # fmt: skip
    data = view_of(TRAIN, held)
    assert Past(data, data.train, data.valid).moments.tolist() == [25, 33, 9, NOW]
    assert Past(data, data.train).moments.tolist() == [NOW] * USERS


@given(train=events, valid=events)
def test_joining_keeps_every_event_and_drops_columns_that_a_part_lacks(train, valid):
    parts = interactions(train, rating=np.ones(len(train))), interactions(valid)
    whole = joined(*parts)
    assert whole.rating is None
    assert list(whole.frame().itertuples(index=False, name=None)) == [tuple(r) for r in train + valid]
