"""The boutique: what is planted is there, and only there."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.data.dataset import MultimodalDataset
from nbkit.data.synthetic import SIZES, Oracle, boutique, perfect_knowledge
from nbkit.data.synthetic.assembly import _genuine_pairs, assemble
from nbkit.data.synthetic.attributes import one_hot
from nbkit.data.synthetic.clicks import AccidentalClicks, GenuineClicks
from nbkit.data.synthetic.counter import uniform
from nbkit.data.synthetic.shop import BoutiqueSettings, Shop, open_shop
from nbkit.errors import UserError

SPLITS = ("train", "valid", "test")
FINGERPRINT = "6df2c438bfd840061f7ad230cb2f3e725c73a318b5880055216dca6f77a7a24c"


def parts_of(data: MultimodalDataset):
    return {"train": data.train, "valid": data.valid, "test": data.test.open("rewrite")}


def keys(pairs: np.ndarray) -> np.ndarray:
    return pairs[:, 0] * 1_000_000 + pairs[:, 1]


@pytest.fixture(scope="module")
def small() -> MultimodalDataset:
    return boutique("small", pictures=False)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return perfect_knowledge("small", pictures=False)


@pytest.fixture(scope="module")
def pictured() -> MultimodalDataset:
    return boutique("tiny", items=330)


# --- one seed, one data set ---------------------------------------------------------------------------------


def test_a_seed_gives_one_fingerprint_and_another_seed_another():
    first, again, other = (boutique("tiny", items=50, seed=seed) for seed in (5, 5, 6))
    assert first.fingerprint == again.fingerprint
    assert (first.truth.noisy_pairs == again.truth.noisy_pairs).all()
    assert first.fingerprint != other.fingerprint


def test_the_fingerprint_is_the_same_on_every_machine():
    # Without pictures nothing depends on the version of a renderer.
    assert boutique("tiny", pictures=False).fingerprint == FINGERPRINT


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_users_drawn_in_other_chunks_are_the_same_users(chunk):
    shop = open_shop(dataclasses.replace(SIZES["tiny"], pictures=False), 1)
    whole, pieces = assemble(shop, "boutique-tiny"), assemble(shop, "boutique-tiny", chunk)
    assert whole.fingerprint == pieces.fingerprint
    for part in ("noisy_pairs", "missing_pairs"):
        assert (getattr(whole.truth, part) == getattr(pieces.truth, part)).all()


def test_a_chunk_bounds_the_memory_however_many_users_there_are():
    def working_memory(users: int) -> int:
        shop = open_shop(BoutiqueSettings(users=users, items=2000, pictures=False), 0)
        tracemalloc.start()
        pairs = _genuine_pairs(shop, 64)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak - sum(part.nbytes for part in pairs)

    assert working_memory(4000) < 1.6 * working_memory(1000)


# --- the cut and the accidents ------------------------------------------------------------------------------


def test_all_events_of_a_pair_lie_in_one_split_and_the_cut_is_that_of_mmrec(small):
    parts = parts_of(small)
    found = np.concatenate([keys(part.pairs()) for part in parts.values()])
    assert len(found) == len(np.unique(found))
    train, valid, test = (np.bincount(parts[s].pairs()[:, 0], minlength=small.num_users) for s in SPLITS)
    genuine = train + valid + test - np.bincount(small.truth.noisy_pairs[:, 0], minlength=small.num_users)
    assert genuine.min() >= 5
    held = np.where(genuine < 10, 2, genuine // 5)
    assert (valid + test == held).all()
    assert (valid == held // 2).all()


def test_accidents_are_planted_in_training_only_at_the_set_share_and_stay_views(small, oracle):
    noisy = small.truth.noisy_pairs
    parts = parts_of(small)
    assert np.isin(keys(noisy), keys(parts["train"].pairs())).all()
    for split in ("valid", "test"):
        assert not np.isin(keys(noisy), keys(parts[split].pairs())).any()
    assert len(noisy) / len(parts["train"].pairs()) == pytest.approx(0.13, abs=0.005)
    events = np.stack([small.train.user, small.train.item], axis=1)
    slipped = np.isin(keys(events), keys(noisy))
    assert (small.train.behavior[slipped] == 0).all()
    assert np.isfinite(oracle.score(noisy[:, 0])[np.arange(len(noisy)), noisy[:, 1]]).all()  # all were shown


def test_accidents_follow_popularity_and_not_taste(small, oracle):
    shop = oracle.shop
    users = np.arange(small.num_users)
    utility = shop.log_weight(users) - np.log(shop.popularity)
    place = (utility - utility.mean(1, keepdims=True)) / utility.std(1, keepdims=True)
    noisy, genuine = small.truth.noisy_pairs, small.valid.pairs()
    # The few items that a user clicked genuinely are passed over, hence slightly below zero.
    assert -0.15 < place[noisy[:, 0], noisy[:, 1]].mean() < 0.05
    assert place[genuine[:, 0], genuine[:, 1]].mean() > 1
    assert shop.popularity[noisy[:, 1]].mean() > 1.5 * shop.popularity.mean()


def test_missing_pairs_were_never_shown_and_are_liked_like_clicked_ones(small, oracle):
    missing = small.truth.missing_pairs
    observed = np.concatenate([keys(part.pairs()) for part in parts_of(small).values()])
    assert not np.isin(keys(missing), observed).any()
    assert not oracle.shop.exposed(*missing.T).any()
    assert all(oracle.shop.exposed(*part.pairs().T).all() for part in parts_of(small).values())
    liked = oracle.shop.utility(*missing.T).mean()
    assert liked == pytest.approx(oracle.shop.utility(*small.valid.pairs().T).mean(), rel=0.1)


def test_hidden_items_are_those_a_user_shown_everything_would_have_clicked():
    shop = open_shop(dataclasses.replace(SIZES["tiny"], pictures=False), 2)
    open_to_all = dataclasses.replace(shop, settings=dataclasses.replace(shop.settings, unexposed=0.0))
    users = np.arange(40)
    draw = GenuineClicks(shop)(users, np.full(40, 6))
    together = np.sort(keys(np.concatenate([draw.chosen, draw.hidden])))
    need = np.bincount(np.concatenate([draw.chosen, draw.hidden])[:, 0])
    everything = GenuineClicks(open_to_all)(users, need)
    assert len(everything.hidden) == 0
    assert (np.sort(keys(everything.chosen)) == together).all()


# --- the draw itself ----------------------------------------------------------------------------------------


class Twins(Shop):
    """A shop whose users all have the taste of user 0."""

    def taste(self, users: np.ndarray) -> np.ndarray:
        return np.repeat(super().taste(np.zeros(1, dtype=np.int64)), len(users), axis=0)


@pytest.mark.parametrize("most", [4096, 0], ids=["proposals", "race"])
def test_draws_have_the_plackett_luce_distribution(monkeypatch, most):
    monkeypatch.setattr("nbkit.data.synthetic.clicks._MOST_PROPOSALS", most)
    plain = open_shop(BoutiqueSettings(users=8000, items=40, unexposed=0.0, taste=0.7, pictures=False), 4)
    shop = Twins(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(Shop)})
    users = np.arange(8000)
    pairs = GenuineClicks(shop)(users, np.full(len(users), 2)).chosen
    first, second = pairs[::2, 1], pairs[1::2, 1]
    p = np.exp(shop.log_weight(users[:1])[0])
    p /= p.sum()
    expected_second = p * ((p / (1 - p)).sum() - p / (1 - p))
    for drawn, expected in ((first, p), (second, expected_second)):
        frequency = np.bincount(drawn, minlength=40) / len(users)
        assert (np.abs(frequency - expected) < 4.5 * np.sqrt(expected / len(users))).all()


def test_a_taste_too_narrow_for_proposals_still_gives_every_user_enough():
    data = boutique("tiny", taste=5.0, individuality=0.9, unexposed=0.5, pictures=False)
    counts = np.bincount(np.concatenate([p.pairs()[:, 0] for p in parts_of(data).values()]))
    assert counts.min() >= 5


def test_activity_has_a_heavy_tail_above_five():
    shop = open_shop(BoutiqueSettings(users=1, items=20_000, mean_clicks=12.0), 0)
    clicks = shop.activity(np.arange(200_000))
    assert clicks.min() == 5
    assert clicks.mean() == pytest.approx(12, rel=0.06)
    assert np.median(clicks) < 9
    assert np.quantile(clicks, 0.999) > 100


def test_popularity_is_a_power_law_that_attributes_do_not_explain():
    shop = open_shop(BoutiqueSettings(items=20_000, popularity=0.6), 0)
    ranked = np.log(np.sort(shop.popularity)[::-1])
    slope = np.polyfit(np.log(np.arange(1, 20_001)), ranked, 1)[0]
    assert slope == pytest.approx(-0.6, abs=1e-6)
    target = np.log(shop.popularity) - np.log(shop.popularity).mean()
    table = one_hot(shop.relevant)
    fitted = table @ np.linalg.lstsq(table, target, rcond=None)[0]
    assert (fitted**2).sum() / (target**2).sum() < 0.005


def test_numbers_by_place_are_uniform_and_unrelated_between_places():
    table = uniform(0, "a purpose", np.arange(2000)[:, None], np.arange(100))
    assert 0 < table.min() < table.max() < 1
    assert np.histogram(table, 20, (0, 1))[0] == pytest.approx(np.full(20, 10_000), rel=0.06)
    others = [
        uniform(1, "a purpose", np.arange(2000)[:, None], np.arange(100)),
        uniform(0, "another", np.arange(2000)[:, None], np.arange(100)),
        table[::-1],
        table[:, ::-1],
    ]
    for other in others:
        assert abs(np.corrcoef(table.ravel(), other.ravel())[0, 1]) < 0.01


# --- time and behaviours ------------------------------------------------------------------------------------


def test_a_session_is_more_alike_than_two_sessions(small):
    views = small.train.frame()[small.train.behavior == 0].sort_values(["user", "timestamp"], kind="stable")
    views = views[~np.isin(keys(views[["user", "item"]].to_numpy()), keys(small.truth.noisy_pairs))]
    same_user = views["user"].to_numpy()[1:] == views["user"].to_numpy()[:-1]
    near = np.diff(views["timestamp"]) < 1800
    shape = small.truth.relevant["shape"].cat.codes.to_numpy()[views["item"]]
    alike = shape[1:] == shape[:-1]
    within, across = alike[same_user & near].mean(), alike[same_user & ~near].mean()
    assert within > across + 0.15


def test_what_a_user_likes_more_is_bought_more_often(small, oracle):
    pairs = small.train.pairs()
    bought = small.train.behavior == 2
    purchase = np.isin(keys(pairs), keys(np.stack([small.train.user, small.train.item], axis=1)[bought]))
    genuine = ~np.isin(keys(pairs), keys(small.truth.noisy_pairs))
    utility = oracle.shop.utility(*pairs.T)
    mean = np.bincount(pairs[genuine, 0], utility[genuine]) / np.bincount(pairs[genuine, 0])
    more = utility > mean[pairs[:, 0]]
    assert purchase[genuine & more].mean() > purchase[genuine & ~more].mean() + 0.15


def test_events_of_a_user_are_in_order_and_a_purchase_follows_its_view(small):
    for part in parts_of(small).values():
        order = np.lexsort((part.timestamp, part.user))
        assert (part.timestamp[order] == part.timestamp).all()
        frame = part.frame()
        times = frame.pivot_table(index=["user", "item"], columns="behavior", values="timestamp")
        assert times[0].notna().all()
        assert (times[1].dropna() > times[0][times[1].notna()]).all()
        assert (times[2].dropna() > times[1][times[2].notna()]).all()


# --- what knowing is worth ----------------------------------------------------------------------------------


def recall(data: MultimodalDataset, scores: np.ndarray, k: int = 20) -> float:
    scores = scores.copy()
    train, valid = data.train.pairs(), data.valid.pairs()
    scores[train[:, 0], train[:, 1]] = -np.inf
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    hits = (top[valid[:, 0]] == valid[:, 1, None]).any(axis=1)
    n = np.bincount(valid[:, 0], minlength=data.num_users)
    return float((np.bincount(valid[:, 0], hits, data.num_users)[n > 0] / n[n > 0]).mean())


def interaction_matrix(data: MultimodalDataset) -> np.ndarray:
    matrix = np.zeros((data.num_users, data.num_items))
    matrix[tuple(data.train.pairs().T)] = 1
    return matrix


def credibility(data: MultimodalDataset, features: np.ndarray) -> float:
    """ROC-AUC of the cosine with the user's other items, for genuine against accidental training pairs."""
    unit = features - features.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    pairs = data.train.pairs()
    others = (interaction_matrix(data) @ unit)[pairs[:, 0]] - unit[pairs[:, 1]]
    score = (others * unit[pairs[:, 1]]).sum(axis=1) / np.linalg.norm(others, axis=1)
    noisy = np.isin(keys(pairs), keys(data.truth.noisy_pairs))
    rank = np.argsort(np.argsort(score)) + 1.0
    n, m = noisy.sum(), (~noisy).sum()
    return float((rank[~noisy].sum() - m * (m + 1) / 2) / (n * m))


def test_each_piece_of_knowledge_ranks_better_than_the_one_before(small, oracle):
    matrix = interaction_matrix(small)
    degree = matrix.sum(axis=0)
    together = matrix.T @ matrix
    np.fill_diagonal(together, 0)
    item_knn = matrix @ (together / np.sqrt(np.outer(degree + 5, degree + 5)))
    ideal = one_hot(small.truth.relevant)
    ideal = (ideal - ideal.mean(axis=0)) / np.linalg.norm(ideal - ideal.mean(axis=0), axis=1, keepdims=True)
    profile = matrix @ ideal @ ideal.T
    profile /= profile.std(axis=1, keepdims=True)
    ladder = [
        recall(small, uniform(0, "random", np.arange(small.num_users)[:, None], np.arange(small.num_items))),
        recall(small, np.tile(degree, (small.num_users, 1))),
        recall(small, item_knn),
        recall(small, profile + 0.5 * np.log(degree + 1)),
        recall(small, oracle.score(np.arange(small.num_users))),
    ]
    assert ladder == sorted(ladder)
    assert np.diff(ladder).min() > 0.04, ladder


def test_accidents_are_hard_to_find_in_raw_features_and_easy_with_clean_ones(pictured):
    clean = credibility(pictured, one_hot(pictured.truth.relevant))
    for modality in ("image", "text"):
        assert 0.52 < credibility(pictured, pictured.features[modality]) < clean - 0.08
    assert clean > 0.75


def test_the_oracle_knows_the_order_of_draws_and_never_ranks_what_was_hidden(oracle):
    users = np.array([3, 700, 11])
    scores = oracle.score(users)
    assert (scores[1] == oracle.score(np.array([700]))[0]).all()
    assert np.isinf(scores).mean() == pytest.approx(0.2, abs=0.03)
    assert (np.isinf(scores) == ~oracle.shop.exposed(users[:, None], np.arange(700))).all()
    shown = np.isfinite(scores[0])
    expected = oracle.shop.utility(np.full(700, 3), np.arange(700)) + np.log(oracle.shop.popularity)
    assert scores[0][shown] == pytest.approx(expected[shown])


# --- features -----------------------------------------------------------------------------------------------


def probe(features: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a linear read-out (ridge on indicators) on the third of the items it was not fitted on."""
    features = np.c_[features, np.ones(len(features))].astype(float)
    fit = np.arange(len(labels)) % 3 > 0
    x, y = features[fit], np.eye(labels.max() + 1)[labels[fit]]
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ y)
    return float(((features[~fit] @ weights).argmax(axis=1) == labels[~fit]).mean())


def purity(features: np.ndarray, labels: np.ndarray) -> float:
    """How much more often a nearest neighbour has the same label than chance would, in units of chance."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near = unit @ unit.T
    np.fill_diagonal(near, -np.inf)
    top = np.argsort(-near, axis=1)[:, :10]
    chance = (np.bincount(labels) / len(labels)) @ (np.bincount(labels) / len(labels))
    return float((labels[top] == labels[:, None]).mean() / chance)


def test_relevant_attributes_and_nuisance_can_both_be_read_by_a_line(pictured):
    truth = pictured.truth.relevant.join(pictured.truth.nuisance)
    read = {
        m: {a: probe(pictured.features[m], truth[a].cat.codes.to_numpy(int)) for a in truth} for m in ("image", "text")
    }
    for attribute in pictured.truth.relevant:
        assert read["text"][attribute] > 0.75, (attribute, read)
        assert read["image"][attribute] > 1.5 / truth[attribute].nunique(), (attribute, read)
    assert read["image"]["shape"] > 0.5, read
    for attribute in ("background", "lighting", "filter"):
        assert read["image"][attribute] > 0.8, read
        assert read["text"][attribute] < 0.4, read
    for attribute in ("pitch", "delivery"):
        assert read["text"][attribute] > 0.8, read
        assert read["image"][attribute] < 0.4, read


def test_neighbours_in_raw_features_share_nuisance_more_than_taste(pictured):
    truth = pictured.truth
    for modality, louder in (("image", ["background", "filter"]), ("text", ["pitch", "delivery"])):
        raw = pictured.features[modality]
        wanted = np.mean([purity(raw, truth.relevant[a].cat.codes.to_numpy(int)) for a in truth.relevant])
        unwanted = np.mean([purity(raw, truth.nuisance[a].cat.codes.to_numpy(int)) for a in louder])
        assert 1.1 < wanted < unwanted


def test_features_without_pictures_hold_the_same_attributes(small):
    truth = small.truth.relevant.join(small.truth.nuisance)
    for modality, attributes in (("image", ("shape", "pattern", "pose")), ("text", ("colour", "pitch"))):
        for attribute in attributes:
            assert probe(small.features[modality], truth[attribute].cat.codes.to_numpy(int)) > 0.8


def test_features_are_rounded_so_that_no_machine_differs(pictured):
    for table in pictured.features.values():
        assert (np.round(table.astype(float), 4).astype(np.float32) == table).all()
        assert np.sqrt((table.astype(float) ** 2).mean()) == pytest.approx(1, abs=1e-3)


# --- the entry ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "settings_", "expected"),
    [
        ("smal", {}, "did you mean 'small'"),
        ("tiny", {"usres": 10}, "unknown setting 'usres'; did you mean 'users'"),
        ("tiny", {"accidents": 0.8}, "accidents = 0.8"),
        ("tiny", {"pictures": "yes"}, "pictures = 'yes'"),
        ("tiny", {"seed": -1}, "seed = -1"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_line(size, settings_, expected):
    for entry in (boutique, perfect_knowledge):
        with pytest.raises(UserError, match=expected) as caught:
            entry(size, **settings_)
        assert "\n" not in str(caught.value)


def test_the_item_table_and_the_ids_belong_together(pictured):
    assert list(pictured.item_table.columns) == ["title", "category", "image"]
    assert (pictured.item_table["category"] == pictured.truth.relevant["shape"].astype(str)).all()
    assert all(item.startswith(c) for item, c in zip(pictured.item_ids, pictured.item_table["category"], strict=True))
    assert pictured.behaviors == ("view", "cart", "purchase")
    assert pictured.clock == "unix"


@settings(max_examples=12, deadline=None)
@given(
    users=st.integers(1, 30),
    items=st.integers(40, 120),
    accidents=st.floats(0, 0.5),
    unexposed=st.floats(0, 0.5),
    taste=st.floats(0, 3),
    popularity=st.floats(0, 2),
    individuality=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_any_settings_give_a_sound_shop(users, items, accidents, seed, **rest):
    data = boutique("tiny", seed=seed, users=users, items=items, accidents=accidents, pictures=False, **rest)
    found = np.concatenate([keys(part.pairs()) for part in parts_of(data).values()])
    assert len(found) == len(np.unique(found))
    assert (np.bincount(data.valid.pairs()[:, 0], minlength=users) >= 1).all()
    train = keys(data.train.pairs())
    assert np.isin(keys(data.truth.noisy_pairs), train).all()
    genuine = len(train) - len(data.truth.noisy_pairs)
    assert abs(len(data.truth.noisy_pairs) - genuine * accidents / (1 - accidents)) <= users
    assert not np.isin(keys(data.truth.missing_pairs), found).any()


def test_no_accidents_and_no_gaps_when_none_are_asked_for():
    data = boutique("tiny", accidents=0.0, unexposed=0.0, pictures=False)
    assert len(data.truth.noisy_pairs) == 0
    assert len(data.truth.missing_pairs) == 0
    assert data.truth.noisy_pairs.shape == (0, 2)


def test_accidents_never_repeat_a_genuine_pair_even_in_a_full_shop():
    shop = open_shop(BoutiqueSettings(users=5, items=40, unexposed=0.0, pictures=False), 0)
    users = np.arange(5)
    genuine = np.stack([np.repeat(users, 35), np.tile(np.arange(35), 5)], axis=1)
    accidents = AccidentalClicks(shop)(users, np.full(5, 9), genuine).chosen
    assert (accidents[:, 1] >= 35).all()
    assert len(accidents) == 25  # all that is left
