"""Pictures of robustness by their specification: panels, scales, rates, bands, and what happens without data."""

from __future__ import annotations

import itertools
import json
import math

import pandas as pd
import plotly.io as pio
import pytest

from nbkit import plots
from nbkit.errors import UserError

RATES = {
    "row_shuffle": ((0, 0), (0.05, 0.05), (0.2, 0.2)),
    "gaussian": ((math.inf, 0), (30, 10**-1.5), (10, 10**-0.5), (0, 1)),
}


def curves(operators=tuple(RATES), models=("vbpr", "freedom")) -> pd.DataFrame:
    rows = [
        (model, operator, rate, strength, 1 - 0.1 * strength, 0.9 - 0.1 * strength, 1.1 - 0.1 * strength)
        for operator in operators
        for model in models
        for rate, strength in RATES.get(operator, RATES["row_shuffle"])
    ]
    return pd.DataFrame(rows, columns=["model", "operator", "rate", "strength", "mean", "low", "high"])


def areas() -> pd.DataFrame:
    rows = [(m, o, 0.9, 0.8, 1.05) for o, m in itertools.product(RATES, ("vbpr", "freedom", "bpr"))]
    return pd.DataFrame(rows, columns=["model", "operator", "mean", "low", "high"])


def recovery() -> pd.DataFrame:
    tables = {"credibility": 0.8, "cosine text": 0.6, "credibility - cosine text": 0.2}
    rows = [
        (model, operator, rate, measure, table, value + (model == "vbpr") * (table == "credibility") * 0.1, 0.4, 0.95)
        for model, operator, rate, measure, (table, value) in itertools.product(
            ("vbpr", "freedom"), RATES, (0.2, 0.5), ("noise AUC", "noise AP"), tables.items()
        )
    ]
    return pd.DataFrame(rows, columns=["model", "operator", "rate", "measure", "table", "value", "low", "high"])


KINDS = {
    "retention_curves": (plots.retention_curves, curves),
    "quality_curves": (plots.quality_curves, curves),
    "retention_areas": (plots.retention_areas, areas),
    "noise_found": (plots.noise_found, recovery),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def lines(fig):
    return [trace for trace in fig.data if trace.fill is None]


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
    with pytest.raises(UserError, match=f"{kind}: column 'model' is missing"):
        draw(table().rename(columns=lambda name: name + "s"))


@every_kind
def test_each_operator_has_a_titled_panel_with_every_model_in_it(kind):
    draw, table = KINDS[kind]
    fig = draw(table())
    assert panel_titles(fig) == ["row shuffle", "gaussian"]
    named = {axis: [t.name for t in lines(fig) if t.xaxis == axis] for axis in ("x", "x2")}
    more = ["cosine text"] * (kind == "noise_found")
    assert named["x"] == named["x2"]
    assert set(named["x"]) == {*table()["model"], *more}
    assert len(set(named["x"])) == len(named["x"])


def test_lines_hold_the_means_over_strength_in_the_colours_of_the_models_above_all_bands():
    fig = plots.retention_curves(curves().iloc[::-1])
    vbpr = next(t for t in lines(fig) if t.name == "vbpr" and t.hovertemplate and len(t.x) == 3)
    assert list(vbpr.x) == [0, 0.05, 0.2]
    assert list(vbpr.y) == pytest.approx([1, 0.995, 0.98])
    assert vbpr.line.color == plots.model_color("vbpr")
    for axis in ("x", "x2"):
        fills = [trace.fill is not None for trace in fig.data if trace.xaxis == axis]
        assert fills == sorted(fills, reverse=True), "bands come first"


def test_a_band_runs_along_the_upper_limits_and_back_along_the_lower_and_hides_with_its_line():
    band, *_ = (t for t in plots.retention_curves(curves(["row_shuffle"], ["vbpr"])).data if t.fill)
    assert list(band.x) == [0, 0.05, 0.2, 0.2, 0.05, 0]
    assert list(band.y) == pytest.approx([1.1, 1.095, 1.08, 0.88, 0.895, 0.9])
    assert (band.legendgroup, band.showlegend, band.hoverinfo) == ("vbpr", False, "skip")


def test_each_model_is_in_the_legend_once_in_the_order_of_the_table():
    fig = plots.quality_curves(curves(models=("vbpr", "jbm_diff", "bpr")))
    assert [t.name for t in fig.data if t.showlegend is not False] == ["vbpr", "jbm_diff", "bpr"]


def test_rates_are_named_in_their_unit_where_there_is_room():
    fig = plots.retention_curves(curves())
    assert list(fig.layout.xaxis.ticktext) == ["clean", "5%", "20%"]
    assert list(fig.layout.xaxis2.ticktext) == ["clean", "", "10 dB", "0 dB"], "30 dB is 3 % of the way: no room"
    assert len(fig.layout.xaxis2.tickvals) == 4
    assert [fig.layout[axis].title.text for axis in ("xaxis", "xaxis2")] == ["rate of noise", "signal-to-noise ratio"]


def test_scales_are_shared_and_say_what_they_measure():
    kept, quality = plots.retention_curves(curves(), metric="ndcg@20"), plots.quality_curves(curves(), metric="ndcg@20")
    assert kept.layout.yaxis.title.text == "share of NDCG@20 kept"
    assert quality.layout.yaxis.title.text == "NDCG@20, mean over users"
    assert kept.layout.yaxis2.matches == "y"
    assert quality.layout.yaxis.rangemode == "tozero"
    assert {shape.y0 for shape in kept.layout.shapes} == {1}, "a line where nothing is lost"
    assert not quality.layout.shapes


def test_eight_operators_stand_in_three_rows_and_empty_places_are_not_drawn():
    from nbkit.data.corrupt import operators

    fig = plots.retention_curves(curves(tuple(operators())))
    assert fig.layout.height > 2.5 * plots.retention_curves(curves()).layout.height
    assert len(panel_titles(fig)) == 8
    assert fig.layout.xaxis9.visible is False
    assert fig.layout.xaxis8.visible is not False


def test_areas_have_intervals_as_limits_and_models_from_top_to_bottom():
    fig = plots.retention_areas(areas())
    first = fig.data[0]
    assert (first.y[0], first.x[0]) == ("vbpr", 0.9)
    assert (first.error_x.array[0], first.error_x.arrayminus[0]) == pytest.approx((0.15, 0.1))
    assert list(fig.layout.yaxis.categoryarray) == ["bpr", "freedom", "vbpr"]
    assert {shape.x0 for shape in fig.layout.shapes} == {1}


def test_noise_found_draws_each_credibility_and_every_cosine_once_against_chance():
    fig = plots.noise_found(recovery())
    drawn = {trace.name: list(trace.y) for trace in lines(fig) if trace.xaxis == "x"}
    assert drawn == {"vbpr": pytest.approx([0.9] * 2), "cosine text": [0.6] * 2, "freedom": [0.8] * 2}
    assert {shape.y0 for shape in fig.layout.shapes} == {0.5}
    nothing = recovery()
    assert panel_titles(plots.noise_found(nothing[nothing["measure"] == "noise AP"])) == ["no data"]
