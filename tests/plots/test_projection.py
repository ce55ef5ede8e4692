"""Claims about the fixed map: it never moves, a place depends on its row alone, and spaces are kept apart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.decomposition import PCA

from nbkit.errors import UserError
from nbkit.plots.projection import Atlas, FixedMap


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def table():
    return rng().normal(size=(50, 7)) * np.arange(7, 0, -1)


@pytest.fixture(params=["pca", "anchors"])
def fixed(request, table):
    """PCA's map, and one that places by fitted rows, as UMAP's does, without the time that UMAP takes."""
    if request.param == "pca":
        return FixedMap.fit(table)
    return FixedMap("umap", table.mean(0), anchors=table, places=rng(1).normal(size=(50, 2)))


def state(fixed):
    return {name: np.array(value).tolist() for name, value in vars(fixed).items() if name != "held"}


def test_placing_tables_never_changes_the_map(fixed, table):
    before, first = copy.deepcopy(state(fixed)), fixed.place(table)
    for level in (0.1, 1, 10):
        fixed.place(table + level * rng(2).normal(size=table.shape))
    assert state(fixed) == before
    assert np.array_equal(fixed.place(table), first)


def test_the_place_of_a_row_depends_on_nothing_but_the_row(fixed, table):
    others = rng(3).normal(size=(20, 7))
    together = fixed.place(np.concatenate([others, table]))[20:]
    assert np.array_equal(together, fixed.place(table))
    assert np.array_equal(together[::-1], fixed.place(table[::-1]))
    assert np.array_equal(together[[4]], fixed.place(table[[4]]))


def test_rows_that_noise_did_not_touch_stay_exactly_where_they_were(fixed, table):
    noisy = table.copy()
    noisy[::5] += rng(4).normal(size=(10, 7))
    moved = (fixed.place(noisy) != fixed.place(table)).any(axis=1)
    assert np.flatnonzero(moved).tolist() == list(range(0, 50, 5))


def test_the_pca_map_is_scikit_learns_up_to_signs_and_says_how_much_it_holds(table):
    fixed, oracle = FixedMap.fit(table), PCA(2).fit(table)
    expected = oracle.transform(table)
    signs = np.sign((expected * fixed.place(table)).sum(axis=0))
    np.testing.assert_allclose(fixed.place(table), expected * signs, atol=1e-9)
    assert fixed.held == pytest.approx(oracle.explained_variance_ratio_.sum())
    assert (pdist(fixed.place(table)) <= pdist(table) + 1e-9).all()


def test_signs_of_the_axes_do_not_depend_on_signs_of_the_singular_vectors(table):
    assert (FixedMap.fit(table).axes[np.abs(FixedMap.fit(table).axes).argmax(0), [0, 1]] > 0).all()


def test_between_fitted_rows_a_place_goes_over_into_theirs_without_a_jump(table):
    fixed = FixedMap("umap", table.mean(0), anchors=table, places=rng(1).normal(size=(50, 2)))
    step = rng(2).normal(size=7)
    gaps = [np.linalg.norm(fixed.place(table[[3]] + size * step) - fixed.places[3]) for size in (1e-1, 1e-3, 1e-6, 0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] == 0
    assert gaps[-2] < 1e-9


def test_tables_of_other_widths_get_a_place_in_the_reference_space_by_turning_alone(table):
    axes = np.linalg.qr(rng(6).normal(size=(12, 7)))[0].T  # the same items on 12 other axes
    atlas = Atlas.fit({"raw": table, "ids": table @ axes})
    places = atlas.place({"raw": table, "ids": table @ axes}).groupby("panel")[["x", "y"]]
    raw, ids = (places.get_group(name).to_numpy() for name in ("raw", "ids"))
    assert places.ngroups == 2
    np.testing.assert_allclose(ids, raw, atol=1e-9)


def test_an_atlas_is_fitted_on_clean_tables_and_noisy_ones_change_nothing_of_it(table):
    ids = rng(7).normal(size=(50, 4))
    atlas = Atlas.fit({"raw": table, "ids": ids})
    noisy = {"raw": table.copy(), "ids": ids.copy()}
    noisy["raw"][3], noisy["ids"][5] = 1, 1
    clean, after = atlas.place({"raw": table, "ids": ids}), atlas.place(noisy)
    moved = clean[(clean[["x", "y"]] != after[["x", "y"]]).any(axis=1)]
    assert list(zip(moved["panel"], moved["item"], strict=True)) == [("raw", 3), ("ids", 5)]


@pytest.mark.parametrize("reference", ["raw", "projected", "denoised"])
def test_what_denoising_moves_within_one_space_is_not_turned_away(table, reference):
    projected = rng(8).normal(size=(50, 5))
    denoised = projected @ np.linalg.qr(rng(9).normal(size=(5, 5)))[0]  # an overlay of its own would undo it
    tables = {"raw": table, "projected": projected, "denoised": denoised}
    atlas = Atlas.fit(tables, reference)
    assert set(atlas.overlays) == {"raw": {"projected"}}.get(reference, {"raw"})
    before, after = (atlas.in_reference(name, tables[name]) for name in ("projected", "denoised"))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (projected, denoised)]
    moved = np.linalg.norm(unit[1] - unit[0], axis=1)
    assert (moved > 0.1).all()
    ratio = np.linalg.norm(after - before, axis=1) / moved
    assert ratio == pytest.approx(ratio[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: FixedMap.fit(t, "umpa"), "unknown method 'umpa'; did you mean 'umap'"),
        (lambda t: FixedMap.fit(t[:2]), r"shape \(2, 7\); expected 3 × 2 finite numbers"),
        (lambda t: FixedMap.fit(np.ones((4, 4))), "rows are all equal"),
        (lambda t: FixedMap.fit(t).place(t[:, :5]), r"shape \(50, 5\); expected \(N, 7\), the map's own space"),
        (lambda t: Atlas.fit({"raw": t}, "row"), "no table 'row'; did you mean 'raw'"),
        (lambda t: Atlas.fit({"raw": t}).place({"rae": t}), "no table 'rae'; did you mean 'raw'"),
        (lambda t: Atlas.fit({"raw": t, "ids": t}).place({"ids": t[:, 1:]}), "'ids' has 6 columns; expected 7"),
    ],
)
def test_what_cannot_be_mapped_is_refused_in_one_line(table, call, message):
    with pytest.raises(UserError, match=message):
        call(table)


@pytest.mark.slow
def test_umap_shows_planted_groups_and_is_the_same_for_the_same_seed():
    group = np.arange(60) % 3
    rows = np.eye(3)[group] @ rng().normal(size=(3, 10)) * 5 + rng(1).normal(size=(60, 10))
    fixed, again = (FixedMap.fit(rows, "umap", seed=4) for _ in range(2))
    places = fixed.place(rows)
    assert np.array_equal(places, again.place(rows))
    assert np.array_equal(places, fixed.places)
    centres = np.stack([places[group == g].mean(0) for g in range(3)])
    nearest = ((places[:, None] - centres[None]) ** 2).sum(2).argmin(1)
    assert np.array_equal(nearest, group)
