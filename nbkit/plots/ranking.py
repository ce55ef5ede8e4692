"""How well models rank: means with intervals, groups of users, cost against quality."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.errors import UserError
from nbkit.plots.colors import NEUTRAL, model_color, model_style
from nbkit.plots.theme import figure, ink, interval, metric_label, need, no_data


def metric_comparison(scores: pd.DataFrame, *, metric: str = "", title: str = "Ranking quality") -> go.Figure:
    """Bars of the mean with its interval, one panel a metric, models in the order of the table.

    ``scores`` has columns model, metric, mean, low, high (limits of the interval) and optionally ``bound``:
    what perfect knowledge of the planted truth would reach, a line over its panel. Where all rows are of one
    metric, ``metric`` may name it instead.

    Raises:
        UserError: a missing column.
    """
    if metric:
        scores = scores.assign(metric=metric)
    if scores.empty:
        return no_data(title)
    need(scores, ["model", "metric", "mean", "low", "high"], "metric_comparison")
    metrics = list(dict.fromkeys(scores["metric"]))
    columns = min(len(metrics), 2)
    rows = -(-len(metrics) // columns)
    fig = make_subplots(
        rows=rows,
        cols=columns,
        horizontal_spacing=0.12,
        vertical_spacing=0.32 / rows,
        figure=figure(height=60 + 380 * rows),
    )
    for place, name in enumerate(metrics):
        row, col = place // columns + 1, place % columns + 1
        part = scores[scores["metric"] == name]
        fig.add_bar(
            x=part["model"].astype(str),
            y=part["mean"],
            error_y=interval(part) | {"color": ink(fig)},
            marker={"color": [model_color(m) for m in part["model"]]},
            customdata=part[["low", "high"]],
            hovertemplate="%{x}<br>%{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<extra></extra>",
            showlegend=False,
            row=row,
            col=col,
        )
        fig.update_yaxes(title_text=f"{metric_label(name)}, mean over users", rangemode="tozero", row=row, col=col)
        fig.update_xaxes(
            tickangle=-40 if len(part) > 5 or part["model"].astype(str).str.len().max() > 9 else 0,
            row=row,
            col=col,
        )
        if "bound" in part and part["bound"].notna().any():
            # The label stands at the left: sorted from weak to strong, the low bars are there.
            fig.add_hline(
                y=float(part["bound"].max()),
                line={"dash": "dash", "color": NEUTRAL, "width": 2},
                annotation={"text": "perfect knowledge", "font": {"size": 12}},
                annotation_position="top left",
                row=row,
                col=col,
            )
    # A few bars stay slim instead of filling their panel.
    most = max(scores["metric"].value_counts().max(), 1)
    return fig.update_layout(title=title, bargap=float(np.clip(0.85 - 0.1 * most, 0.25, 0.65)))


def group_comparison(groups: pd.DataFrame, *, metric: str = "recall@20", title: str = "Quality by group") -> go.Figure:
    """Mean and interval of each model in each group, side by side, with the group's size below its name.

    ``groups`` has columns group, model, mean, low, high, n (users in the group); groups stay in the order
    of the table.

    Raises:
        UserError: a missing column.
    """
    if groups.empty:
        return no_data(title)
    need(groups, ["group", "model", "mean", "low", "high", "n"], "group_comparison")
    sizes = groups.groupby("group", sort=False, observed=True)["n"].max()
    label = {group: f"{group}<br><span style='font-size:12px'>n = {n:,}</span>" for group, n in sizes.items()}
    fig = figure()
    for model, part in groups.groupby("model", sort=False, observed=True):
        style = model_style(str(model))
        fig.add_scatter(
            x=part["group"].map(label),
            y=part["mean"],
            error_y=interval(part) | {"color": style.color},
            mode="markers",
            name=str(model),
            marker={"color": style.color, "symbol": style.symbol, "size": 10},
            customdata=part[["low", "high", "n"]],
            hovertemplate="%{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}], n = %{customdata[2]:,}",
        )
    fig.update_xaxes(categoryorder="array", categoryarray=list(label.values()), showgrid=False)
    fig.update_yaxes(title_text=f"{metric_label(metric)}, mean over users", rangemode="tozero")
    return fig.update_layout(title=title, scattermode="group", scattergap=0.4, hovermode="x unified", showlegend=True)


COSTS = {"seconds": "training time (s, logarithmic)", "peak_mb": "memory to train (MB, logarithmic)"}


def pareto(
    costs: pd.DataFrame,
    *,
    metric: str = "recall@20",
    cost: Literal["seconds", "peak_mb"] = "seconds",
    title: str = "Cost and quality",
) -> go.Figure:
    """Quality against training time or memory, area by number of weights; the line joins what none beats in both.

    ``costs`` has columns model, seconds (of training) or peak_mb, value (or mean), low, high, parameters (trained).

    Raises:
        UserError: a missing column, or a cost that is not above 0.
    """
    if costs.empty:
        return no_data(title)
    if "value" not in costs and "mean" in costs:
        costs = costs.rename(columns={"mean": "value"})
    need(costs, ["model", cost, "value", "low", "high", "parameters"], "pareto")
    table = costs.dropna(subset=[cost]).sort_values(cost)
    if table.empty:
        return no_data(title)
    if not table[cost].iloc[0] > 0:
        model, spent = table.iloc[0][["model", cost]]
        raise UserError(f"pareto: model {model!r} has {cost} = {spent}, expected a number above 0")
    front = table[table["value"] > table["value"].cummax().shift(fill_value=-np.inf)]
    fig = figure(height=480)
    line = {"color": NEUTRAL, "dash": "dot", "shape": "hv", "width": 1.5}
    fig.add_scatter(
        x=front[cost],
        y=front["value"],
        mode="lines",
        name="best for its cost",
        line=line,
        hoverinfo="skip",
    )
    largest = max(float(table["parameters"].max()), 1.0)
    for _, model in table.iterrows():
        style = model_style(str(model["model"]))
        fig.add_scatter(
            x=[model[cost]],
            y=[model["value"]],
            error_y=interval(model.to_frame().T, "value") | {"color": style.color},
            mode="markers",
            name=str(model["model"]),
            marker={
                "color": style.color,
                "size": 8 + 14 * float(model["parameters"] / largest) ** 0.5,
                "opacity": 0.85,
                "line": {"width": 1, "color": "white"},
            },
            customdata=[[model["low"], model["high"], model["parameters"]]],
            hovertemplate="%{y:.4f} [%{customdata[0]:.4f}, %{customdata[1]:.4f}]<br>%{x:.3s}"
            "<br>%{customdata[2]:,} weights",
        )
    narrow = table[cost].max() < 20 * table[cost].min()  # then 1, 2 and 5 of each decade would be few ticks or none
    digits = (1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 5, 6, 8) if narrow else (1, 2, 5)
    ticks = [digit * 10.0**decade for decade in range(-3, 7) for digit in digits]
    labels = [f"{tick:,g}" for tick in ticks]  # plotly writes 2,000 as a small 2 there
    fig.update_xaxes(title_text=COSTS[cost], type="log", tickvals=ticks, ticktext=labels)
    fig.update_yaxes(title_text=f"{metric_label(metric)}, mean over users")
    legend = {"title": {"text": "area: number of weights", "font": {"size": 12}}, "itemsizing": "constant"}
    return fig.update_layout(title=title, legend=legend, showlegend=True)
