"""Printed numbers against ours: levels on the paper's own data, directions on any."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import BAD, GOOD, NEUTRAL, PALETTE
from nbkit.plots.theme import figure, interval, legend_entry, metric_label, need, no_data

_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
_FAINT, _INK = "#C9CED4", "#57606A"
_READINGS = {"same sign": GOOD, "opposite sign": BAD, "not shown here": NEUTRAL, "within seed noise": _FAINT}


def paper_levels(rows: pd.DataFrame, *, metric: str = "", title: str = "Printed and ours") -> go.Figure:
    """Ours with its interval against what is printed for the same data: a panel an exhibit, colours by data set.

    ``rows`` has columns exhibit, row, printed_for, paper, ours, low, high, difference, label, as
    :func:`nbkit.studies.beside_papers.beside` gives it; rows without a difference are of other data and left out. On
    the dotted line ours equals the paper's.

    Raises:
        UserError: a missing column.
    """
    if rows.empty:
        return no_data(title)
    columns = ["exhibit", "row", "printed_for", "paper", "ours", "low", "high", "difference", "label"]
    need(rows, columns, "paper_levels")
    same = rows[rows["difference"].notna()]
    if same.empty:
        return no_data(title, "all tested runs here are on other data than the papers'")
    fig, panels = _panels(same)
    known = list(dict.fromkeys(same["printed_for"]))
    styles = {data: (PALETTE[n % len(PALETTE)], _SYMBOLS[n % len(_SYMBOLS)]) for n, data in enumerate(known)}
    seen: set[str] = set()
    for place, panel in panels:
        ends = float(panel[["paper", "low"]].min().min()), float(panel[["paper", "high"]].max().max())
        _diagonal(fig, ends, place)
        for data, part in panel.groupby("printed_for", sort=False):
            color, symbol = styles[str(data)]
            name = str(part["label"].iloc[0])
            hover = part[["row", "low", "high", "difference"]]
            said = "%{customdata[0]}<br>printed %{x:.4f}, ours %{y:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]"
            _points(fig, part, color, symbol, _short(name), place, hover, said, legend=name not in seen)
            seen.add(name)
    of = f" {metric_label(metric)}" if metric else ""
    fig.update_yaxes(title_text=f"our{of}, 95 % interval", col=1)
    fig.update_xaxes(title_text=f"printed{of}", zeroline=False)
    return fig.update_layout(title_text=title)


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


def _diagonal(fig: go.Figure, ends: tuple[float, float], place: dict[str, int]) -> None:
    line = {"color": NEUTRAL, "dash": "dot", "width": 1.5}
    fig.add_scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip", showlegend=False, **place)


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


def _short(label: str) -> str:
    return label if len(label) <= 32 else label[:31] + "…"
