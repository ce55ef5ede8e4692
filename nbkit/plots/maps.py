"""Items on one fixed map: the same picture for each table side by side, and who moved where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.errors import UserError
from nbkit.plots.colors import BLUE, GOLD, GREEN, GREY, NEUTRAL, ORANGE, PALETTE, PINK, VERMILLION
from nbkit.plots.theme import figure, need, no_data

_PLAIN = [color for color in PALETTE if color != GREY]  # grey is for what has no colour of its own
# Groups that are called after colours get those: a green dot that is called purple is not read but deciphered.
_NAMED = {"red": VERMILLION, "orange": ORANGE, "yellow": GOLD, "green": GREEN, "blue": BLUE, "purple": "#6A5ACD"}
_NAMED |= {"pink": PINK, "brown": "#8C6D46", "grey": GREY, "gray": GREY}
_TOUCHED = {False: ("untouched", NEUTRAL), True: ("touched by noise", VERMILLION)}


def item_map(
    points: pd.DataFrame,
    color: str,
    *,
    log: bool = False,
    label: str = "",
    notes: Mapping[str, str] | None = None,
    most: int = 9,
    title: str = "Items on one map",
) -> go.Figure:
    """Small multiples of one map, equal axes in all: each panel shows the same items, as another table has them.

    ``points`` has columns panel, item, x, y, as :meth:`nbkit.plots.projection.Atlas.place` gives them, ``color`` and
    optionally name (for the pointer). Numbers are drawn by a scale (``log`` of 1 + the number, for counts), truth
    values as touched by noise or not, anything else as groups: the ``most`` largest, the rest in grey. ``notes`` is a
    second line over a panel.

    Raises:
        UserError: a missing column, or a place that is not finite.
    """
    if points.empty:
        return no_data(title)
    need(points, ["panel", "item", "x", "y", color], "item_map")
    _finite(points, ["x", "y"], "item_map")
    panels = list(dict.fromkeys(points["panel"]))
    fig = _panels(panels, notes or {}, title)
    label = label or color
    groups = color_groups(points[color], most)
    for number, panel in enumerate(panels):
        part = points[points["panel"] == panel]
        place = {"row": 1, "col": number + 1}
        if groups is None:
            value = part[color].astype(float)
            marker = {"color": np.log10(1 + value) if log else value, "coloraxis": "coloraxis", "size": 5}
            hover = f"%{{text}}<br>{label}: %{{customdata:,}}<extra></extra>"
            _dots(fig, part, marker, place, customdata=value, hovertemplate=hover, showlegend=False)
            continue
        for name, ink in groups.items():
            own = part[in_groups(part[color], groups) == name]
            marker = {"color": ink, "size": 5}
            look = {"name": name, "legendgroup": name, "showlegend": _new(fig, name)}
            look["customdata"] = own[color].astype(str)
            _dots(fig, own, marker, place, hovertemplate="%{text}<br>%{customdata}<extra></extra>", **look)
    if groups is None:
        fig.update_layout(coloraxis=_scale(points[color].astype(float), log, label))
    return fig.update_layout(legend={"title": {"text": label}, "itemsizing": "constant"})


def movement_map(
    moves: pd.DataFrame,
    *,
    color: str | None = None,
    show: int = 40,
    notes: Mapping[str, str] | None = None,
    title: str = "Who moved",
) -> go.Figure:
    """Arrows from each item's place before to its place after, on the map of :func:`item_map`; all items as dots.

    ``moves`` has columns panel, item, x, y (before), x_to, y_to (after), optionally name, ``color`` (groups) and
    touched (whether a row may have an arrow). Only ``show`` items have arrows, the same in all panels: evenly spread
    from the one that moves least on the map to the one that moves most, all panels counted, so that the picture is fair
    to both.

    Raises:
        UserError: a missing column, or a place that is not finite.
    """
    if moves.empty:
        return no_data(title)
    ends = ["x", "y", "x_to", "y_to"]
    need(moves, ["panel", "item", *ends, *([color] if color else [])], "movement_map")
    _finite(moves, ends, "movement_map")
    panels = list(dict.fromkeys(moves["panel"]))
    fig = _panels(panels, notes or {}, title)
    able = moves[moves["touched"]] if "touched" in moves else moves
    distance = pd.Series(np.hypot(able["x_to"] - able["x"], able["y_to"] - able["y"]), index=able.index)
    length = distance.groupby(able["item"]).sum()
    order = length[length > 0].sort_values(kind="stable").index
    drawn = order[np.unique(np.linspace(0, len(order) - 1, min(show, len(order))).round().astype(int))]
    groups = color_groups(moves[color], 9) if color else {"moved": VERMILLION}
    if groups is None:
        raise UserError(f"movement_map: column {color!r} holds numbers; expected groups")
    for number, panel in enumerate(panels):
        part, place = moves[moves["panel"] == panel], {"row": 1, "col": number + 1}
        faint = {"color": NEUTRAL, "size": 3.5, "opacity": 0.45}
        still = {"name": "before", "legendgroup": "before", "showlegend": _new(fig, "before")}
        _dots(fig, part, faint, place, hovertemplate="%{text}<extra></extra>", **still)
        chosen = part[part["item"].isin(drawn)]
        for name, ink in groups.items():
            own = chosen[in_groups(chosen[color], groups) == name] if color else chosen
            if len(own):
                _arrows(fig, own, name, ink, place)
    return fig.update_layout(legend={"itemsizing": "constant"})


def joined(before: pd.DataFrame, after: pd.DataFrame, on: Sequence[str] = ("panel", "item")) -> pd.DataFrame:
    """Places before and after as one table of moves: the columns of ``before``, and x_to, y_to."""
    later = after[[*on, "x", "y"]].rename(columns={"x": "x_to", "y": "y_to"})
    return before.merge(later, on=list(on), how="inner", validate="one_to_one")


def _panels(panels: list[Any], notes: Mapping[str, str], title: str) -> go.Figure:
    heads = [f"<b>{name}</b>" + (f"<br><sup>{notes[name]}</sup>" if name in notes else "") for name in panels]
    side = {1: 420, 2: 360, 3: 300}.get(len(panels), 240)  # pixels of a panel
    fig = make_subplots(
        rows=1,
        cols=len(panels),
        subplot_titles=heads,
        horizontal_spacing=0.012,
        shared_xaxes="all",
        shared_yaxes="all",
        figure=figure(height=side + (136 if notes else 120)),
    )
    # No ticks: such axes have no unit that a reader could use. Equal ranges and square units make panels comparable.
    fig.update_xaxes(showticklabels=False, ticks="", zeroline=False, mirror=True, constrain="domain", matches="x")
    fig.update_yaxes(showticklabels=False, ticks="", zeroline=False, mirror=True, constrain="domain", matches="y")
    fig.update_yaxes(scaleanchor="x", scaleratio=1, constraintoward="top")
    fig.update_xaxes(title_text="first axis of the map", row=1, col=1)
    fig.update_yaxes(title_text="second axis", row=1, col=1)
    width = max(560, side * len(panels) + 214)
    return fig.update_layout(title=title, width=width, margin={"l": 40, "r": 16, "t": 96 if notes else 80, "b": 40})


def _dots(fig: go.Figure, part: pd.DataFrame, marker: dict[str, Any], place: dict[str, int], **more: Any) -> None:
    marker = {"opacity": 0.75, "line": {"width": 0}, **marker}
    fig.add_scatter(x=part["x"], y=part["y"], mode="markers", marker=marker, text=_names(part), **more, **place)


def _arrows(fig: go.Figure, part: pd.DataFrame, name: str, color: str, place: dict[str, int]) -> None:
    number = len(part)
    line = {"color": color, "width": 1.2}
    group = {"name": name, "legendgroup": name}
    # An entry of its own: plotly would draw a bundle of arrow heads.
    entry = {"x": [None], "y": [None], "mode": "lines", "showlegend": _new(fig, name)}
    fig.add_scatter(**entry, line={**line, "width": 2.5}, **group, **place)
    ends = [np.column_stack([part[at], part[f"{at}_to"], np.full(number, np.nan)]).ravel() for at in "xy"]
    heads = {"symbol": "arrow", "angleref": "previous", "size": np.tile([0, 7, 0], number), "color": color}
    fig.add_scatter(
        x=ends[0],
        y=ends[1],
        mode="lines+markers",
        showlegend=False,
        line=line,
        marker={**heads, "opacity": 1, "line": {"width": 0}},
        text=np.repeat(_names(part).to_numpy(dtype=object), 3),
        hovertemplate="%{text}<extra></extra>",
        **group,
        **place,
    )


def _names(part: pd.DataFrame) -> pd.Series:
    return part["name"].astype(str) if "name" in part else "item " + part["item"].astype(str)


def _new(fig: go.Figure, name: str) -> bool:
    """Whether a group has no entry of the legend yet."""
    return all(trace.name != name for trace in fig.data)


def color_groups(values: pd.Series, most: int) -> dict[str, str] | None:
    """Colours by group, in the order of the legend; None for numbers, which have a scale instead."""
    if pd.api.types.is_bool_dtype(values):
        return dict(_TOUCHED.values())
    if pd.api.types.is_numeric_dtype(values):
        return None
    counts = values.astype(str).value_counts()
    largest = sorted(counts.index[: min(most, len(_PLAIN))])
    colors = [_NAMED[name] for name in largest] if set(largest) <= set(_NAMED) else _PLAIN
    return dict(zip(largest, colors, strict=False)) | ({"other": NEUTRAL} if len(counts) > len(largest) else {})


def in_groups(values: pd.Series, groups: Mapping[str, str]) -> pd.Series:
    if pd.api.types.is_bool_dtype(values):
        return values.map({key: name for key, (name, _) in _TOUCHED.items()})
    text = values.astype(str)
    return text.where(text.isin(list(groups)), "other")


def _scale(values: pd.Series, log: bool, label: str) -> dict[str, Any]:
    bar: dict[str, Any] = {"title": {"text": label}, "thickness": 14, "outlinewidth": 0}
    if log:
        top = float(values.max())
        steps = [n for n in (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000) if values.min() <= n <= top]
        bar |= {"tickvals": np.log10(1 + np.array(steps)), "ticktext": [f"{n:,}" for n in steps]}
    return {"colorscale": "Cividis", "colorbar": bar}


def _finite(table: pd.DataFrame, columns: list[str], figure_name: str) -> None:
    for column in columns:
        wrong = ~np.isfinite(table[column].astype(float))
        if wrong.any():
            raise UserError(
                f"{figure_name}: column {column!r} is {table[column][wrong].iloc[0]} in row {int(wrong.argmax())}; "
                "expected finite numbers"
            )
