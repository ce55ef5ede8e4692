"""Several small plots beside each other, a titled one a group of a table, and the lines with bands drawn in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.config import shown
from nbkit.plots.colors import model_style, rgba
from nbkit.plots.theme import figure

ABREAST = 3  # panels beside each other

Place = dict[str, int]  # row and col of a panel

_WIDE = 8  # how often the least value goes into the greatest before a scale is logarithmic
_FEW = 9  # different values up to which each has a tick
_ROOM = 0.04 / 3  # of a figure's width that a letter of a tick's label takes, with some air


def panels(
    table: pd.DataFrame, column: str, height: int, label: str = ""
) -> tuple[go.Figure, list[tuple[Place, str, pd.DataFrame]]]:
    """A figure with a titled panel for each value of a column: places, values, and their rows of the table.

    ``label`` stands below every panel.
    """
    parts = [(str(name), part) for name, part in table.groupby(column, sort=False, observed=True)]
    columns = min(len(parts), ABREAST)
    rows = -(-len(parts) // columns)
    total = 90 + (height + 70) * rows
    fig = make_subplots(
        rows=rows,
        cols=columns,
        shared_yaxes=True,
        subplot_titles=[name.replace("_", " ") for name, _ in parts],
        horizontal_spacing=0.04,
        vertical_spacing=90 / total if rows > 1 else 0,
        figure=figure(height=total),
    )
    fig.update_annotations(font={"size": 14})
    places = [{"row": n // columns + 1, "col": n % columns + 1} for n in range(len(parts))]
    for place in places:
        fig.update_xaxes(title_text=label or None, title_standoff=4, **place)
    for n in range(len(parts), rows * columns):  # the last row may have room for more
        fig.update_xaxes(visible=False, row=rows, col=n % columns + 1)
        fig.update_yaxes(visible=False, row=rows, col=n % columns + 1)
    fig.update_layout(margin={"t": 76}, title_y=1 - 14 / total)  # so far from the top, however high the figure is
    return fig, [(place, *part) for place, part in zip(places, parts, strict=True)]


def band(fig: go.Figure, model: str, x: Sequence[Any], curve: pd.DataFrame, place: Place) -> None:
    """A model's intervals (columns low and high), which the legend shows and hides with its line."""
    color = model_style(model).color
    fig.add_scatter(
        x=[*x, *x[::-1]],
        y=[*curve["high"], *curve["low"][::-1]],
        mode="lines",
        name=f"{model}, interval",
        line={"width": 1, "color": rgba(color, 0.35)},
        fill="toself",
        fillcolor=rgba(color, 0.1),
        legendgroup=model,
        showlegend=False,
        hoverinfo="skip",
        **place,
    )


def line(fig: go.Figure, model: str, x: Sequence[Any], curve: pd.DataFrame, place: Place, *, legend: bool) -> None:
    """A model's means (columns mean, low and high)."""
    style = model_style(model)
    fig.add_scatter(
        x=x,
        y=curve["mean"],
        mode="lines+markers",
        name=model,
        line={"color": style.color, "dash": style.dash, "width": 2.5},
        marker={"symbol": style.symbol, "size": 8},
        legendgroup=model,
        showlegend=legend,
        customdata=curve[["low", "high"]],
        hovertemplate="%{y} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
        **place,
    )


@dataclass(frozen=True)
class Scale:
    """How values of a setting lie on an axis: as numbers, numbers on a ``log`` scale, or names in an order."""

    values: list[Any]
    kind: str = field(init=False)

    def __post_init__(self) -> None:
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)
        ordered = sorted(set(self.values)) if numbers else list(dict.fromkeys(self.values))
        positive = [v for v in ordered if numbers and v > 0]
        wide = bool(positive) and positive[-1] >= _WIDE * positive[0]
        kind = "category" if not numbers or (wide and ordered[0] <= 0) else "log" if wide else "linear"
        object.__setattr__(self, "values", ordered)
        object.__setattr__(self, "kind", kind)

    def at(self, value: Any) -> Any:
        """Where a value lies."""
        return shown(value) if self.kind == "category" else value

    def draw(self, fig: go.Figure, place: Place, columns: int, ticks: Sequence[Any] | None = None) -> None:
        """Make this scale the axis of a panel, one of ``columns`` abreast; ticks at all values, or as given."""
        if self.kind == "category":
            names = [shown(value) for value in self.values]
            fig.update_xaxes(type="category", categoryorder="array", categoryarray=names, **place)
            return
        ticks = sorted(set(self.values if ticks is None else ticks))
        if len(ticks) > _FEW and self.kind == "log":
            ticks = _ladder(*self._ends)
        if len(ticks) <= _FEW:
            low, high = map(self._along, self._ends)
            along = [(self._along(tick) - low) / ((high - low) or 1) for tick in ticks]
            names = legible([f"{tick:g}" for tick in ticks], along, columns)
            fig.update_xaxes(tickvals=ticks, ticktext=names, **place)
        fig.update_xaxes(type=self.kind, zeroline=False, **place)

    @property
    def _ends(self) -> tuple[float, float]:
        return self.values[0], self.values[-1]

    def _along(self, value: float) -> float:
        return math.log(value) if self.kind == "log" else value


def legible(names: Sequence[str], along: Sequence[float], columns: int) -> list[str]:
    """The labels that do not stand on the one before, the others empty, of ticks at 0 … 1 of a panel's width."""
    kept, last, before = [], -math.inf, ""
    for name, at in zip(names, along, strict=True):
        free = at - last >= _ROOM * columns * (len(before) + len(name)) / 2
        kept.append(name if free else "")
        last, before = (at, name) if free else (last, before)
    return kept


def _ladder(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 … between two positive numbers, 1, 10, 100 … where these are many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= 3 else (1,)
    found = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in found if low <= tick <= high] or [low, high]
