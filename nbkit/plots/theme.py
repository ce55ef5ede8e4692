"""The look of every figure: a light and a dark template, what all figures share, and one for empty tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from nbkit.errors import UserError, nearest
from nbkit.plots.colors import NEUTRAL, PALETTE, model_color, model_style

__all__ = [
    "CONFIG",
    "LEGEND_ABOVE",
    "figure",
    "ink",
    "interval",
    "legend_entry",
    "look",
    "metric_label",
    "model_color",
    "model_style",
    "need",
    "no_data",
    "templates",
    "use_theme",
]

# plotly's button bar offers to upload a chart to a cloud, data and all: not from here.
CONFIG = {"responsive": True, "displaylogo": False, "showSendToCloud": False}


def metric_label(name: str) -> str:
    """A metric's name as papers write it.

    >>> metric_label("valid_ndcg@20")
    'NDCG@20'
    """
    name = name.removeprefix("valid_").removeprefix("test_")
    head, at, k = name.partition("@")
    words = {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR", "auc": "AUC"}
    return words.get(head.lower(), head[:1].upper() + head[1:].replace("_", " ")) + at + k


def _template(*, ink: str, faint: str, grid: str, paper: str, hover: str) -> go.layout.Template:
    axis = {
        "gridcolor": grid,
        "linecolor": faint,
        "zerolinecolor": faint,
        "zerolinewidth": 1,
        "ticks": "outside",
        "tickcolor": faint,
        "ticklen": 4,
        "showline": True,
        "automargin": True,
        "separatethousands": True,
        "title": {"font": {"size": 14}, "standoff": 10},
    }
    layout = go.Layout(
        font={"family": "Inter, Segoe UI, Helvetica Neue, Arial, sans-serif", "size": 13, "color": ink},
        title={
            "font": {"size": 17},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "pad": {"l": 16},
            "y": 0.97,
            "yanchor": "top",
        },
        paper_bgcolor=paper,
        plot_bgcolor=paper,
        colorway=list(PALETTE),
        colorscale={"sequential": "Cividis", "sequentialminus": "Cividis", "diverging": "RdBu"},
        margin={"l": 70, "r": 24, "t": 60, "b": 60},
        # Right of the plot: it widens the margin instead of covering data, title or axis labels.
        legend={
            "x": 1.02,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "font": {"size": 13},
            "tracegroupgap": 6,
        },
        hoverlabel={
            "bgcolor": hover,
            "bordercolor": faint,
            "font": {"size": 13, "color": ink},
            "align": "left",
        },
        xaxis=axis,
        yaxis=axis,
        bargap=0.25,
        annotationdefaults={"font": {"size": 13}, "arrowcolor": faint},
        separators=".,",
    )
    return go.layout.Template(layout=layout)


@cache
def templates() -> dict[str, go.layout.Template]:
    """The templates ``nbkit`` (light) and ``nbkit_dark``; made once, a figure takes a copy."""
    return {
        "nbkit": _template(ink="#24292F", faint="#AAB2BB", grid="#ECEFF2", paper="#FFFFFF", hover="#FFFFFF"),
        "nbkit_dark": _template(ink="#D9DEE4", faint="#56606B", grid="#2A323B", paper="#14181D", hover="#222930"),
    }


def use_theme(*, dark: bool = False, pictures: bool = False) -> str:
    """Make this look plotly's default and choose a renderer that works here; returns the template's name.

    In a notebook figures are kept as plotly's own JSON, which JupyterLab draws live; with ``pictures`` a
    PNG is kept beside it for viewers that do not, if a browser can make it. Outside of a notebook the
    renderer is left alone.
    """
    for name, template in templates().items():
        pio.templates[name] = template
    chosen = "nbkit_dark" if dark else "nbkit"
    pio.templates.default = chosen
    if _in_notebook() or os.environ.get("NBKIT_HEADLESS"):
        from nbkit.plots.pictures import browser_path

        for renderer in ("plotly_mimetype", "browser"):
            pio.renderers[renderer].config = dict(CONFIG)
        pio.renderers.default = "plotly_mimetype+png" if pictures and browser_path() else "plotly_mimetype"
    return chosen


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


# The look of one page among several of one kernel, where somebody said it; else plotly's default counts.
_LOOK: ContextVar[str | None] = ContextVar("look", default=None)


@contextmanager
def look(*, dark: bool) -> Iterator[None]:
    """Figures made inside are light or dark, whatever the default is; other threads are left alone."""
    token = _LOOK.set("nbkit_dark" if dark else "nbkit")
    try:
        yield
    finally:
        _LOOK.reset(token)


def figure(*, height: int = 440) -> go.Figure:
    """An empty figure in the house's look, whatever plotly's default is."""
    default = _LOOK.get() or pio.templates.default
    name = default if isinstance(default, str) and default.startswith("nbkit") else "nbkit"
    return go.Figure(layout={"template": templates()[name], "height": height})


def ink(fig: go.Figure) -> str:
    """The colour of text in a figure's template, for lines that belong to no model."""
    return str(fig.layout.template.layout.font.color)


def no_data(title: str = "", why: str = "no data") -> go.Figure:
    """A figure that says that there is nothing to draw."""
    fig = figure(height=320)
    fig.add_annotation(
        text=why,
        x=0.5,
        y=0.5,
        xref="paper",
        yref="paper",
        showarrow=False,
        font={"size": 20, "color": NEUTRAL},
    )
    fig.update_layout(title=title or None)
    return fig.update_xaxes(visible=False).update_yaxes(visible=False)


def need(table: pd.DataFrame, columns: Iterable[str], figure_name: str) -> None:
    """UserError unless the table has the columns that a figure is drawn from."""
    for column in columns:
        if column not in table.columns:
            raise UserError(f"{figure_name}: column {column!r} is missing; {nearest(column, map(str, table.columns))}")


def interval(part: pd.DataFrame, mean: str = "mean") -> dict[str, Any]:
    """Error bars from the columns low and high, which are limits and not distances."""
    up, down = (part["high"] - part[mean]).astype(float), (part[mean] - part["low"]).astype(float)
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.5, "width": 4}


def legend_entry(fig: go.Figure, name: str, color: str, symbol: str) -> None:
    """An entry of the legend without data, where colour and symbol mean two things."""
    marker = {"color": color, "symbol": symbol, "size": 9, "line": {"width": 2, "color": color}}
    fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker, hoverinfo="skip")


# A legend over the plot, for figures whose rows need the whole width.
LEGEND_ABOVE = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 1.0,
    "yanchor": "bottom",
    "traceorder": "normal",
}
