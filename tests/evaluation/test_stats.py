"""What the statistics say: by hand, by symmetry, and in one line when they cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.evaluation.stats import (
    compare_all,
    hierarchical_difference,
    holm,
    mean_interval,
    paired_difference,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def recall_like(generator: np.random.Generator, users: int, mean: float = 0.1) -> np.ndarray:
    """Mostly zero, a few fractions: what recall@20 per user looks like, with the given mean."""
    found = generator.random(users) < mean / 0.65
    return np.where(found, generator.choice([1, 0.5, 1 / 3, 0.7666666], users), 0)


# --- what the functions say ---


def test_paired_difference_by_hand() -> None:
    a, b = np.array([1.0, 0.5, 0.5, 0.0, np.nan]), np.array([0.0, 0.5, 0.0, 0.25, np.nan])
    result = paired_difference(a, b, rng(), resamples=1_000)
    assert result.difference == pytest.approx(1.25 / 4)
    assert (result.win, result.tie, result.loss, result.n) == (2, 1, 1, 4)
    assert result.effect == pytest.approx(0.3125 / np.std([1, 0, 0.5, -0.25], ddof=1))
    assert result.p == result.p_sign_flip == 4 / 8  # of ±1 ±.5 ±.25, four sums reach 1.25
    assert result.p_wilcoxon == scipy.stats.wilcoxon([1, 0.5, -0.25]).pvalue
    assert result.low < result.difference < result.high
    assert "one seed" in result.note


def test_equal_models_give_p_1_and_no_warning() -> None:
    scores = recall_like(rng(), 50)
    for result in (
        paired_difference(scores, scores, rng(), resamples=200),
        hierarchical_difference(np.stack([scores] * 3), np.stack([scores] * 3), rng(), resamples=200),
    ):
        assert (result.difference, result.low, result.high, result.effect) == (0, 0, 0, 0)
        assert result.p == result.p_sign_flip == result.p_wilcoxon == 1
        assert result.tie == 50


def test_a_constant_difference_and_a_single_user_are_no_accident() -> None:
    constant = paired_difference(np.full(30, 0.5), np.full(30, 0.25), rng(), resamples=200)
    assert (constant.low, constant.high, constant.effect) == (0.25, 0.25, np.inf)
    single = paired_difference(np.array([1.0]), np.array([0.0]), rng(), resamples=200)
    assert (single.low, single.high, single.p, single.n) == (1, 1, 1, 1)


def test_swapping_the_models_mirrors_the_result() -> None:
    generator = rng(9)
    a, b = recall_like(generator, 300, 0.2), recall_like(generator, 300, 0.1)
    forth, back = paired_difference(a, b, rng()), paired_difference(b, a, rng())
    assert forth.difference == pytest.approx(-back.difference)
    assert (forth.win, forth.loss, forth.p_sign_flip) == (back.loss, back.win, back.p_sign_flip)
    assert forth.low == pytest.approx(-back.high, abs=0.004)


def test_the_order_of_users_does_not_matter() -> None:
    generator = rng(10)
    scores, order = generator.random(100), generator.permutation(100)
    first, second = (
        mean_interval(scores, rng(), resamples=500),
        mean_interval(scores[order], rng(), resamples=500),
    )
    assert (first.low, first.high) == pytest.approx((second.low, second.high), rel=1e-12)


def test_one_seed_of_a_hierarchy_is_the_paired_difference() -> None:
    a, b = rng(11).random((2, 1, 40))
    assert hierarchical_difference(a, b, rng(), resamples=300) == paired_difference(a[0], b[0], rng(), resamples=300)


def test_disagreeing_seeds_widen_the_interval() -> None:
    generator = rng(12)
    b = generator.random((4, 200))
    same = hierarchical_difference(b + 0.05 + 0.1 * generator.normal(size=(4, 200)), b, rng(), resamples=2_000)
    shifts = np.array([[-0.1], [0.2], [-0.05], [0.15]])
    apart = hierarchical_difference(b + shifts + 0.1 * generator.normal(size=(4, 200)), b, rng(), resamples=2_000)
    assert apart.high - apart.low > 5 * (same.high - same.low)
    assert same.p < 0.01
    assert apart.p > 0.2 > apart.p_sign_flip  # over users alone it looks certain
    assert "two seeds" in hierarchical_difference(b[:2], b[2:], rng(), resamples=200).note


def test_an_interval_over_seeds_and_users_is_that_of_the_difference_from_nothing() -> None:
    scores = rng(5).random((3, 60)) + rng(6).normal(size=(3, 1))
    interval = mean_interval(scores, rng(), resamples=500)
    difference = hierarchical_difference(scores, np.zeros((3, 60)), rng(), resamples=500)
    assert (interval.mean, interval.low, interval.high) == (difference.difference, difference.low, difference.high)
    unknown = np.insert(scores, 7, np.nan, axis=1)
    assert mean_interval(unknown, rng(), resamples=500) == interval
    unknown[1, 7] = 0.5
    with pytest.raises(UserError, match="user row 7 is scored in one run and nan in another"):
        mean_interval(unknown, rng(), resamples=500)


def test_where_users_agree_seeds_are_judged_by_students_t() -> None:
    shifts = np.array([0.1, 0.2, 0.45])
    result = hierarchical_difference(np.repeat(shifts[:, None], 50, 1), np.zeros((3, 50)), rng(), resamples=40_000)
    student = scipy.stats.ttest_1samp(shifts, 0)
    expected = student.confidence_interval()
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=0.03)
    assert result.p == pytest.approx(student.pvalue, abs=0.01)


def test_users_whose_seeds_cancel_are_ties() -> None:
    d = np.array([[0.1, 0.5], [0.2, 0.5], [-0.3, 0.5]])  # 0.1 + 0.2 - 0.3 is not 0 in floating point
    result = hierarchical_difference(d, np.zeros((3, 2)), rng(), resamples=200)
    assert (result.win, result.tie, result.loss) == (1, 1, 0)


# --- Holm ---


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert holm({"a": 0.5, "b": 0.6, "c": 0.01}) == pytest.approx({"a": 1.0, "b": 1.0, "c": 0.03})
    assert holm({}) == {}
    with pytest.raises(UserError, match=r"p-value is 1\.5"):
        holm(np.array([0.5, 1.5]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p_values: list[float]) -> None:
    raw = np.array(p_values)
    adjusted = holm(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1, raw * len(raw)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
    assert adjusted[raw.argmin()] == pytest.approx(min(1, raw.min() * len(raw)))


# --- many models ---


def long_table(values: dict[str, np.ndarray]) -> pd.DataFrame:
    """Scores by model, (S, U), as one long table in mixed order."""
    parts = [
        pd.DataFrame({"model": model, "seed": seed, "user": [f"u{n}" for n in range(len(row))], "value": row})
        for model, table in values.items()
        for seed, row in enumerate(table)
    ]
    return (
        pd.concat(parts).sample(frac=1, random_state=0).sort_values("model", kind="stable", key=lambda m: m != "base")
    )


def three_models(seeds: int = 3, users: int = 150) -> dict[str, np.ndarray]:
    generator = rng(13)
    base = generator.random((seeds, users))
    noise = 0.1 * generator.normal(size=(3, seeds, users))
    return {
        "base": base,
        "good": base + 0.1 + noise[0],
        "bad": base - 0.1 + noise[1],
        "same": base + noise[2],
    }


def test_compare_all_words_a_verdict_for_every_model_against_the_baseline() -> None:
    models = three_models()
    table = compare_all(long_table(models), "base", rng(), resamples=1_000).set_index("model")
    assert set(table["other"]) == {"base"}
    assert table["verdict"].to_dict() == {"good": "better", "bad": "worse", "same": "no difference shown"}
    assert table.loc["good", "difference"] == pytest.approx((models["good"] - models["base"]).mean())
    assert table.loc["good", "mean"] - table.loc["good", "other_mean"] == pytest.approx(table.loc["good", "difference"])
    assert table["p_holm"].to_dict() == pytest.approx(holm(table["p"].to_dict()))
    assert (table["seeds"] == 3).all()


def test_compare_all_without_a_baseline_takes_every_pair_once() -> None:
    table = compare_all(long_table(three_models(1)), None, rng(), resamples=200)
    pairs = {frozenset(pair) for pair in zip(table["model"], table["other"], strict=True)}
    assert len(table) == len(pairs) == 6
    assert table["note"].str.contains("one seed").all()


def test_users_are_matched_by_id_not_by_row() -> None:
    scores = long_table(three_models())
    again = compare_all(scores.sample(frac=1, random_state=1), "base", rng(), resamples=200).set_index("model")
    first = compare_all(scores, "base", rng(), resamples=200).set_index("model")
    pd.testing.assert_series_equal(first["win"], again["win"].loc[first.index])
    pd.testing.assert_series_equal(first["effect"], again["effect"].loc[first.index])


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda s: s.drop(columns="seed"), "scores lack column 'seed'"),
        (
            lambda s: s[~((s.model == "good") & (s.seed == 1) & (s.user == "u7"))],
            "'good', seed 1 lacks user u7",
        ),
        (
            lambda s: s.assign(user=s.user.where((s.user != "u7") | (s.model != "bad"), "a7")),
            "'bad', seed 0 has user a7",
        ),
        (
            lambda s: s[~((s.model == "bad") & (s.seed == 2))],
            "model 'bad' has seeds 0, 1; expected those of 'base': 0, 1, 2",
        ),
        (
            lambda s: pd.concat([s, s[(s.model == "bad") & (s.seed == 2) & (s.user == "u3")]]),
            "'bad', seed 2, user u3 twice",
        ),
        (lambda s: s[s.model == "base"], "scores hold 1 model"),
        (lambda s: s[:0], "scores hold 0 model"),
        (lambda s: s.assign(value=s.value.where((s.user != "u4") | (s.model != "good"))), "nan in another"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line(spoil, line: str) -> None:
    with pytest.raises(UserError) as error:
        compare_all(spoil(long_table(three_models())), "base", rng(), resamples=200)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_baseline_and_unequal_arrays_are_refused() -> None:
    with pytest.raises(UserError, match="unknown baseline 'bse'; did you mean 'base'"):
        compare_all(long_table(three_models()), "bse", rng())
    with pytest.raises(UserError, match=r"shape \(3,\) and \(4,\)"):
        paired_difference(np.zeros(3), np.zeros(4), rng())
    with pytest.raises(UserError, match="no user has a score"):
        mean_interval(np.full(3, np.nan), rng())
    with pytest.raises(UserError, match="level is 95"):
        mean_interval(np.zeros(3), rng(), level=95)
    with pytest.raises(UserError, match="resamples is 10"):
        mean_interval(np.zeros(3), rng(), resamples=10)
