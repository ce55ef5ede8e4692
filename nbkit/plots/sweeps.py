"""What settings do: curves over their values, what each trial of a search reached, and which settings matter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import BLUE, NEUTRAL, VERMILLION, model_style
from nbkit.plots.panels import ABREAST, Place, Scale, band, line, panels
from nbkit.plots.theme import figure, ink, interval, metric_label, need, no_data


def sweep_curves(
    curves: pd.DataFrame,
    *,
    metric: str = "recall@20",
    published: pd.DataFrame | None = None,
    title: str = "What a setting does",
) -> go.Figure:
    """The metric over the values of each setting, one at a time: a panel a setting, a line a model, bands intervals.

    ``curves`` has columns model, setting, value, mean, low, high and start (whether the value is the one that the
    others depart from, drawn as a ring). ``published`` has columns model, setting, data, low, high: where somebody
    else's curve is highest, drawn as a bar along the bottom, without any height.

    Raises:
        UserError: a missing column.
    """
    if curves.empty:
        return no_data(title)
    need(curves, ["model", "setting", "value", "mean", "low", "high", "start"], "sweep_curves")
    fig, places = panels(curves, "setting", 300)
    below = _Below(float(curves["low"].min()), float(curves["high"].max()))
    for number, (place, name, part) in enumerate(places):
        elsewhere = pd.DataFrame() if published is None else published[published["setting"] == name]
        known: list[float] = elsewhere[["low", "high"]].to_numpy().ravel().tolist() if len(elsewhere) else []
        scale = Scale([*part["value"], *known])
        scale.draw(fig, place, min(len(places), ABREAST), part["value"].tolist())
        models = []
        for model, rows in part.groupby("model", sort=False):
            rank = {value: n for n, value in enumerate(scale.values)}
            curve = rows.sort_values("value", key=lambda values: values.map(rank))
            models.append((str(model), [scale.at(value) for value in curve["value"]], curve))
        for model, x, curve in models:  # all bands first: none shall cover a line
            band(fig, model, x, curve, place)
        for model, x, curve in models:
            line(fig, model, x, curve, place, legend=number == 0)
            first = curve[curve["start"]]
            ringed = [scale.at(value) for value in first["value"]]
            _ring(fig, ringed, first["mean"], model_style(model).color, "default", place)
        below.draw(fig, elsewhere, scale.values[0], place)
    fig.update_yaxes(matches="y", hoverformat=".4f", zeroline=False)
    fig.update_yaxes(title_text=f"{metric_label(metric)}, mean over users", col=1)
    return fig.update_layout(title_text=title, showlegend=curves["model"].nunique() > 1)


def trial_slices(
    slices: pd.DataFrame, *, metric: str = "recall@20", title: str = "What each trial reached"
) -> go.Figure:
    """The score of every finished trial over each setting's value: a panel a setting, later trials darker.

    ``slices`` has columns setting, value, score, trial, state, as :func:`nbkit.studies.tuning.slices` gives it. The
    best trial is ringed; where a trial was pruned or failed a tick stands at the bottom.

    Raises:
        UserError: a missing column.
    """
    if slices.empty:
        return no_data(title)
    need(slices, ["setting", "value", "score", "trial", "state"], "trial_slices")
    if not slices["score"].notna().any():
        return no_data(title)
    fig, places = panels(slices, "setting", 280)
    last, low, high = max(1, int(slices["trial"].max())), float(slices["score"].min()), float(slices["score"].max())
    floor = low - 0.08 * ((high - low) or 1)
    for number, (place, _, part) in enumerate(places):
        scale = Scale(part["value"].tolist())
        scale.draw(fig, place, min(len(places), ABREAST))
        points = part.assign(value=[scale.at(value) for value in part["value"]])
        done = points[points["score"].notna()].sort_values("trial")
        fig.add_scatter(
            x=done["value"].tolist(),
            y=done["score"].tolist(),
            mode="markers",
            name="finished",
            marker={
                "size": 10,
                "color": done["trial"],
                "colorscale": [[0, "#9ECAE9"], [1, "#08306B"]],
                "cmin": 0,
                "cmax": last,
                "showscale": number == 0,
                "colorbar": {"title": {"text": "trial"}, "thickness": 12, "nticks": min(6, last + 1)},
            },
            customdata=done["trial"],
            hovertemplate="%{x}: %{y:.4f} (trial %{customdata})<extra></extra>",
            showlegend=False,
            **place,
        )
        top = done.nlargest(1, "score")
        _ring(fig, top["value"], top["score"], VERMILLION, "best", place)
        lost = points[points["score"].isna()]
        fig.add_scatter(
            x=lost["value"].tolist(),
            y=[floor] * len(lost),
            mode="markers",
            name="pruned or failed",
            marker={"symbol": "line-ns-open", "size": 12, "color": NEUTRAL, "line": {"width": 2}},
            customdata=lost[["state", "trial"]],
            hovertemplate="%{x}: %{customdata[0]} (trial %{customdata[1]})<extra></extra>",
            showlegend=False,
            **place,
        )
    fig.update_yaxes(matches="y", zeroline=False)
    fig.update_yaxes(title_text=f"validation {metric_label(metric)}", col=1)
    return fig.update_layout(title_text=title)


def setting_importance(importance: pd.DataFrame, *, title: str = "Which settings matter") -> go.Figure:
    """The share of the trials' spread that each setting explains, with its interval over searches, largest on top.

    ``importance`` has columns setting, mean, low, high (nan: no interval), as
    :func:`nbkit.studies.tuning.importance` gives it.

    Raises:
        UserError: a missing column.
    """
    if importance.empty:
        return no_data(title)
    need(importance, ["setting", "mean", "low", "high"], "setting_importance")
    table = importance.sort_values("mean", ascending=False, kind="stable")
    fig = figure(height=130 + 34 * len(table))
    bars = interval(table) | {"thickness": 2, "color": ink(fig)} if table["low"].notna().any() else None
    fig.add_bar(
        x=table["mean"],
        y=table["setting"].astype(str),
        orientation="h",
        marker={"color": BLUE, "opacity": 0.75},
        error_x=bars,
        customdata=table[["low", "high"]],
        hovertemplate="%{y}: %{x:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}]<extra></extra>",
    )
    fig.update_xaxes(title_text="share of the spread in validation scores", range=[0, 1.02], tickformat=".0%")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig.update_layout(title_text=title, showlegend=False)


def _ring(fig: go.Figure, x: Iterable[Any], y: Iterable[float], color: str, name: str, place: Place) -> None:
    """A ring round a point that is meant."""
    fig.add_scatter(
        x=list(x),
        y=list(y),
        mode="markers",
        name=name,
        marker={"symbol": "circle-open", "size": 18, "color": color, "line": {"width": 2.5}},
        hoverinfo="skip",
        showlegend=False,
        **place,
    )


class _Below:
    """Room below the curves, where it is drawn what is known of other curves: where they are highest, not how high."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.step = low, 0.07 * ((high - low) or 1)

    def draw(self, fig: go.Figure, published: pd.DataFrame, first: Any, place: Place) -> None:
        """A bar from low to high for each row, its data's name at the left, or right where it begins at ``first``."""
        for number, row in enumerate(published.itertuples(index=False), start=1):
            ends = list(dict.fromkeys([row.low, row.high]))
            fig.add_scatter(
                x=ends,
                y=[self.low - number * self.step] * len(ends),
                mode="lines+markers+text",
                name=f"highest in the paper, {row.data}",
                text=["", f" {row.data}"][-len(ends) :] if row.low == first else [f"{row.data} ", ""][: len(ends)],
                textposition="middle right" if row.low == first else "middle left",
                textfont={"size": 11, "color": NEUTRAL},
                line={"color": NEUTRAL, "width": 4},
                marker={"color": NEUTRAL, "size": 8, "symbol": "diamond"},
                hovertemplate=f"highest in the paper on {row.data}<extra></extra>",
                showlegend=False,
                **place,
            )
