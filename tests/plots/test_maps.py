"""Claims about pictures of the fixed map: what each panel shows, in which colours, and whose arrows are drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbkit import plots
from nbkit.errors import UserError
from nbkit.plots.colors import GREEN, NEUTRAL, VERMILLION
from nbkit.plots.maps import joined

PANELS = ["raw", "denoised", "fused"]


def points(items=12):
    rng = np.random.default_rng(0)
    frames = [
        pd.DataFrame({"panel": name, "item": range(items), "x": rng.normal(size=items), "y": rng.normal(size=items)})
        for name in PANELS
    ]
    table = pd.concat(frames, ignore_index=True)
    return table.assign(
        name="thing " + table["item"].astype(str),
        category=table["item"].map(lambda i: "abc"[i % 3]),
        clicks=table["item"] * 10,
        touched=table["item"] < 3,
    )


def moves(items=12):
    return points(items).drop(columns="touched").assign(x_to=lambda f: f.x + f.item / 10, y_to=lambda f: f.y)


def arrows(fig):
    return [trace for trace in fig.data if trace.mode == "lines+markers"]


def test_all_panels_show_all_items_on_equal_and_square_axes():
    fig = plots.item_map(points(), "category")
    assert [a.text for a in fig.layout.annotations] == [f"<b>{name}</b>" for name in PANELS]
    for number in range(3):
        axis = "x" if not number else f"x{number + 1}"
        assert sum(len(t.x) for t in fig.data if t.xaxis == axis) == 12
    assert {axis.matches for axis in fig.select_xaxes()} <= {"x", None}
    assert {axis.matches for axis in fig.select_yaxes()} <= {"y", None}
    assert {axis.scaleratio for axis in fig.select_yaxes()} == {1}


def test_a_group_has_one_colour_and_one_entry_of_the_legend_in_all_panels():
    fig = plots.item_map(points(), "category")
    colors = {}
    for trace in fig.data:
        colors.setdefault(trace.name, set()).add(trace.marker.color)
    assert list(colors) == ["a", "b", "c"]
    assert all(len(own) == 1 for own in colors.values())
    assert [t.name for t in fig.data if t.showlegend] == ["a", "b", "c"]


def test_groups_called_after_colours_are_drawn_in_them():
    table = points().assign(category=lambda f: f["item"].map(lambda i: ("green", "purple", "red")[i % 3]))
    entries = {t.name: t.marker.color for t in plots.item_map(table, "category").data if t.showlegend}
    assert entries == {"green": GREEN, "purple": "#6A5ACD", "red": VERMILLION}


def test_small_groups_beyond_the_palette_are_grey_together():
    table = points(40).assign(category=lambda f: f["item"].map(lambda i: f"g{i % 11:02d}"))
    fig = plots.item_map(table, "category", most=4)
    entries = {t.name: t.marker.color for t in fig.data if t.showlegend}
    assert list(entries) == ["g00", "g01", "g02", "g03", "other"]
    assert entries["other"] == NEUTRAL


def test_counts_are_drawn_on_one_logarithmic_scale_whose_ticks_are_counts():
    fig = plots.item_map(points(), "clicks", log=True, label="training clicks")
    for trace in fig.data:
        np.testing.assert_allclose(trace.marker.color, np.log10(1 + np.arange(12) * 10))
        assert trace.marker.coloraxis == "coloraxis"
    bar = fig.layout.coloraxis.colorbar
    np.testing.assert_allclose(10 ** np.array(bar.tickvals) - 1, [int(t) for t in bar.ticktext], atol=1e-9)
    assert bar.title.text == "training clicks"


def test_touched_items_are_told_from_untouched_ones_and_lie_on_top():
    fig = plots.item_map(points(), "touched")
    first = [t for t in fig.data if t.xaxis == "x"]
    assert [(t.name, len(t.x)) for t in first] == [("untouched", 9), ("touched by noise", 3)]


def test_the_pointer_tells_an_items_name_and_its_number_where_it_has_none():
    assert plots.item_map(points(), "category").data[0].text[0] == "thing 0"
    assert plots.item_map(points().drop(columns="name"), "category").data[0].text[0] == "item 0"


def test_notes_stand_under_the_panels_names():
    fig = plots.item_map(points(), "category", notes={"raw": "trust .8"})
    assert [a.text for a in fig.layout.annotations][:2] == ["<b>raw</b><br><sup>trust .8</sup>", "<b>denoised</b>"]


def test_arrows_lead_from_before_to_after_and_everybody_is_a_dot():
    fig = plots.movement_map(moves(), show=100)
    drawn = arrows(fig)
    assert len(drawn) == 3
    x = np.reshape(drawn[0].x, (-1, 3))
    assert x.shape == (11, 3), "item 0 does not move and has no arrow"
    first = moves().iloc[1:12]
    np.testing.assert_allclose(x[:, 0], first["x"])
    np.testing.assert_allclose(x[:, 1], first["x_to"])
    assert np.isnan(x[:, 2]).all(), "arrows are apart"
    assert list(drawn[0].marker.size[:3]) == [0, 7, 0]
    assert [len(t.x) for t in fig.data if t.name == "before"] == [12] * 3


def test_the_same_few_items_have_arrows_everywhere_from_the_stillest_to_the_farthest():
    fig = plots.movement_map(moves(40), show=5)
    named = [list(dict.fromkeys(trace.text)) for trace in arrows(fig)]
    assert named[0] == named[1] == named[2]
    assert len(named[0]) == 5
    assert {"thing 1", "thing 39"} <= set(named[0])


def test_only_touched_items_have_arrows_where_the_table_says_who_was_touched():
    fig = plots.movement_map(moves().assign(touched=lambda f: f["item"] < 3))
    assert set(arrows(fig)[0].text) == {"thing 1", "thing 2"}


def test_arrows_are_coloured_by_group_with_one_entry_each():
    fig = plots.movement_map(moves(), color="category")
    assert [t.name for t in fig.data if t.showlegend] == ["before", "a", "b", "c"]
    with pytest.raises(UserError, match="column 'clicks' holds numbers; expected groups"):
        plots.movement_map(moves(), color="clicks")


def test_places_before_and_after_are_joined_by_panel_and_item():
    after = points().sample(frac=1, random_state=0).assign(x=lambda f: f.x + 1)
    table = joined(points(), after)
    np.testing.assert_allclose(table["x_to"], points()["x"] + 1)
    assert (table["y_to"] == points()["y"]).all()


def test_a_place_that_is_no_number_is_refused_with_its_row():
    table = points()
    table.loc[4, "y"] = np.nan
    with pytest.raises(UserError, match="item_map: column 'y' is nan in row 4; expected finite numbers"):
        plots.item_map(table, "category")
