"""Retention, areas and crossings: closed forms, planted structure, an independent bootstrap, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.data.corrupt import operators
from nbkit.errors import UserError
from nbkit.evaluation.retention import NoiseCurve, Robustness, first_crossing
from nbkit.evaluation.stats import mean_interval

RATES = (0.0, 0.2, 0.5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def curve(
    model: str, values: np.ndarray, operator: str = "row_shuffle", rates: tuple[float, ...] = RATES
) -> NoiseCurve:
    return NoiseCurve(model, operator, rates, values)


def planted(*shares: float, seeds: int = 2, users: int = 300, error: float = 0.0, seed: int = 0) -> np.ndarray:
    """Scores whose mean at each rate is such a share of the clean mean, for every seed and user up to an error."""
    clean = rng(1).random((seeds, users))
    noise = rng(seed).normal(size=(len(shares), seeds, users))
    return np.stack([share * clean for share in shares]) + error * noise


def study(*curves: NoiseCurve, **options) -> Robustness:
    return Robustness(curves, rng(7), resamples=500, **options)


def test_a_model_whose_scores_halve_at_a_rate_keeps_half_there():
    table = study(curve("a", planted(1, 0.5, 0.25))).retention()
    np.testing.assert_allclose(table["mean"], [1, 0.5, 0.25])
    np.testing.assert_allclose(
        table[["low", "high"]], np.transpose([[1, 0.5, 0.25]] * 2), err_msg="all users halve alike"
    )
    assert list(table["rate"]) == list(table["strength"]) == list(RATES)


def test_retention_is_the_mean_over_seeds_of_ratios_of_means_and_not_a_mean_of_users_ratios():
    values = np.array([[[0.2, 0.6, 0.0]], [[0.4, 0.0, 0.2]]])  # one seed: .8 clean, .6 noisy over three users
    both = np.concatenate([values, values[:, :, ::-1] * [[[1]], [[0.5]]]], axis=1)  # a seed that keeps half as much
    assert study(curve("a", values, rates=(0, 0.3))).retention()["mean"].iloc[1] == pytest.approx(0.75)
    assert study(curve("a", both, rates=(0, 0.3))).retention()["mean"].iloc[1] == pytest.approx((0.75 + 0.375) / 2)


def test_the_area_is_that_of_trapezoids_over_the_range_of_rates():
    areas = study(curve("a", planted(1, 0.8, 0.2)), curve("b", planted(1, 1, 1))).areas()
    by_hand = np.trapezoid([1, 0.8, 0.2], RATES) / 0.5
    np.testing.assert_allclose(areas["mean"], [by_hand, 1])


@given(st.floats(0, 1), st.lists(st.floats(0.01, 1), min_size=1, max_size=5, unique=True).map(sorted))
@settings(max_examples=30, deadline=None)
def test_a_constant_share_under_any_noise_and_a_straight_line_have_known_areas(share, rates):
    rates = (0.0, *rates)
    line = [1 - (1 - share) * rate / rates[-1] for rate in rates]
    area = study(curve("a", planted(*line), rates=rates)).areas()["mean"].iloc[0]
    assert area == pytest.approx((1 + share) / 2)


def test_decibels_are_ordered_and_weighed_by_how_loud_the_noise_is():
    gaussian = operators()["gaussian"]
    assert [gaussian.strength(rate) for rate in (math.inf, 20, 0)] == pytest.approx([0, 0.1, 1])
    assert [gaussian.rate(strength) for strength in (0, 0.1, 1)] == pytest.approx([math.inf, 20, 0])
    one = curve("a", planted(1, 0.8, 0.2), "gaussian", (math.inf, 20.0, 0.0))
    assert study(one).areas()["mean"].iloc[0] == pytest.approx(0.1 * 0.9 + 0.9 * 0.5)
    with pytest.raises(UserError, match="expected clean data, then rising noise"):
        curve("a", planted(1, 0.8, 0.2), "gaussian", (math.inf, 0.0, 20.0))


def test_identical_models_have_no_difference_and_never_cross():
    values = planted(1, 0.7, 0.4, error=0.1)
    both = study(curve("a", values), curve("b", values.copy()))
    (difference,) = both.differences().to_dict("records")
    assert (difference["difference"], difference["low"], difference["high"], difference["p"]) == (0, 0, 0, 1)
    assert difference["verdict"] == "no difference shown"
    (crossing,) = both.crossings().to_dict("records")
    assert math.isnan(crossing["rate"])
    assert crossing["share"] == 0


def test_a_planted_difference_is_shown_and_its_interval_holds_it():
    frail, sound = planted(1, 0.8, 0.4, error=0.05), planted(1, 0.95, 0.9, error=0.05, seed=5)
    (row,) = study(curve("frail", frail), curve("sound", sound)).differences().to_dict("records")
    expected = np.trapezoid([0, -0.15, -0.5], RATES) / 0.5
    assert row["low"] < expected < row["high"] < 0
    assert row["verdict"] == "worse"


def test_differences_against_a_baseline_have_it_as_the_other_and_holm_counts_all_operators():
    curves = [
        curve(model, planted(1, share, share, error=0.3, seed=n), operator)
        for operator in ("row_shuffle", "drop_edges")
        for n, (model, share) in enumerate({"a": 0.9, "base": 0.8, "c": 0.7}.items())
    ]
    against = study(*curves).differences("base")
    assert against[["operator", "model", "other"]].to_numpy().tolist() == [
        [operator, model, "base"] for operator in ("row_shuffle", "drop_edges") for model in ("a", "c")
    ]
    assert against["p_holm"].min() == pytest.approx(4 * against["p"].min())
    with pytest.raises(UserError, match="unknown baseline 'bas'; did you mean 'base'"):
        study(*curves).differences("bas")


def test_curves_that_cross_by_construction_cross_there_in_every_resample():
    clean = rng(1).random((1, 300))
    leader = curve("leader", np.stack([clean, 0.8 * clean, 0.2 * clean]))
    other = curve("other", 0.6 * np.stack([clean] * 3))  # .6 is between .8 and .2 two thirds of the way from .2 to .5
    (row,) = study(other, leader).crossings().to_dict("records")
    assert (row["model"], row["other"], row["share"]) == ("leader", "other", 1)
    assert [row["rate"], row["low"], row["high"]] == pytest.approx([0.3] * 3)


def test_a_crossing_under_gaussian_noise_is_told_in_decibels():
    clean = rng(1).random((1, 300))
    rates = (math.inf, 20.0, 0.0)
    leader = curve("leader", np.stack([clean, 0.8 * clean, 0.2 * clean]), "gaussian", rates)
    other = curve("other", 0.5 * np.stack([clean] * 3), "gaussian", rates)
    assert study(leader, other).crossings()["rate"].iloc[0] == pytest.approx(-20 * math.log10(0.1 + 0.9 / 2))


def test_the_first_crossing_of_several_and_of_none():
    strengths = np.array([0, 1, 2, 4.0])
    leads = np.array([[1, -1, 1, -1], [1, 2, 0, -2], [1, 1, 1, 0], [-1, 1, -1, 1], [0, 0, 0, 0.0]])
    np.testing.assert_allclose(first_crossing(leads, strengths), [0.5, 2, np.nan, np.nan, np.nan])


def test_unsure_leads_cross_in_some_resamples_only():
    a, b = (planted(1, 1, 1, seeds=1, users=80, error=0.5, seed=seed) for seed in (3, 4))
    assert 0.02 < study(curve("a", a), curve("b", b)).crossings()["share"].iloc[0] < 0.98


def test_intervals_of_the_metric_are_those_of_the_house():
    values = planted(1, 0.6, 0.3, seeds=4, error=0.3)
    table = Robustness([curve("a", values)], rng(), resamples=20_000).quality()
    for row, scores in zip(table.itertuples(), values, strict=True):
        house = mean_interval(scores, rng(3), resamples=20_000)
        assert row.mean == pytest.approx(house.mean)
        assert (row.low, row.high) == pytest.approx((house.low, house.high), abs=0.15 * (house.high - house.low))


def test_intervals_cover_the_retention_of_all_users_as_often_as_they_say():
    """60 draws of users and seeds from a known law; 95 % intervals miss 9 or more of them once in 500 times."""
    missed = 0
    for draw in range(60):
        g = rng(draw)
        clean = np.where(g.random((1, 150)) < 0.4, g.random((1, 150)), 0) + np.zeros((3, 1))
        lost = 0.6 + 0.1 * g.normal(size=(3, 1))  # what each seed keeps, .6 on average
        noisy = lost * clean + 0.1 * g.normal(size=(3, 150))
        row = Robustness([curve("a", np.stack([clean, noisy]), rates=(0, 0.3))], g, resamples=300).retention().iloc[1]
        missed += not row["low"] <= 0.6 <= row["high"]
    assert missed < 9


def test_seeds_that_differ_widen_the_interval():
    clean = rng(1).random((3, 200))
    same, apart = (np.stack([clean, np.array(kept)[:, None] * clean]) for kept in ([0.6] * 3, [0.4, 0.6, 0.8]))
    width = [np.ptp(study(curve("a", v, rates=(0, 0.3))).retention()[["low", "high"]].iloc[1]) for v in (same, apart)]
    assert width[0] < 1e-9
    assert width[1] > 0.5, "three seeds: 4.3 standard errors of .115 to either side"


@pytest.mark.parametrize(
    ("curves", "words"),
    [
        (lambda: [], "no noise curves"),
        (lambda: [curve("a", planted(1, 1, 1)), curve("a", planted(1, 1, 1))], "is given twice"),
        (
            lambda: [curve("a", planted(1, 1, 1)), curve("b", planted(1, 1), rates=(0, 0.2))],
            r"of b under row_shuffle has rates \[0, 0.2\]; expected those of a",
        ),
        (
            lambda: [curve("a", planted(1, 1, 1)), curve("b", planted(1, 1, 1, seeds=3))],
            r"has \(3, 300\) seeds and users; expected \(2, 300\)",
        ),
        (lambda: [curve("a", planted(0, 1, 1))], "scores 0 for all users on clean data"),
        (lambda: [curve("a", planted(1, 1, 1)[0])], "expected .3, seeds, users."),
        (lambda: [curve("a", planted(1, 1, 1) * np.nan)], "are not finite"),
        (lambda: [curve("a", planted(1), rates=(0.0,))], "expected clean data, then rising noise"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(curves, words):
    with pytest.raises(UserError, match=words) as refused:
        Robustness(curves(), rng(), resamples=100)
    assert "\n" not in str(refused.value)


def test_one_model_has_nothing_to_differ_from():
    alone = study(curve("a", planted(1, 1, 1)))
    assert alone.differences().empty
    assert {"p_holm", "verdict"} <= set(alone.differences())
    assert alone.crossings().empty
