"""When a validation curve shows that its training was stopped too early."""

from __future__ import annotations

import numpy as np
import pytest

from nbkit.training.curves import CHANCE, FEWEST, cut_short


def test_a_lucky_start_followed_by_slow_learning_was_cut_short():
    assert cut_short([0.04, *np.linspace(0.022, 0.034, 10)])


def test_a_curve_past_its_best_was_not():
    assert not cut_short([*np.linspace(0.0, 0.1, 20), *np.linspace(0.099, 0.08, 10)])


def test_the_rise_up_to_the_best_is_not_what_counts():
    rising = list(np.linspace(0.0, 0.1, 50))
    assert not cut_short(rising)
    assert not cut_short([*rising, *np.linspace(0.05, 0.09, FEWEST - 1)])
    assert cut_short([*rising, *np.linspace(0.05, 0.09, FEWEST)])


def test_spent_epochs_are_no_lack_of_patience():
    assert not cut_short([0.04, *np.linspace(0.022, 0.034, 10)], epochs_left=False)
    assert not cut_short([])


def test_noise_without_a_trend_is_seldom_taken_for_one():
    rng = np.random.default_rng(0)
    share = np.mean([cut_short([1.0, *rng.random(10)]) for _ in range(1000)])
    assert share == pytest.approx(CHANCE, abs=0.02)
