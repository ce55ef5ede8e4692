"""The statistics judged on data whose truth is known: how often they are right over simulated data sets.

Bounds lie about four standard errors from the nominal rate; every generator is seeded.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbkit.evaluation.stats import compare_all, hierarchical_difference, mean_interval, paired_difference


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def recall_like(generator: np.random.Generator, users: int, mean: float = 0.1) -> np.ndarray:
    """Mostly zero, a few fractions: what recall@20 per user looks like, with the given mean."""
    found = generator.random(users) < mean / 0.65
    return np.where(found, generator.choice([1, 0.5, 1 / 3, 0.7666666], users), 0)


def test_intervals_of_skewed_scores_cover_their_mean_about_95_times_in_100() -> None:
    generator = rng(20)
    truth = 0.2
    inside = [
        (i := mean_interval(recall_like(generator, 150, truth), generator, resamples=400)).low <= truth <= i.high
        for _ in range(400)
    ]
    assert 0.91 <= np.mean(inside) <= 0.985


def test_tests_of_equal_models_reject_about_5_times_in_100() -> None:
    generator = rng(21)
    results = [
        paired_difference(recall_like(generator, 60, 0.3), recall_like(generator, 60, 0.3), generator, resamples=199)
        for _ in range(400)
    ]
    for name in ("p_sign_flip", "p_wilcoxon"):
        rejected = np.mean([getattr(result, name) <= 0.05 for result in results])
        assert 0.015 <= rejected <= 0.095, name


@pytest.mark.parametrize(("seeds", "lowest"), [(3, 0.915), (10, 0.905)])
def test_over_seeds_and_users_intervals_cover_and_p_keeps_its_level(seeds: int, lowest: float) -> None:
    # users differ in how they take the change, seeds differ, and both vary together
    generator = rng(22)
    covered, rejected = [], []
    for _ in range(300):
        users, shifts = 0.5 * generator.normal(size=100), 0.1 * generator.normal(size=(seeds, 1))
        d = 0.3 + users + shifts + 0.5 * generator.normal(size=(seeds, 100))
        result = hierarchical_difference(d, np.zeros_like(d), generator, resamples=300)
        covered.append(result.low <= 0.3 <= result.high)
        rejected.append(hierarchical_difference(d - 0.3, np.zeros_like(d), generator, resamples=300).p <= 0.05)
    assert np.mean(covered) >= lowest  # drawing users anew within each seed covers 85 % (S = 3) and 70 % (S = 10)
    assert np.mean(rejected) <= 0.09


def test_a_planted_difference_is_found() -> None:
    generator = rng(23)
    found = []
    for _ in range(100):
        base = recall_like(generator, 200, 0.2)
        better = np.where(generator.random(200) < 0.1, np.minimum(1, base + 0.5), base)
        result = paired_difference(better, base, generator, resamples=199)
        found.append(result.p <= 0.05 and result.low > 0 and result.p_wilcoxon <= 0.05)
    assert np.mean(found) >= 0.97


def test_holm_holds_the_chance_of_any_false_verdict_near_5_in_100() -> None:
    generator = rng(24)
    wrong = []
    for _ in range(120):
        users, models = np.tile(np.arange(30), 6), np.repeat(["base", "a", "b", "c", "d", "e"], 30)
        scores = pd.DataFrame({"model": models, "seed": 0, "user": users, "value": generator.random(180)})
        table = compare_all(scores, "base", generator, resamples=199)
        wrong.append((table["verdict"] != "no difference shown").any())
    assert np.mean(wrong) <= 0.12  # without adjustment it is 0.2
