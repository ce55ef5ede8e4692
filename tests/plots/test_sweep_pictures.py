"""Pictures of sweeps and searches by their specification: panels, scales, what is ringed, what is not invented."""

from __future__ import annotations

import json
import math

import pandas as pd
import plotly.io as pio
import pytest

from nbkit import plots
from nbkit.errors import UserError
from nbkit.plots.panels import Scale, legible

NAN = float("nan")


def curves() -> pd.DataFrame:
    values = {
        "contrast": [0.01, 0.1, 1.0],
        "layers": [1, 2, 3],
        "views": ["denoised", "noisy"],
        "drop": [0.0, 1e-5, 1.0],
    }
    rows = [
        (model, setting, value, 0.1 * n, 0.1 * n - 0.05, 0.1 * n + 0.02, n == 1)
        for setting, of in values.items()
        for model in ("diffcl", "jbm_diff")
        for n, value in enumerate(of)
    ]
    return pd.DataFrame(rows, columns=["model", "setting", "value", "mean", "low", "high", "start"])


def published() -> pd.DataFrame:
    rows = [("diffcl", "contrast", "Baby", 0.02, 0.2), ("diffcl", "contrast", "Video", 2.0, 2.0)]
    return pd.DataFrame(rows, columns=["model", "setting", "data", "low", "high"])


def slices() -> pd.DataFrame:
    scores, states = [0.1, 0.3, NAN, 0.2], ["done", "done", "pruned", "done"]
    values = {"contrast": [0.01, 0.2, 0.5, 1.0], "layers": [1, 1, 2, 2]}
    rows = [(setting, of[n], scores[n], n, states[n]) for setting, of in values.items() for n in (3, 1, 0, 2)]
    return pd.DataFrame(rows, columns=["setting", "value", "score", "trial", "state"]).astype({"value": object})


def importances() -> pd.DataFrame:
    rows = [("align", 0.2, 0.1, 0.3), ("contrast", 0.7, 0.6, 0.8)]
    return pd.DataFrame(rows, columns=["setting", "mean", "low", "high"])


KINDS = {
    "sweep_curves": (plots.sweep_curves, curves),
    "trial_slices": (plots.trial_slices, slices),
    "setting_importance": (plots.setting_importance, importances),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def panel_titles(fig):
    return [a.text for a in fig.layout.annotations]


@every_kind
def test_a_picture_is_a_pure_function_of_its_table_and_survives_being_written(kind):
    draw, table = KINDS[kind]
    frame = table()
    before = frame.copy(deep=True)
    first = draw(frame, title="What is seen")
    pd.testing.assert_frame_equal(frame, before)
    assert first.to_json() == draw(frame, title="What is seen").to_json()
    assert json.loads(pio.from_json(first.to_json()).to_json()) == json.loads(first.to_json())
    assert first.layout.title.text == "What is seen"
    assert first.layout.template.layout.font.size == 13


@every_kind
def test_no_rows_say_no_data_and_a_missing_column_is_one_line(kind):
    draw, table = KINDS[kind]
    assert panel_titles(draw(table().iloc[:0])) == ["no data"]
    with pytest.raises(UserError, match=f"{kind}: column 'setting' is missing"):
        draw(table().rename(columns={"setting": "name"}))


def test_each_setting_has_a_panel_with_every_model_above_all_bands_and_the_start_ringed():
    fig = plots.sweep_curves(curves(), metric="ndcg@20")
    assert panel_titles(fig) == ["contrast", "layers", "views", "drop"]
    for axis in ("x", "x2", "x3", "x4"):
        here = [trace for trace in fig.data if trace.xaxis == axis]
        fills = [trace.fill is not None for trace in here]
        assert fills == sorted(fills, reverse=True), "bands come first"
        assert [t.name for t in here if t.mode == "lines+markers"] == ["diffcl", "jbm_diff"]
        assert [t.y for t in here if t.name == "default"] == [(0.1,), (0.1,)]
    assert fig.layout.yaxis.title.text == "NDCG@20, mean over users"
    assert fig.layout.yaxis2.matches == "y"
    assert [t.name for t in fig.data if t.showlegend is not False] == ["diffcl", "jbm_diff"]


def test_scales_are_logarithmic_where_values_span_much_and_names_where_they_have_no_place():
    fig = plots.sweep_curves(curves())
    kinds = [fig.layout[axis].type for axis in ("xaxis", "xaxis2", "xaxis3", "xaxis4")]
    assert kinds == ["log", "linear", "category", "category"]
    assert list(fig.layout.xaxis4.categoryarray) == ["0", "1e-05", "1"]
    assert list(fig.layout.xaxis.tickvals) == [0.01, 0.1, 1.0]
    assert fig.data[0].x[:3] == (0.01, 0.1, 1.0)
    assert Scale([True, False]).kind == "category"
    assert Scale([0.0, 0.5]).kind == "linear"
    assert Scale([3.0]).kind == "linear"


def test_where_a_paper_is_highest_is_drawn_below_all_bands_and_has_no_height():
    fig = plots.sweep_curves(curves(), published=published())
    bars = [trace for trace in fig.data if str(trace.name).startswith("highest in the paper")]
    assert [(t.name, t.x, t.xaxis) for t in bars] == [
        ("highest in the paper, Baby", (0.02, 0.2), "x"),
        ("highest in the paper, Video", (2.0,), "x"),
    ]
    assert max(y for t in bars for y in t.y) < curves()["low"].min()
    assert len({t.y for t in bars}) == 2
    assert list(fig.layout.xaxis.tickvals) == [0.01, 0.1, 1.0], "ticks are at our values"


def test_trials_get_darker_the_best_is_ringed_and_pruned_ones_stand_at_the_bottom():
    fig = plots.trial_slices(slices(), metric="recall@20")
    first, ring, lost = (t for t in fig.data if t.xaxis == "x")
    assert (first.x, first.y) == ((0.01, 0.2, 1.0), (0.1, 0.3, 0.2))
    assert list(first.marker.color) == [0, 1, 3]
    assert (ring.x, ring.y) == ((0.2,), (0.3,))
    assert lost.x == (0.5,)
    assert lost.y[0] < 0.1, "below every score"
    assert [bool(t.marker.showscale) for t in fig.data if t.name == "finished"] == [True, False]
    assert fig.layout.yaxis.title.text == "validation Recall@20"
    assert panel_titles(plots.trial_slices(slices().assign(score=NAN))) == ["no data"]


def test_importances_stand_largest_on_top_with_intervals_as_limits_where_there_are_any():
    fig = plots.setting_importance(importances())
    (bars,) = fig.data
    assert list(bars.y) == ["contrast", "align"]
    assert fig.layout.yaxis.autorange == "reversed"
    assert list(bars.error_x.array) == pytest.approx([0.1, 0.1])
    (plain,) = plots.setting_importance(importances().assign(low=NAN, high=NAN)).data
    assert plain.error_x.array is None


def test_labels_of_ticks_do_not_stand_on_each_other():
    assert legible(["0.01", "0.1", "1"], [0, 0.5, 1], 3) == ["0.01", "0.1", "1"]
    assert legible(["0.6", "0.8", "1"], [0.89, 0.95, 1], 3) == ["0.6", "", "1"]
    assert legible(["1", "2"], [0, 1e-3], 1) == ["1", ""]
    many = [10 ** (-2 + n / 10) for n in range(21)]
    scale = Scale(many)
    fig = plots.trial_slices(
        pd.DataFrame({"setting": "s", "value": many, "score": 0.1, "trial": range(21), "state": "done"})
    )
    assert scale.kind == "log"
    assert list(fig.layout.xaxis.tickvals) == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    assert math.isclose(fig.layout.xaxis.tickvals[0], 0.01)
