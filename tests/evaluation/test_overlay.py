"""Claims about laying one space over another: what it undoes, what it cannot invent, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import pdist

from nbkit.errors import UserError
from nbkit.evaluation.overlay import Overlay, overlay_r2


def rng(seed=0):
    return np.random.default_rng(seed)


def frame(width, within, seed=5):
    """Orthonormal rows ``(width, within)``."""
    return np.linalg.qr(rng(seed).normal(size=(within, width)))[0].T


def test_an_overlay_undoes_a_rotation_a_scale_and_a_shift_also_for_rows_that_it_never_saw():
    table = rng().normal(size=(80, 5))
    reference = 3 * table @ frame(5, 12) + 7
    overlay = Overlay.fit(table[:60], reference[:60])
    np.testing.assert_allclose(overlay(table[60:]), reference[60:], atol=1e-9)


def test_an_overlay_keeps_the_proportions_of_all_distances_whatever_the_reference():
    table, reference = rng().normal(size=(30, 5)), rng(1).normal(size=(30, 9))
    ratio = pdist(Overlay.fit(table, reference)(table)) / pdist(table)
    assert ratio == pytest.approx(np.linalg.norm(reference - reference.mean(0)) / np.linalg.norm(table - table.mean(0)))


def test_the_rotation_is_scipys():
    table, reference = rng().normal(size=(30, 6)), rng(1).normal(size=(30, 6))
    expected, _ = orthogonal_procrustes(table - table.mean(0), reference - reference.mean(0))
    np.testing.assert_allclose(Overlay.fit(table, reference).rotation, expected, atol=1e-9)


def test_a_wide_table_is_laid_on_a_narrow_one_by_dropping_directions():
    reference = rng().normal(size=(50, 3))
    table = reference @ frame(3, 10)
    np.testing.assert_allclose(Overlay.fit(table, reference)(table), reference, atol=1e-9)


def test_held_out_agreement_is_one_for_the_same_shape_and_none_for_unrelated_tables():
    table, folds = rng().normal(size=(200, 6)), np.arange(200) % 5
    assert overlay_r2(table, 2 * table @ frame(6, 9) - 1, folds).mean() == pytest.approx(1)
    assert overlay_r2(table, rng(1).normal(size=(200, 9)), folds).mean() < 0.02


def test_held_out_agreement_is_the_share_of_signal_in_the_reference():
    table, folds = rng().normal(size=(4000, 6)), np.arange(4000) % 5
    reference = table @ frame(6, 6) + rng(1).normal(size=(4000, 6))  # half signal, half noise
    values = overlay_r2(table, reference, folds)
    assert values.shape == (4000,)
    assert values.mean() == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_laid_over_is_refused_in_one_line():
    with pytest.raises(UserError, match="overlay of 4 rows on 5; expected the same items in both"):
        Overlay.fit(np.eye(4), np.eye(5))
    with pytest.raises(UserError, match="whose rows are all equal"):
        Overlay.fit(np.ones((4, 2)), np.eye(4))
