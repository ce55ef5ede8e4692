"""Bootstrap and sign flips against exact enumeration and SciPy."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.evaluation.resampling import bootstrap_means, sign_flip_p
from nbkit.evaluation.stats import mean_interval


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("copies", [1, 20], ids=["each drawn", "drawn by number"])
def test_bootstrap_means_follow_the_exact_distribution(copies: int) -> None:
    values = np.array([0.0, 1.0, 5.0])
    means = bootstrap_means(np.repeat(values, copies), 40_000, rng())
    if copies == 1:  # all 27 samples of three
        exact = dict.fromkeys(map(sum, itertools.product(values, repeat=3)), 0.0)
        for sample in itertools.product(values, repeat=3):
            exact[sum(sample)] += 1 / 27
        for total, share in exact.items():
            assert np.isclose(means * 3, total).mean() == pytest.approx(share, abs=0.01)
    assert means.mean() == pytest.approx(2, abs=5 * values.std() / np.sqrt(3 * copies * 40_000))
    assert means.var() == pytest.approx(values.var() / (3 * copies), rel=0.03)


def test_a_resample_may_miss_the_only_user_who_scored() -> None:
    means = bootstrap_means(np.append(np.zeros(50), 5.1), 40_000, rng())
    for times in range(3):
        expected = scipy.stats.binom(51, 1 / 51).pmf(times)
        assert np.isclose(means, 0.1 * times).mean() == pytest.approx(expected, abs=0.01)


def test_bootstrap_means_agree_with_scipy_where_some_values_are_shared_and_some_are_not() -> None:
    generator = rng(1)
    values = np.concatenate([generator.choice([0, 0, 0, 0.5, 1], 150), generator.exponential(size=10)])
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=generator)
    ours = bootstrap_means(values, 20_000, generator)
    assert scipy.stats.ks_2samp(ours, theirs.bootstrap_distribution).pvalue > 0.01


def test_bca_interval_agrees_with_scipy_on_skewed_scores() -> None:
    values = rng(2).exponential(size=25) ** 2
    theirs = scipy.stats.bootstrap((values,), np.mean, n_resamples=50_000, method="BCa", rng=rng(3))
    ours = mean_interval(values, rng(4), resamples=50_000)
    step = theirs.standard_error
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * step)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.06 * step)
    symmetric = np.quantile(bootstrap_means(values, 50_000, rng(5)), [0.025, 0.975])
    assert ours.high > symmetric[1] + 0.2 * step  # the correction for skewness is there


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 1 / 3, 0.5, 1.0, 2.0]), min_size=2, max_size=9))
@settings(deadline=None, max_examples=40)
def test_few_users_get_the_exact_sign_flip_p(differences: list[float]) -> None:
    d = np.array(differences)
    flips = np.array(list(itertools.product([-1, 1], repeat=len(d))))
    exact = (np.abs(flips @ d) >= abs(d.sum()) - 1e-9).mean()
    assert sign_flip_p(d, 100, rng()) == pytest.approx(exact, abs=1e-12)


def test_exact_sign_flip_p_equals_scipy() -> None:
    d = rng(6).normal(0.4, 1, size=11)
    theirs = scipy.stats.permutation_test(
        (d,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert sign_flip_p(d, 100, rng()) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_many_users_get_a_monte_carlo_p_close_to_the_exact_one_and_never_0() -> None:
    d = np.append(rng(7).normal(0.4, 1, size=17), np.zeros(5))
    flips = ((np.arange(2**17)[:, None] >> np.arange(17)) & 1) * 2.0 - 1
    exact = (np.abs(flips @ d[:17]) >= abs(d.sum()) - 1e-9).mean()
    assert sign_flip_p(d, 40_000, rng()) == pytest.approx(exact, abs=4 * np.sqrt(exact / 40_000))
    assert sign_flip_p(np.ones(100), 999, rng()) == 1 / 1000


def test_memory_stays_bounded_with_many_users() -> None:
    scores = rng(8).random(20_000)
    tracemalloc.start()
    mean_interval(scores, rng(), resamples=1_000)
    sign_flip_p(scores - 0.5, 1_000, rng())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # all draws at once would take 160 MB
