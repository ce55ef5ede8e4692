"""Pictures of printed numbers against ours, by their specification."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import plotly.io as pio
import pytest

from nbkit import plots
from nbkit.errors import UserError
from nbkit.plots.colors import BAD, GOOD, NEUTRAL


def rows() -> pd.DataFrame:
    lines = [
        (
            "Table II",
            "bpr",
            "baby",
            0.04,
            0.06,
            0.05,
            0.07,
            0.02,
            "baby, features reconstructed from published neighbours",
        ),
        ("Table II", "bpr", "sports", 0.05, 0.3, 0.2, 0.4, np.nan, "shop"),
        (
            "Table III",
            "h",
            "baby",
            0.09,
            0.08,
            0.07,
            0.1,
            -0.01,
            "baby, features reconstructed from published neighbours",
        ),
        ("Table III", "h", "video", 0.19, 0.2, 0.18, 0.22, 0.01, "video"),
    ]
    columns = ["exhibit", "row", "printed_for", "paper", "ours", "low", "high", "difference", "label"]
    return pd.DataFrame(lines, columns=columns)


def signs() -> pd.DataFrame:
    lines = [
        ("Table II", "bpr", "baby", "baby", -0.3, -0.2, -0.3, -0.1, "same sign"),
        ("Table II", "vbpr", "sports", "shop", 0.1, -0.2, -0.3, -0.1, "opposite sign"),
        ("Table III", "h", "baby", "shop", -0.1, 0.01, -0.1, 0.2, "not shown here"),
    ]
    columns = ["exhibit", "row", "printed_for", "data", "paper", "ours", "low", "high", "reading"]
    return pd.DataFrame(lines, columns=columns)


KINDS = {"paper_levels": (plots.paper_levels, rows), "paper_directions": (plots.paper_directions, signs)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_a_pure_function_of_its_table_with_a_panel_an_exhibit(kind):
    draw, table = KINDS[kind]
    frame = table()
    before = frame.copy(deep=True)
    fig = draw(frame, title="What is seen")
    pd.testing.assert_frame_equal(frame, before)
    assert fig.to_json() == draw(frame, title="What is seen").to_json()
    assert json.loads(pio.from_json(fig.to_json()).to_json()) == json.loads(fig.to_json())
    assert fig.layout.title.text == "What is seen"
    panels = [a.text.partition(":")[0] for a in fig.layout.annotations]
    assert list(dict.fromkeys(panels)) == ["Table II", "Table III"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_say_no_data_and_a_missing_column_is_one_line(kind):
    draw, table = KINDS[kind]
    assert [a.text for a in draw(table().iloc[:0]).layout.annotations] == ["no data"]
    with pytest.raises(UserError, match=f"{kind}: column 'exhibit' is missing"):
        draw(table().drop(columns="exhibit"))


def points(fig):
    return [t for t in fig.data if t.mode == "markers" and t.customdata is not None]


def test_levels_leave_out_what_is_of_other_data_and_tell_what_lies_outside():
    fig = plots.paper_levels(rows(), metric="recall@20")
    drawn = [(list(t.y), list(t.x), t.marker.color) for t in points(fig) if len(t.x)]
    assert drawn == [(["bpr"], [0.06], BAD), (["h"], [0.08], GOOD), (["h"], [0.2], GOOD)]
    assert points(fig)[1].error_x.arrayminus[0] == pytest.approx(0.01)
    colors = {t.y[0]: t.marker.color for t in points(plots.paper_levels(rows(), slack=0.3)) if len(t.x)}
    assert colors["bpr"] == GOOD, "a printed .04 is inside of .05 … .07 widened by .3 of it"
    assert next(t.marker.color for t in points(plots.paper_levels(rows(), slack=0.2)) if len(t.x)) == BAD
    printed = [(list(t.y), list(t.x)) for t in fig.data if t.marker.symbol == "diamond-open" and t.x[0] is not None]
    assert printed == [(["bpr"], [0.04]), (["h"], [0.09]), (["h"], [0.19])]
    other = rows().assign(difference=np.nan)
    assert [a.text for a in plots.paper_levels(other).layout.annotations] == [
        "all tested runs here are on other data than the papers'"
    ]


def test_sizes_of_data_are_no_levels():
    table = rows()
    sizes = table.iloc[:1].assign(exhibit="Table I", row="users", ours=19445, low=19445, high=19445, paper=19445)
    fig = plots.paper_levels(pd.concat([sizes, table]))
    assert "Table I: " not in " ".join(a.text for a in fig.layout.annotations)


def test_directions_are_per_cent_coloured_by_reading_and_open_where_the_data_is_another():
    fig = plots.paper_directions(signs())
    drawn = {t.customdata[0][0]: t for t in points(fig)}
    assert list(drawn["bpr"].x) == [-30]
    assert list(drawn["bpr"].y) == [-20]
    assert [drawn[name].marker.color for name in ("bpr", "vbpr", "h")] == [GOOD, BAD, NEUTRAL]
    assert [drawn[name].marker.symbol.endswith("-open") for name in ("bpr", "vbpr", "h")] == [False, True, True]
    named = [t.name for t in fig.data if t.showlegend is not False]
    assert named[:4] == ["same sign", "opposite sign", "not shown here", "within seed noise"]
    assert named[4:] == ["printed for baby", "printed for sports"]
    quarters = [s for s in fig.layout.shapes if s.type == "rect"]
    assert all(s.x0 * s.y0 >= 0 and s.x1 * s.y1 >= 0 for s in quarters), "both gaps have one sign there"
    assert len(quarters) == 4
