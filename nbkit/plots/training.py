"""Curves of a fit: loss and its parts, validation metrics, over epochs or over time."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import NEUTRAL, PALETTE, model_style
from nbkit.plots.theme import figure, ink, metric_label, need, no_data

_NOT_METRICS = ("valid_seconds",)


def training_curves(
    history: pd.DataFrame,
    *,
    x: Literal["epoch", "seconds"] = "epoch",
    metrics: list[str] | None = None,
    title: str = "Training",
) -> go.Figure:
    """Loss on the left, validation metrics on the right, one point an epoch; a star marks the best epoch.

    ``history`` has columns epoch, loss, loss_<part>, valid_<metric> (missing where an epoch was not
    validated), seconds, as :func:`nbkit.training.loop.fit` keeps it; ``model`` and, for seeds of one model,
    ``run`` where several are compared. One run shows its loss parts and up to three metrics; several show
    the total loss and the first metric, coloured by model. ``x="seconds"`` draws over training time.

    Raises:
        UserError: a missing column, or a metric that was not validated.
    """
    if history.empty:
        return no_data(title)
    need(history, ["epoch", "loss", *(["seconds"] if x == "seconds" else [])], "training_curves")
    found = [
        c for c in history.columns if c.startswith("valid_") and c not in _NOT_METRICS and history[c].notna().any()
    ]
    if metrics is not None:
        found = [m if m.startswith("valid_") else f"valid_{m}" for m in metrics]
        need(history, found, "training_curves")
    runs = _runs(history)
    single = len(runs) == 1
    found = found[:3] if single else found[:1]
    columns = 2 if found else 1
    fig = make_subplots(rows=1, cols=columns, horizontal_spacing=0.12, figure=figure())
    for name, run in runs:
        run = run.sort_values("epoch")
        at = run["epoch"] if x == "epoch" else run["seconds"].cumsum()
        _losses(fig, run, at, name, single)
        for number, metric in enumerate(found):
            color = PALETTE[4 + number] if single else model_style(name).color
            _metric(fig, run, at, metric, metric_label(metric) if single else name, color, legend=single)
    axis = "epoch" if x == "epoch" else "training time (s)"
    fig.update_xaxes(title_text=axis, matches="x", zeroline=False)
    fig.update_yaxes(title_text="loss, mean over batches", row=1, col=1)
    if found:
        label = metric_label(found[0]) if len(found) == 1 else "metric"
        fig.update_yaxes(title_text=f"{label} on validation", tickformat=".3~f", row=1, col=2)
        star = {"symbol": "star", "size": 12, "color": NEUTRAL}
        fig.add_scatter(x=[None], y=[None], name="best epoch", mode="markers", marker=star, row=1, col=2)
    # Below the two panels: beside them it would take the width that the curves need.
    fig.update_layout(title=title, hovermode="x unified", showlegend=True)
    return fig.update_layout(
        legend={"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "xanchor": "left"}, margin={"b": 96}
    )


def _runs(history: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Each run with its model's name; all rows as one run where nothing tells them apart."""
    keys = [column for column in ("model", "run") if column in history]
    if not keys:
        return [("", history)]
    return [(str(key[0]), run) for key, run in history.groupby(keys, sort=False, observed=True)]


def _losses(fig: go.Figure, run: pd.DataFrame, at: pd.Series, name: str, single: bool) -> None:
    """The total of one of several runs in its model's look, or the total and the parts of a single run."""
    style = model_style(name)
    if not single:
        seen = any(trace.name == name for trace in fig.data)  # seeds of one model share an entry of the legend
        line = {"color": style.color, "width": 2, "dash": style.dash}
        _line(fig, at, run["loss"], name, line, legendgroup=name, showlegend=not seen)
        return
    _line(fig, at, run["loss"], "total loss", {"color": ink(fig), "width": 2.5})
    parts = [column for column in run.columns if column.startswith("loss_")]
    for number, part in enumerate(parts if len(parts) > 1 else []):  # a single part is the total
        _line(fig, at, run[part], part.removeprefix("loss_"), {"color": PALETTE[number % 4], "width": 1.5})


def _line(fig: go.Figure, x: pd.Series, y: pd.Series, name: str, line: dict[str, Any], **more: Any) -> None:
    fig.add_scatter(x=x, y=y, name=name, mode="lines", line=line, hovertemplate="%{y:.4g}", row=1, col=1, **more)


def _metric(
    fig: go.Figure, run: pd.DataFrame, at: pd.Series, metric: str, label: str, color: str, *, legend: bool
) -> None:
    valid = run[metric].notna()
    x, y = at[valid], run.loc[valid, metric]
    if y.empty:
        return
    shared = {"legendgroup": metric if legend else label, "row": 1, "col": 2}
    line = {"color": color, "width": 2, "dash": "solid" if legend else model_style(label).dash}
    fig.add_scatter(
        x=x,
        y=y,
        name=label,
        mode="lines+markers",
        line=line,
        marker={"size": 5},
        showlegend=legend,
        hovertemplate="%{y:.4f}",
        **shared,
    )
    best = int(y.to_numpy().argmax())
    fig.add_scatter(
        x=[x.iloc[best]],
        y=[y.iloc[best]],
        name=f"best {label}",
        mode="markers",
        marker={"symbol": "star", "size": 14, "color": color, "line": {"color": "white", "width": 1}},
        showlegend=False,
        hovertemplate="best: %{y:.4f}",
        **shared,
    )
