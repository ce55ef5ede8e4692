"""The picture of an ablation by its specification: panels, rows, colours, symbols, and what happens without data."""

from __future__ import annotations

import itertools
import json

import pandas as pd
import plotly.io as pio
import pytest

from nbkit import plots
from nbkit.errors import UserError
from nbkit.plots.colors import BAD, GOOD, NEUTRAL

VERDICTS = {"diff": "needed", "align": "better without", "h": "no difference shown"}


def effects(models=("diffcl", "jbm_diff"), noises=("clean", "drop_edges:0.2")) -> pd.DataFrame:
    rows = [
        (model, noise, part, 0.01 * place, 0.01 * place - 0.02, 0.01 * place + 0.01, 0.0001 if place else 0.3, verdict)
        for model, noise, (place, (part, verdict)) in itertools.product(models, noises, enumerate(VERDICTS.items()))
    ]
    columns = ["model", "noise", "without", "difference", "low", "high", "p_holm", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def drawn(fig):
    return [trace for trace in fig.data if trace.x[0] is not None]


def test_a_picture_is_a_pure_function_of_its_table_and_survives_being_written():
    frame = effects()
    before = frame.copy(deep=True)
    fig = plots.part_forest(frame, metric="recall@20", title="What is seen")
    pd.testing.assert_frame_equal(frame, before)
    assert fig.to_json() == plots.part_forest(frame, metric="recall@20", title="What is seen").to_json()
    assert json.loads(pio.from_json(fig.to_json()).to_json()) == json.loads(fig.to_json())
    assert fig.layout.title.text == "What is seen"
    assert fig.layout.xaxis2.title.text == "change of Recall@20 when left out, mean over users"


def test_no_rows_say_no_data_and_a_missing_column_is_one_line():
    assert [a.text for a in plots.part_forest(effects().iloc[:0]).layout.annotations] == ["no data"]
    with pytest.raises(UserError, match="part_forest: column 'verdict' is missing"):
        plots.part_forest(effects().drop(columns="verdict"))


def test_a_panel_a_model_with_a_row_for_each_part_and_noise_the_part_named_once():
    fig = plots.part_forest(effects())
    assert {trace.yaxis for trace in drawn(fig)} == {"y", "y2"}
    assert list(fig.layout.yaxis.ticktext) == ["without diff", "", "without align", "", "without h", ""]
    at = {(t.customdata[0][0], t.customdata[0][1]): list(t.y) for t in drawn(fig) if t.yaxis == "y"}
    assert at[("diff", "clean")] == [0]
    assert at[("diff", "drop_edges:0.2")] == [1]
    assert at[("h", "drop_edges:0.2")] == [5]
    assert fig.layout.height > plots.part_forest(effects(noises=("clean",))).layout.height
    assert [a.text for a in fig.layout.annotations if "p " not in a.text] == ["diffcl", "jbm_diff"]


def test_colours_are_verdicts_symbols_are_noise_and_limits_are_distances():
    fig = plots.part_forest(effects(models=("diffcl",)))
    by = {(t.customdata[0][0], t.customdata[0][1]): t for t in drawn(fig)}
    colors = {part: by[part, "clean"].marker.color for part in VERDICTS}
    assert colors == {"diff": GOOD, "align": BAD, "h": NEUTRAL}
    assert by["diff", "clean"].marker.symbol != by["diff", "drop_edges:0.2"].marker.symbol
    assert by["align", "clean"].error_x.array[0] == pytest.approx(0.01)
    assert by["align", "clean"].error_x.arrayminus[0] == pytest.approx(0.02)
    named = [t.name for t in fig.data if t.showlegend is not False]
    assert named == ["needed", "better without", "no difference shown", "clean", "drop_edges:0.2"]
    assert "p < 0.001" in {a.text for a in fig.layout.annotations}
    assert {shape.x0 for shape in fig.layout.shapes} == {0}


def test_clean_data_alone_needs_no_legend_of_noise():
    fig = plots.part_forest(effects(noises=("clean",)))
    assert [t.name for t in fig.data if t.showlegend is not False] == list(VERDICTS.values())
