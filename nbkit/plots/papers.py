"""Printed numbers against ours: levels on the paper's own data, directions on any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import BAD, GOOD, NEUTRAL
from nbkit.plots.theme import LEGEND_ABOVE, figure, interval, legend_entry, metric_label, need, no_data

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
_FAINT, _INK = "#C9CED4", "#57606A"
_INSIDE = {"ours, printed inside": GOOD, "ours, printed outside": BAD}
_READINGS = {"same sign": GOOD, "opposite sign": BAD, "not shown here": NEUTRAL, "within seed noise": _FAINT}


def paper_levels(
    rows: pd.DataFrame, *, metric: str = "", slack: float = 0.0, title: str = "Printed and ours"
) -> go.Figure:
    """Ours with its interval beside what is printed for the same data: a panel an exhibit and data set, a line a row.

    ``rows`` has columns exhibit, row, paper, ours, low, high, difference, label, as
    :func:`nbkit.studies.beside_papers.beside` gives it; rows without a difference are of other data, those without an
    interval are no scores (sizes of data sets), and both are left out. Colour tells whether the printed number lies in
    our interval, widened by ``slack``, a share of the printed number.

    Raises:
        UserError: a missing column.
    """
    if rows.empty:
        return no_data(title)
    need(rows, ["exhibit", "row", "paper", "ours", "low", "high", "difference", "label"], "paper_levels")
    same = rows[rows["difference"].notna() & (rows["high"] > rows["low"])]
    if same.empty:
        return no_data(title, "all tested runs here are on other data than the papers'")
    panels = list(same.groupby(["exhibit", "label"], sort=False))
    height = 110 + sum(64 + 26 * len(panel) for _, panel in panels)
    fig = make_subplots(
        rows=len(panels),
        cols=1,
        row_heights=[len(panel) + 0.5 for _, panel in panels],
        vertical_spacing=min(84 / height, 0.9 / len(panels)),
        subplot_titles=[f"{exhibit}: {label}" for (exhibit, label), _ in panels],
        figure=figure(height=height),
    )
    fig.update_annotations(font={"size": 13}, x=0, xanchor="left")
    for number, (_, panel) in enumerate(panels, start=1):
        _levels(fig, panel.sort_values("paper"), slack, {"row": number, "col": 1})
    for name, color in _INSIDE.items():
        legend_entry(fig, name, color, "circle")
    legend_entry(fig, "printed", _INK, "diamond-open")
    fig.update_xaxes(title_text=metric_label(metric) if metric else None, row=len(panels), col=1)
    fig.update_yaxes(showgrid=False, zeroline=False)
    return fig.update_layout(title_text=title, legend=LEGEND_ABOVE | {"y": 1 + 32 / height}, margin={"t": 112})


def _levels(fig: go.Figure, panel: pd.DataFrame, slack: float, place: dict[str, int]) -> None:
    """One panel: intervals of ours, coloured, and the printed numbers over them."""
    inside = (panel["paper"] * (1 + slack) >= panel["low"]) & (panel["paper"] * (1 - slack) <= panel["high"])
    said = "%{y}<br>ours %{x:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<br>printed %{customdata[2]:.4f}"
    for color, part in zip(_INSIDE.values(), (panel[inside], panel[~inside]), strict=True):
        fig.add_scatter(
            x=part["ours"],
            y=part["row"],
            error_x=interval(part, "ours") | {"thickness": 2, "color": color},
            mode="markers",
            showlegend=False,
            marker={"color": color, "size": 9},
            customdata=part[["low", "high", "paper"]],
            hovertemplate=said + "<extra></extra>",
            **place,
        )
    printed = {"color": _INK, "symbol": "diamond-open", "size": 10, "line": {"width": 2, "color": _INK}}
    fig.add_scatter(x=panel["paper"], y=panel["row"], mode="markers", showlegend=False, marker=printed, **place)
    fig.update_yaxes(categoryorder="array", categoryarray=panel["row"].to_list(), **place)


def paper_directions(signs: pd.DataFrame, *, title: str = "Directions") -> go.Figure:
    """Gaps to each exhibit's reference row, ours with intervals against the printed ones, in per cent of it.

    ``signs`` has columns exhibit, row, printed_for, data, paper, ours, low, high, reading, as
    :func:`nbkit.studies.beside_papers.directions` gives it. Points in the shaded quarters point the same way; colour is
    the reading, and open symbols are of other data than the paper's.

    Raises:
        UserError: a missing column.
    """
    if signs.empty:
        return no_data(title)
    columns = ["exhibit", "row", "printed_for", "data", "paper", "ours", "low", "high", "reading"]
    need(signs, columns, "paper_directions")
    shares = ["paper", "ours", "low", "high"]
    signs = signs.assign(**{name: 100 * signs[name] for name in shares})
    fig, panels = _panels(signs)
    known = {data: _SYMBOLS[n % len(_SYMBOLS)] for n, data in enumerate(dict.fromkeys(signs["printed_for"]))}
    for place, panel in panels:
        for (reading, data), part in panel.groupby(["reading", "printed_for"], sort=False):
            symbol = known[data] + ("" if part["data"].iloc[0] == data else "-open")
            hover = part[["row", "low", "high", "data"]]
            said = (
                "%{customdata[0]}, ours on %{customdata[3]}<br>"
                "printed %{x:+.1f} %, ours %{y:+.1f} % [%{customdata[1]:.1f}, %{customdata[2]:.1f}]"
            )
            _points(fig, part, _READINGS[str(reading)], symbol, f"{reading}: {data}", place, hover, said, legend=False)
        _quarters(fig, panel, place)
    for reading, color in _READINGS.items():
        legend_entry(fig, reading, color, "circle")
    for data, symbol in known.items():
        here = bool((signs["data"] == data).any())
        legend_entry(fig, f"printed for {data}", _INK, symbol if here else f"{symbol}-open")
    fig.update_yaxes(title_text="our gap to the reference (%)", col=1)
    fig.update_xaxes(title_text="printed gap to the reference (%)")
    return fig.update_layout(title_text=title)


def _panels(rows: pd.DataFrame) -> tuple[go.Figure, list[tuple[dict[str, int], pd.DataFrame]]]:
    """A figure with a titled panel an exhibit, and each panel's place with its rows."""
    parts = [(str(name), part) for name, part in rows.groupby("exhibit", sort=False)]
    fig = make_subplots(
        rows=1,
        cols=len(parts),
        horizontal_spacing=0.1,
        subplot_titles=[name for name, _ in parts],
        figure=figure(height=500),
    )
    fig.update_annotations(font={"size": 14})
    fig.update_layout(margin={"t": 76}, title_y=0.97)
    return fig, [({"row": 1, "col": n}, part) for n, (_, part) in enumerate(parts, start=1)]


def _points(
    fig: go.Figure,
    part: pd.DataFrame,
    color: str,
    symbol: str,
    name: str,
    place: dict[str, int],
    hover: pd.DataFrame,
    said: str,
    *,
    legend: bool,
) -> None:
    fig.add_scatter(
        x=part["paper"],
        y=part["ours"],
        error_y=interval(part, "ours") | {"color": color},
        mode="markers",
        name=name,
        legendgroup=name,
        showlegend=legend,
        marker={"color": color, "symbol": symbol, "size": 9, "line": {"width": 1.5, "color": color}},
        customdata=hover,
        hovertemplate=said + "<extra></extra>",
        **place,
    )


def _quarters(fig: go.Figure, panel: pd.DataFrame, place: dict[str, int]) -> None:
    """Zero lines, and the two quarters in which both gaps have one sign."""
    wide = 1.15 * float(np.abs(panel["paper"]).max() or 1.0)
    low, high = float(panel["low"].min()), float(panel["high"].max())
    room = 0.08 * max(high - low, 1e-9)
    low, high = min(low, 0.0) - room, max(high, 0.0) + room
    for x, y in (((0, wide), (0, high)), ((-wide, 0), (low, 0))):
        fig.add_shape(
            type="rect",
            x0=x[0],
            x1=x[1],
            y0=y[0],
            y1=y[1],
            fillcolor=GOOD,
            opacity=0.07,
            line_width=0,
            layer="below",
            **place,
        )
    left, right = min(float(panel["paper"].min()), 0.0), max(float(panel["paper"].max()), 0.0)
    edge = 0.08 * max(right - left, 1e-9)
    fig.update_xaxes(range=[left - edge, right + edge], zeroline=True, zerolinewidth=1.5, **place)
    fig.update_yaxes(range=[low, high], zeroline=True, zerolinewidth=1.5, **place)
