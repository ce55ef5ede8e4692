"""Claims about measured denoising: closed forms, scikit-learn, planted structure, intervals that cover."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import sklearn.linear_model
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.data.corrupt import corrupt
from nbkit.data.dataset import Truth
from nbkit.errors import UserError
from nbkit.evaluation.denoising import (
    linear_cka,
    neighbour_purity,
    noise_auc,
    noise_average_precision,
    probe_r2,
    profile_cosine,
)
from nbkit.evaluation.recovery import recovery_table
from nbkit.evaluation.stats import mean_interval

ITEMS = 240


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planted_table(seed: int = 0, items: int = ITEMS, noise: float = 0.3, nuisance: float = 1.0):
    """Labels of both kinds and a table ``(I, 12)`` that mixes one-hot relevant and nuisance attributes with noise."""
    generator = rng(seed)
    relevant = pd.DataFrame({"shape": generator.integers(4, size=items), "hue": generator.integers(3, size=items)})
    other = pd.DataFrame({"light": generator.integers(5, size=items)})
    wanted, unwanted = (pd.get_dummies(t, columns=list(t.columns)).to_numpy(float) for t in (relevant, other))
    space = np.linalg.qr(rng(9).normal(size=(12, 12)))[0]
    table = wanted @ space[:7] + nuisance * unwanted @ space[7:] + noise * generator.normal(size=(items, 12))
    return relevant, other, table, space


def each_alone(size: int) -> np.ndarray:
    return np.arange(size)


# Credibility against noise


@pytest.mark.parametrize(("credibility", "auc"), [([1, 2, 8, 9], 1.0), ([9, 8, 2, 1], 0.0), ([5, 5, 5, 5], 0.5)])
def test_perfect_reversed_and_constant_credibility_have_auc_1_0_and_a_half(credibility, auc):
    noisy = np.array([True, True, False, False])
    assert noise_auc(np.array(credibility, float), noisy, each_alone(4)).mean() == pytest.approx(auc)


def test_auc_with_ties_by_hand():
    credibility = np.array([0.1, 0.4, 0.4, 0.4, 0.9])
    noisy = np.array([False, True, False, False, True])
    # noisy .4: right against none of .1, half against two .4; noisy .9: right against nobody.
    assert noise_auc(credibility, noisy, each_alone(5)).mean() == pytest.approx((0.5 + 0.5) / 6)
    # At .4: one of four listed is noisy; at .9: two of five.
    assert noise_average_precision(credibility, noisy, each_alone(5)).mean() == pytest.approx((1 / 4 + 2 / 5) / 2)


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 4)), min_size=2, max_size=60))
@settings(deadline=None, max_examples=60)
def test_auc_and_average_precision_equal_scikit_learns(rows):
    credibility, noisy, users = (np.array(column) for column in zip(*rows, strict=True))
    if noisy.all() or not noisy.any():
        return
    auc, precision = noise_auc(credibility, noisy, users), noise_average_precision(credibility, noisy, users)
    assert len(auc) == len(precision) == len(np.unique(users))
    assert auc.mean() == pytest.approx(sklearn.metrics.roc_auc_score(noisy, -credibility))
    assert precision.mean() == pytest.approx(sklearn.metrics.average_precision_score(noisy, -credibility))


@pytest.mark.parametrize("measure", [noise_auc, noise_average_precision])
def test_pseudo_values_are_the_derivative_by_a_users_weight(measure):
    generator = rng(1)
    users = generator.integers(5, size=40)
    credibility, noisy = generator.integers(9, size=40).astype(float), generator.random(40) < 0.4
    oracle = {
        noise_auc: sklearn.metrics.roc_auc_score,
        noise_average_precision: sklearn.metrics.average_precision_score,
    }
    values, step = measure(credibility, noisy, users), 1e-5
    for user in range(5):
        moved = [
            oracle[measure](noisy, -credibility, sample_weight=1 + sign * step * (users == user)) for sign in (1, -1)
        ]
        derivative = (moved[0] - moved[1]) / (2 * step)
        assert values[user] == pytest.approx(values.mean() + 5 * derivative, abs=1e-6)


def test_the_interval_of_auc_covers_when_pairs_of_a_user_are_alike():
    # Each user's pairs share a shift of credibility: pair by pair they would seem far more certain than they are.
    covered = 0
    for trial in range(120):
        generator = rng(trial)
        users = np.arange(600) % 60
        noisy = np.repeat(generator.random((1, 60)) < 0.5, 10, axis=0).ravel()
        credibility = generator.normal(size=60)[users] + 0.3 * generator.normal(size=600) - 0.5 * noisy
        interval = mean_interval(noise_auc(credibility, noisy, users), generator, resamples=300)
        covered += interval.low <= 0.6325 <= interval.high  # Φ(.5 / sqrt(2 · 1.09))
    assert covered >= 106  # 95 % of 120 is 114; fewer than 106 has p < .004


def test_profile_cosine_leaves_the_item_itself_out():
    features = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    pairs = np.array([[0, 0], [0, 1], [0, 2], [4, 1]])
    half = np.sqrt(0.5)
    first = half / np.hypot(half, 1 + half)  # item 0 against (0, 1) + (√½, √½)
    assert profile_cosine(pairs, features) == pytest.approx([first, first, 1.0, 0.0])


def test_a_cosine_finds_injected_random_pairs(world):
    data, truth = corrupt(world, "add_random_edges", 0.2)
    pairs = data.train.pairs()
    noisy = np.isin(pairs @ [data.num_items, 1], truth.noisy_pairs @ [data.num_items, 1])
    assert noisy.sum() == len(truth.noisy_pairs)
    assert noise_auc(profile_cosine(pairs, data.features["text"]), noisy, pairs[:, 0]).mean() > 0.9


# Features against attributes


def test_probe_equals_scikit_learns_ridge_of_best_generalised_cross_validation_on_held_out_folds():
    relevant, _, table, _ = planted_table(noise=1.5)
    folds = np.arange(ITEMS) % 3
    target = pd.get_dummies(relevant, columns=list(relevant.columns)).to_numpy(float)
    predicted = np.empty_like(target)
    for fold in range(3):
        fit, fitted = folds != fold, []
        x = table[fit] - table[fit].mean(axis=0)
        for strength in np.logspace(-4, 4, 17) * (x**2).sum() / 12:
            hat = x @ np.linalg.solve(x.T @ x + strength * np.eye(12), x.T) + 1 / len(x)
            left = target[fit] - hat @ target[fit]
            fitted.append(((left**2).sum() / (len(x) - np.trace(hat)) ** 2, strength))
        ridge = sklearn.linear_model.Ridge(alpha=min(fitted)[1]).fit(table[fit], target[fit])
        predicted[~fit] = ridge.predict(table[~fit])
    expected = 1 - ((target - predicted) ** 2).sum() / ((target - target.mean(axis=0)) ** 2).sum()
    assert probe_r2(table, relevant, folds).mean() == pytest.approx(expected)


def test_a_probe_with_more_columns_than_items_does_not_fall_far_below_nothing():
    relevant, _, _, _ = planted_table(items=60)
    assert probe_r2(rng(3).normal(size=(60, 200)), relevant, np.arange(60) % 5).mean() > -0.2


def test_attributes_that_the_table_holds_are_explained_and_others_are_not():
    relevant, nuisance, table, space = planted_table(noise=0.01)
    folds = np.arange(ITEMS) % 5
    assert probe_r2(table, relevant, folds).mean() > 0.99
    kept = table - table @ space[7:].T @ space[7:]  # the nuisance directions projected away
    assert probe_r2(kept, relevant, folds).mean() > 0.99
    assert abs(probe_r2(kept, nuisance, folds).mean()) < 0.1
    # Items seen while fitting would explain pure noise: 100 columns for 240 items.
    assert probe_r2(rng(3).normal(size=(ITEMS, 100)), relevant, folds).mean() < 0.05


def test_a_probe_of_a_constant_or_redundant_table_stays_finite():
    relevant, _, table, _ = planted_table()
    folds = np.arange(ITEMS) % 5
    assert abs(probe_r2(np.ones((ITEMS, 3)), relevant, folds).mean()) < 0.05
    doubled = probe_r2(np.hstack([table, table]), relevant, folds).mean()
    assert doubled == pytest.approx(probe_r2(table, relevant, folds).mean(), abs=0.01)
    with pytest.raises(UserError, match="attributes same have one value each"):
        probe_r2(table, pd.DataFrame({"same": [1] * ITEMS}), folds)


def test_purity_by_hand():
    table = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    labels = pd.DataFrame({"a": list("xxyy"), "b": list("xyxy")})
    assert neighbour_purity(table, labels, 1).mean() == 0.5
    assert neighbour_purity(table, labels[["a"]], 1).mean() == 1.0
    assert neighbour_purity(table, labels, 3).mean() == pytest.approx(1 / 3)


def test_an_items_purity_counts_its_neighbours_and_those_it_is_a_neighbour_of():
    table = np.array([[1.0, 0.0], [0.99, 0.1], [0.9, 0.4], [0.0, 1.0]])
    labels = pd.DataFrame({"a": list("xxyx")})
    # Two nearest of 0: 1 2; of 1: 0 2; of 2: 0 1; of 3: 1 2, of which x x, x y, neither, x: shares 1/2 1/2 0 1/2.
    excess = np.array([0.5, 0.5 + 0.5, -1.5, 0]) / 2  # of item 0: by 1 (1 - 1/2), by 2 (0 - 0); and so on
    assert neighbour_purity(table, labels, 2) == pytest.approx(np.array([0.5, 0.5, 0.0, 0.5]) + excess)


def test_noise_lowers_purity():
    relevant, _, table, _ = planted_table(nuisance=0.0)
    purity = [neighbour_purity(table + s * rng(4).normal(size=table.shape), relevant, 5).mean() for s in (0, 0.5, 2)]
    assert purity[0] > purity[1] + 0.05 > purity[2] + 0.1


# CKA


def two_tables(seed: int):
    generator = rng(seed)
    a = generator.normal(size=(30, 5)) @ generator.normal(size=(5, 5)) + 1
    return a, a[:, :3] + generator.normal(size=(30, 3)), generator


def test_cka_equals_its_definition_by_gram_matrices():
    a, b, _ = two_tables(0)
    centring = np.eye(30) - 1 / 30
    k, m = (centring @ x @ x.T @ centring for x in (a, b))
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert linear_cka(a, b).mean() == pytest.approx(expected)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=30)
def test_cka_ignores_rotation_scale_shift_and_order(seed, scale):
    a, b, generator = two_tables(seed)
    rotation = np.linalg.qr(generator.normal(size=(5, 5)))[0]
    value = linear_cka(a, b).mean()
    assert linear_cka(scale * a @ rotation + 7, b).mean() == pytest.approx(value)
    assert linear_cka(b, a).mean() == pytest.approx(value)
    assert linear_cka(a, a @ rotation).mean() == pytest.approx(1)
    assert 0 <= value <= 1


def test_ckas_pseudo_values_are_the_derivative_by_an_items_weight():
    a, b, _ = two_tables(2)

    def weighted(weights):
        centred = [np.sqrt(weights)[:, None] * (x - weights @ x / weights.sum()) for x in (a, b)]
        ab, aa, bb = (np.linalg.norm(x.T @ y) for x, y in ((centred * 2)[:2], centred[:1] * 2, centred[1:] * 2))
        return ab**2 / (aa * bb)

    values, step = linear_cka(a, b), 1e-5
    for item in (0, 7):
        own = step * (np.arange(30) == item)
        derivative = (weighted(1 + own) - weighted(1 - own)) / (2 * step)
        assert values[item] == pytest.approx(values.mean() + 30 * derivative, abs=1e-5)


def test_a_constant_table_is_like_nothing():
    a, _, _ = two_tables(3)
    assert not linear_cka(np.ones((30, 4)), a).any()


def test_no_measure_needs_memory_by_items_squared():
    relevant, _, table, _ = planted_table(items=6_000)
    tracemalloc.start()
    linear_cka(table, table)
    neighbour_purity(table, relevant, 5)
    probe_r2(table, relevant, np.arange(6_000) % 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # 6,000² floats are 288 MB


# The table


@pytest.fixture
def shop(world):
    """The planted world, its text features a mixture of known attributes, with injected pairs."""
    relevant, nuisance, table, space = planted_table(seed=5, items=world.num_items)
    truth = Truth(relevant=relevant, nuisance=nuisance)
    data = world.replace(features={"text": table.astype(np.float32)}, truth=truth)
    data, _ = corrupt(data, "add_random_edges", 0.2)
    return data, table - table @ space[7:].T @ space[7:]


def recover(data, seed=0, **arguments):
    arguments = {"denoised": {}, "k": 3, "folds": 4, "resamples": 200} | arguments
    return recovery_table(data, arguments.pop("denoised"), rng(seed), **arguments)


def cell(frame, measure, table, column="value"):
    return frame.set_index(["measure", "table"]).loc[(measure, table), column]


def test_the_table_shows_nuisance_gone_and_relevance_kept(shop):
    data, cleaned = shop
    noisy = np.isin(data.train.pairs() @ [99, 1], data.truth.noisy_pairs @ [99, 1])
    frame = recover(data, denoised={"denoised": {"text": cleaned}}, credibility=1.0 - noisy, ids=cleaned)
    assert cell(frame, "nuisance R²", "denoised - raw", "high") < 0
    assert cell(frame, "nuisance purity@3", "denoised - raw", "high") < 0
    assert cell(frame, "relevant R²", "denoised") > cell(frame, "relevant R²", "raw") - 0.05
    assert cell(frame, "relevant purity@3", "denoised - raw", "low") > 0
    assert cell(frame, "CKA with ids", "denoised") == pytest.approx(1)
    assert cell(frame, "CKA with raw", "denoised") == pytest.approx(linear_cka(cleaned, data.features["text"]).mean())
    assert cell(frame, "noise AUC", "credibility") == pytest.approx(1)
    assert cell(frame, "noise AUC", "credibility - cosine text") == pytest.approx(
        1 - cell(frame, "noise AUC", "cosine text")
    )
    assert (frame["low"] <= frame["value"] + 1e-9).all()
    assert (frame["value"] <= frame["high"] + 1e-9).all()
    assert not frame.duplicated(["measure", "modality", "table"]).any()


def test_equal_tables_differ_by_exactly_nothing(shop):
    data, _ = shop
    frame = recover(data, denoised={"copy": {"text": data.features["text"]}})
    differences = frame[frame["table"] == "copy - raw"]
    assert len(differences) == 4
    assert not differences[["value", "low", "high"]].to_numpy().any()


def test_injected_content_noise_is_measured_against_the_clean_features(shop):
    data, _ = shop
    noisy, _ = corrupt(data, "gaussian", 0.0)
    frame = recover(noisy, denoised={"undone": {"text": data.features["text"]}})
    assert cell(frame, "CKA with clean", "undone") == pytest.approx(1)
    assert cell(frame, "CKA with clean", "undone - raw", "low") > 0


def test_paired_differences_are_tighter_than_two_intervals(shop):
    data, _ = shop
    nearly = data.features["text"] + 0.01
    frame = recover(data, denoised={"nearly": {"text": nearly}}).set_index(["measure", "table"])
    widths = (frame["high"] - frame["low"])["relevant purity@3"]
    assert widths["nearly - raw"] < widths["raw"] / 3


def test_equal_generators_give_equal_tables(shop):
    data, cleaned = shop
    first, second = (recover(data, denoised={"denoised": {"text": cleaned}}) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_intervals_over_items_cover_what_is_measured_on_average():
    measured = {"R²": [], "CKA": [], "purity": []}
    for trial in range(100):
        relevant, _, table, _ = planted_table(seed=trial, items=300, noise=0.6)
        measured["R²"].append(probe_r2(table, relevant, np.arange(300) % 5))
        measured["CKA"].append(linear_cka(table, table[:, :4]))
        measured["purity"].append(neighbour_purity(table, relevant, 5))
    for name, trials in measured.items():
        expected = np.mean(trials)
        intervals = [mean_interval(values, rng(trial), resamples=300) for trial, values in enumerate(trials)]
        assert sum(i.low <= expected <= i.high for i in intervals) >= 86, name  # 95 expected; fewer has p < .001


def test_bad_input_is_one_line(shop, world):
    data, cleaned = shop
    with pytest.raises(UserError, match="has no truth; expected planted or injected noise"):
        recover(world)
    with pytest.raises(UserError, match="'denoised' has modality 'image'; expected text"):
        recover(data, denoised={"denoised": {"image": cleaned}})
    with pytest.raises(UserError, match=r"table 'denoised text' has shape \(3, 12\); expected \(32, D\)"):
        recover(data, denoised={"denoised": {"text": cleaned[:3]}})
    with pytest.raises(UserError, match="table 'ids' is not finite in row 2"):
        recover(data, ids=np.where(np.arange(32)[:, None] == 2, np.nan, cleaned))
    with pytest.raises(UserError, match=r"credibility has shape \(3,\)"):
        recover(data, credibility=np.ones(3))
    with pytest.raises(UserError, match="credibility of pair 1 is nan"):
        recover(data, credibility=np.where(np.arange(len(data.train.pairs())) == 1, np.nan, 1.0))
    with pytest.raises(UserError, match="k = 32; expected 1 … 31 for 32 items"):
        recover(data, k=32)
    with pytest.raises(UserError, match="folds = 1; expected 2 … 32"):
        recover(data, folds=1)
    with pytest.raises(UserError, match="0 of 3 training pairs are noisy"):
        noise_auc(np.arange(3.0), np.zeros(3, bool), each_alone(3))
