"""Claims about injected noise: exact, known, pure, never cumulative, and never in validation or test."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.data import corrupt as noise
from nbkit.data.corrupt import corrupt, merge_truth, operators
from nbkit.data.corrupt.feedback import _draw
from nbkit.data.dataset import Interactions, MultimodalDataset, Truth
from nbkit.errors import UserError

FEEDBACK = [o.name for o in operators().values() if o.kind == "feedback"]
ADDING = ["add_random_edges", "add_popular_edges"]
CONTENT = [o.name for o in operators().values() if o.kind == "content"]
BY_ITEM = ["row_shuffle", "missing_modality"]


def rate_of(name, share):
    return share if operators()[name].unit == "share" else 20 * (1 - share)


def pair_set(pairs):
    return {tuple(p) for p in np.asarray(pairs).tolist()}


@pytest.fixture
def shop(world):
    """The planted world with repeated events, times, behaviours, ratings, neighbours and known noise."""
    rng = np.random.default_rng(5)
    rows = np.concatenate([np.arange(len(world.train)), rng.integers(len(world.train), size=30)])
    rng.shuffle(rows)
    behavior = rng.integers(0, 2, len(rows))
    train = Interactions(
        world.train.user[rows],
        world.train.item[rows],
        timestamp=1000 * world.train.user[rows] + np.arange(len(rows)) % 1000,
        behavior=behavior,
        rating=behavior * 10 + world.train.user[rows],
    )
    return world.replace(
        train=train,
        behaviors=("view", "buy"),
        clock="unix",
        neighbours={m: np.tile(np.arange(3), (world.num_items, 1)) for m in world.modalities},
        truth=Truth(
            noisy_pairs=train.pairs()[:5],
            missing_pairs=np.array([[0, 1], [1, 2]]),
            noisy_rows={"text": np.arange(world.num_items) == 7},
            clean_features={"text": np.ones_like(world.features["text"])},
        ),
    )


def test_every_kind_of_noise_is_listed_once_with_its_unit():
    assert len(operators()) == 8
    assert {o.unit for o in operators().values()} == {"share", "dB"}
    assert all(name == operator.name and operator.help for name, operator in operators().items())


@pytest.mark.parametrize("name", operators())
def test_the_neutral_rate_changes_nothing(name, shop):
    same, own = corrupt(shop, name, operators()[name].neutral)
    assert same.fingerprint == shop.fingerprint
    assert not len(own.noisy_pairs) + len(own.missing_pairs) + len(own.noisy_rows)
    assert pair_set(same.truth.noisy_pairs) == pair_set(shop.truth.noisy_pairs)


@pytest.mark.parametrize("name", operators())
def test_noise_leaves_its_input_the_validation_and_the_test_alone(name, shop):
    before, arrays = shop.fingerprint, {m: t.copy() for m, t in shop.features.items()}
    changed, _ = corrupt(shop, name, rate_of(name, 0.3), seed=1)
    assert changed.fingerprint != before
    assert shop.replace().fingerprint == before  # hashed anew
    assert all((shop.features[m] == arrays[m]).all() for m in arrays)
    for split in ("valid", "test"):
        old, new = (d.valid if split == "valid" else d.test.open("rewrite") for d in (shop, changed))
        assert old.frame().equals(new.frame())


@pytest.mark.parametrize("name", operators())
def test_noise_is_drawn_from_its_generator_alone(name, shop):
    first, again, other = (corrupt(shop, name, rate_of(name, 0.3), seed)[0].fingerprint for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("name", FEEDBACK)
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.4])
def test_rates_of_pairs_are_exact_and_never_cumulative(name, rate, shop):
    pairs = pair_set(shop.train.pairs())
    for _ in range(2):  # a second time on the same data set: the first has left nothing behind
        changed, own = corrupt(shop, name, rate, seed=3)
        after = pair_set(changed.train.pairs())
        assert len(pairs ^ after) == round(rate * len(pairs))
        assert pair_set(own.noisy_pairs) == after - pairs
        assert pair_set(own.missing_pairs) == pairs - after


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("modalities", [("image",), ("image", "text"), ("audio", "image", "text")])
def test_the_truth_about_rows_is_what_differs(name, modalities, make_planted):
    world = make_planted(modalities)
    changed, own = corrupt(world, name, rate_of(name, 0.4), seed=2)
    for m in modalities:
        differs = (changed.features[m] != world.features[m]).any(axis=1)
        assert differs.tolist() == own.noisy_rows.get(m, np.zeros(world.num_items, dtype=bool)).tolist()
        if differs.any():
            assert (own.clean_features[m] == world.features[m]).all()
    assert own.noisy_rows


@pytest.mark.parametrize("name", BY_ITEM)
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.15, 1.0])
def test_rates_of_items_are_exact_and_never_cumulative(name, rate, world):
    for _ in range(2):
        _, own = corrupt(world, name, rate, seed=1)
        assert [int(rows.sum()) for rows in own.noisy_rows.values()] == 2 * [round(rate * world.num_items)]


def test_items_are_drawn_anew_for_each_modality(world):
    _, own = corrupt(world, "missing_modality", 0.5, seed=1)
    assert (own.noisy_rows["image"] != own.noisy_rows["text"]).any()


def test_missing_rows_are_zero_and_the_others_as_they_were(world):
    changed, own = corrupt(world, "missing_modality", 0.25, seed=0)
    for m, rows in own.noisy_rows.items():
        assert not changed.features[m][rows].any()
        assert (changed.features[m][~rows] == world.features[m][~rows]).all()


def test_shuffled_rows_are_clean_rows_of_other_items(world):
    changed, own = corrupt(world, "row_shuffle", 1.0, seed=0)
    for m, table in world.features.items():
        known = {row.tobytes(): k for k, row in enumerate(table)}
        source = np.array([known[row.tobytes()] for row in changed.features[m]])
        assert (source != np.arange(world.num_items)).all()
        assert own.noisy_rows[m].all()


def test_dropout_zeroes_the_stated_number_of_dimensions_in_every_row(world):
    changed, _ = corrupt(world, "dimension_dropout", 0.5, seed=0)
    for m, table in changed.features.items():
        gone = table == 0
        assert (gone.sum(axis=1) == round(0.5 * table.shape[1])).all()
        assert (gone != gone[0]).any()  # not the same dimensions for every item
        assert (table[~gone] == world.features[m][~gone]).all()


@pytest.mark.parametrize(("rate", "count"), [(0.0, 0), (1 / 32, 0), (2 / 32, 2), (0.25, 8), (5 / 32, 5), (1.0, 32)])
def test_a_swap_touches_each_item_in_one_modality_and_keeps_every_row(rate, count, world):
    changed, own = corrupt(world, "cross_modal_swap", rate, seed=4)
    touched = sum(rows.astype(int) for rows in own.noisy_rows.values()) if count else np.zeros(1)
    assert touched.sum() == count
    assert touched.max() <= 1
    for m, table in world.features.items():
        assert sorted(map(bytes, changed.features[m])) == sorted(map(bytes, table))


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 10.0, 30.0])
def test_white_noise_has_the_stated_signal_to_noise_ratio(decibels, world):
    rng = np.random.default_rng(0)
    table = rng.normal(2, 3, size=(world.num_items, 500)).astype(np.float32)
    table[:6] = 0  # items without the modality
    changed, own = corrupt(world.replace(features={"image": table}), "gaussian", decibels)
    noise_added = changed.features["image"].astype(np.float64) - table
    measured = 10 * np.log10(np.square(table, dtype=np.float64).sum() / np.square(noise_added).sum())
    # The noise power of n normal draws has a relative deviation of sqrt(2 / n): here 0.04 dB.
    assert measured == pytest.approx(decibels, abs=0.2)
    assert own.noisy_rows["image"].tolist() == [False] * 6 + [True] * 26


def test_noise_can_be_kept_to_one_modality(world):
    for name in CONTENT:
        changed, own = corrupt(world, name, rate_of(name, 0.5), modalities=("text",))
        assert set(own.noisy_rows) == {"text"}
        assert (changed.features["image"] == world.features["image"]).all()


def test_neighbours_computed_from_clean_features_go_with_the_features(shop):
    changed, _ = corrupt(shop, "row_shuffle", 0.2, modalities=("text",))
    assert set(changed.neighbours) == {"image"}
    assert set(corrupt(shop, "add_random_edges", 0.2)[0].neighbours) == {"image", "text"}
    variant = shop.replace(features={"text_mmrec": shop.features["text"]})
    assert set(corrupt(variant, "gaussian", 3)[0].neighbours) == {"image"}


@pytest.mark.parametrize("name", ADDING)
def test_added_pairs_are_seen_nowhere_and_not_known_to_be_genuine(name, shop):
    # Nearly every free pair is asked for, so that one mistake would show.
    users, items = 6, 8
    small = MultimodalDataset(
        name="small",
        user_ids=np.arange(users),
        item_ids=np.arange(items),
        train=Interactions(np.repeat(np.arange(users), 4), np.tile(np.arange(4), users)),
        valid=Interactions(np.arange(users), np.full(users, 4)),
        test=Interactions(np.arange(users), np.full(users, 5)),
        truth=Truth(missing_pairs=np.array([[0, 6], [1, 7]])),
    )
    taken = {(u, i) for u in range(users) for i in range(6)} | {(0, 6), (1, 7)}
    free = users * items - len(taken)
    if name == "add_popular_edges":  # items 6 and 7 are in nobody's training: nothing popular is left to add
        with pytest.raises(UserError, match="expected at most 0"):
            corrupt(small, name, 1 / 24)
        return
    changed, own = corrupt(small, name, free / 24)
    assert len(own.noisy_pairs) == free
    assert not pair_set(own.noisy_pairs) & taken
    assert len(changed.train.pairs()) == 24 + free
    with pytest.raises(UserError, match=f"expected at most {free}"):
        corrupt(small, name, (free + 1) / 24)


@given(st.integers(2, 5), st.integers(2, 7), st.data())
@settings(max_examples=60)
def test_drawing_pairs_is_exact_however_few_are_free(num_users, num_items, data):
    cells = st.sets(st.integers(0, num_users * num_items - 1), min_size=1, max_size=num_users * num_items)
    forbidden = np.array(sorted(data.draw(cells)))
    free = num_users * num_items - len(forbidden)
    count = data.draw(st.integers(0, free))
    keys = _draw(np.arange(num_users), np.ones(num_items), count, forbidden, np.random.default_rng(0))
    assert len(set(keys.tolist())) == len(keys) == count
    assert not set(keys.tolist()) & set(forbidden.tolist())


def test_popular_noise_follows_the_crowd_and_random_noise_does_not():
    rng = np.random.default_rng(0)
    items = np.minimum(rng.geometric(0.1, size=(300, 12)) - 1, 199)
    pairs = np.unique(np.stack([np.repeat(np.arange(300), 12), items.ravel()], axis=1), axis=0)
    none = Interactions([], [])
    world = MultimodalDataset(
        name="crowd",
        user_ids=np.arange(300),
        item_ids=np.arange(200),
        train=Interactions(*pairs.T),
        valid=none,
        test=none,
    )
    degree = np.bincount(pairs[:, 1], minlength=200)
    free = np.ones((300, 200))
    free[tuple(pairs.T)] = 0
    activity = free * np.bincount(pairs[:, 0])[:, None]
    expected = {
        "add_random_edges": (activity @ degree).sum() / activity.sum(),
        "add_popular_edges": (activity @ degree**2).sum() / (activity @ degree).sum(),
    }
    for name, mean in expected.items():
        added = [corrupt(world, name, 0.05, seed)[1].noisy_pairs[:, 1] for seed in range(40)]
        assert degree[np.concatenate(added)].mean() == pytest.approx(mean, rel=0.15)
    assert expected["add_popular_edges"] > 5 * expected["add_random_edges"]


@pytest.mark.parametrize("name", ADDING)
def test_added_events_look_like_their_users_own(name, shop):
    changed, own = corrupt(shop, name, 0.3)
    added = changed.train.take(np.arange(len(shop.train), len(changed.train)))
    assert pair_set(added.pairs()) == pair_set(own.noisy_pairs)
    original = {(e.user, e.timestamp, e.behavior, e.rating) for e in shop.train.frame().itertuples()}
    assert {(e.user, e.timestamp, e.behavior, e.rating) for e in added.frame().itertuples()} <= original
    assert changed.train.take(np.arange(len(shop.train))).frame().equals(shop.train.frame())


def test_dropping_keeps_a_pair_of_every_user_and_takes_all_events_of_a_pair(shop):
    most = 1 - shop.num_users / len(shop.train.pairs())
    changed, own = corrupt(shop, "drop_edges", most)
    assert np.bincount(changed.train.pairs()[:, 0]).tolist() == [1] * shop.num_users
    left = shop.train.frame().merge(changed.train.frame().drop_duplicates(), how="inner")
    assert len(left) >= len(changed.train)
    gone = pair_set(own.missing_pairs)
    assert not gone & pair_set(changed.train.pairs())
    kept = [(u, i) not in gone for u, i in zip(shop.train.user.tolist(), shop.train.item.tolist(), strict=True)]
    assert changed.train.frame().equals(shop.train.take(np.array(kept)).frame())
    with pytest.raises(UserError, match="each user keeps one"):
        corrupt(shop, "drop_edges", most + 0.01)


def test_planted_noise_and_injected_noise_are_both_known(shop):
    changed, own = corrupt(shop, "add_random_edges", 0.2)
    assert pair_set(changed.truth.noisy_pairs) == pair_set(shop.truth.noisy_pairs) | pair_set(own.noisy_pairs)
    assert pair_set(changed.truth.missing_pairs) == pair_set(shop.truth.missing_pairs)
    again, more = corrupt(changed, "row_shuffle", 0.2)
    assert pair_set(again.truth.noisy_pairs) == pair_set(changed.truth.noisy_pairs)
    assert again.truth.noisy_rows["text"].tolist() == (more.noisy_rows["text"] | shop.truth.noisy_rows["text"]).tolist()
    assert (again.truth.clean_features["text"] == 1).all()  # as before the first touch
    assert (again.truth.clean_features["image"] == shop.features["image"]).all()


def test_dropped_noise_is_no_longer_noise_and_was_never_a_like(shop):
    changed, own = corrupt(shop, "drop_edges", 0.7)
    dropped, planted = pair_set(own.missing_pairs), pair_set(shop.truth.noisy_pairs)
    assert dropped & planted
    assert pair_set(changed.truth.noisy_pairs) == planted - dropped
    assert pair_set(changed.truth.missing_pairs) == (dropped - planted) | pair_set(shop.truth.missing_pairs)


def test_noise_on_noise_keeps_the_books(world):
    dropped, first = corrupt(world, "drop_edges", 0.3)
    both, second = corrupt(dropped, "add_random_edges", 0.5)
    assert not pair_set(first.missing_pairs) & pair_set(second.noisy_pairs)  # a genuine pair is no noise
    observed = pair_set(both.train.pairs())
    assert pair_set(both.truth.noisy_pairs) == observed - pair_set(world.train.pairs())
    assert pair_set(both.truth.missing_pairs) == pair_set(world.train.pairs()) - observed


def test_merging_with_nothing_known_gives_what_is_new():
    truth = Truth(noisy_pairs=np.array([[0, 1]]))
    assert merge_truth(None, truth) is truth
    assert merge_truth(Truth(), truth).noisy_pairs.tolist() == [[0, 1]]


@pytest.mark.parametrize("rate", [-0.1, 1.5, math.nan, True, "much"])
def test_a_rate_out_of_range_is_refused(rate, world):
    with pytest.raises(UserError, match=r"rate .* expected a share in 0 … 1"):
        corrupt(world, "row_shuffle", rate)


def test_mistakes_are_worded_in_one_line(world):
    with pytest.raises(UserError, match="did you mean 'drop_edges'"):
        corrupt(world, "drop_edge", 0.1)
    with pytest.raises(UserError, match="unknown modality 'txt'; did you mean 'text'"):
        corrupt(world, "gaussian", 10, modalities=("txt",))
    with pytest.raises(UserError, match="has no features"):
        corrupt(world.replace(features={}), "row_shuffle", 0.1)
    with pytest.raises(UserError, match="expected a signal-to-noise ratio"):
        corrupt(world, "gaussian", -math.inf)
    assert noise.operators()["gaussian"].neutral == math.inf
