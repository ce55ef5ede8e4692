"""What noise costs: curves over its rate, one panel an operator, and the area under them."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import NEUTRAL, model_style
from nbkit.plots.panels import ABREAST, band, legible, line, panels
from nbkit.plots.theme import interval, metric_label, need, no_data

_COLUMNS = ["model", "operator", "rate", "strength", "mean", "low", "high"]
_REFERENCE = {"color": NEUTRAL, "width": 1, "dash": "dot"}


def retention_curves(retention: pd.DataFrame, *, metric: str = "", title: str = "Retention under noise") -> go.Figure:
    """Share of a metric on clean data that is kept, over the rate of noise: a panel an operator, a line a model.

    ``retention`` has columns model, operator, rate, strength (the place of the rate; 0 is clean), mean, low, high, as
    :meth:`nbkit.evaluation.retention.Robustness.retention` gives it. Bands are the intervals.

    Raises:
        UserError: a missing column.
    """
    of = f" of {metric_label(metric)}" if metric else ""
    fig = _curves(retention, "retention_curves", f"share{of} kept", title)
    if len(fig.data):
        fig.add_hline(y=1, line=_REFERENCE)
        fig.update_yaxes(tickformat=".0%", hoverformat=".1%")
    return fig


def quality_curves(
    quality: pd.DataFrame, *, metric: str = "recall@20", title: str = "Quality under noise"
) -> go.Figure:
    """The metric itself over the rate of noise, drawn as :func:`retention_curves`; the panels share their scale.

    Raises:
        UserError: a missing column.
    """
    fig = _curves(quality, "quality_curves", f"{metric_label(metric)}, mean over users", title)
    return fig.update_yaxes(rangemode="tozero", hoverformat=".3f")


def retention_areas(areas: pd.DataFrame, *, title: str = "Area under retention") -> go.Figure:
    """Area under each model's retention with its interval, a panel an operator, models in the order of the table.

    ``areas`` has columns model, operator, mean, low, high. The dotted line is a model that loses nothing.

    Raises:
        UserError: a missing column.
    """
    if areas.empty:
        return no_data(title)
    need(areas, ["model", "operator", "mean", "low", "high"], "retention_areas")
    models = list(dict.fromkeys(areas["model"].astype(str)))
    fig, places = panels(areas, "operator", 50 + 28 * len(models), "area under retention")
    for place, _, part in places:
        for _, row in part.iterrows():
            style = model_style(str(row["model"]))
            fig.add_scatter(
                x=[row["mean"]],
                y=[str(row["model"])],
                error_x=interval(row.to_frame().T) | {"thickness": 2, "color": style.color},
                mode="markers",
                name=str(row["model"]),
                marker={"color": style.color, "symbol": style.symbol, "size": 10},
                customdata=[[row["low"], row["high"]]],
                hovertemplate="%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]",
                showlegend=False,
                **place,
            )
    fig.add_vline(x=1, line=_REFERENCE)
    fig.update_xaxes(matches="x", tickformat=".2~f", nticks=6)
    fig.update_yaxes(categoryorder="array", categoryarray=models[::-1], range=[-0.6, len(models) - 0.4])
    return fig.update_layout(title_text=title)


def noise_found(recovery: pd.DataFrame, *, title: str = "Injected clicks found") -> go.Figure:
    """ROC-AUC at finding injected training pairs over their rate, of models' credibilities and of raw cosines.

    ``recovery`` has columns model, operator, rate, measure, table, value, low, high, as
    :func:`nbkit.studies.injected.injected_recovery` gives it; rows that are no ``noise AUC`` are left out, and so are
    differences. The dotted line is chance.

    Raises:
        UserError: a missing column.
    """
    if recovery.empty:
        return no_data(title)
    need(recovery, ["model", "operator", "rate", "measure", "table", "value", "low", "high"], "noise_found")
    found = recovery[(recovery["measure"] == "noise AUC") & ~recovery["table"].str.contains(" - ", regex=False)]
    own = found["table"] == "credibility"
    found = found.assign(
        model=found["model"].where(own, found["table"]),  # a cosine is the data's, whatever model it stands beside
        strength=found["rate"],
        mean=found["value"],
    ).drop_duplicates(["model", "operator", "rate"])
    fig = _curves(found, "noise_found", "ROC-AUC", title)
    if len(fig.data):
        fig.add_hline(y=0.5, line=_REFERENCE)
        fig.update_yaxes(hoverformat=".3f")
    return fig


def _curves(table: pd.DataFrame, figure_name: str, label: str, title: str) -> go.Figure:
    if table.empty:
        return no_data(title)
    need(table, _COLUMNS, figure_name)
    fig, places = panels(table, "operator", 300, "rate of noise")
    for number, (place, _, part) in enumerate(places):
        models = part.sort_values("strength", kind="stable").groupby("model", sort=False, observed=True)
        for model, curve in models:  # all bands first: none shall cover a line
            band(fig, str(model), curve["strength"].tolist(), curve, place)
        for model, curve in models:
            line(fig, str(model), curve["strength"].tolist(), curve, place, legend=number == 0)
        rates = part.drop_duplicates("strength").sort_values("strength")
        names = [_rate_name(*row) for row in rates[["rate", "strength"]].itertuples(index=False)]
        if names[-1].endswith("dB"):
            fig.update_xaxes(title_text="signal-to-noise ratio", **place)
        along = rates["strength"] / rates["strength"].max()
        shown = legible(names, along.tolist(), min(len(places), ABREAST))
        fig.update_xaxes(tickvals=rates["strength"], ticktext=shown, **place)
    fig.update_xaxes(zeroline=False)
    fig.update_yaxes(matches="y")
    fig.update_yaxes(title_text=label, col=1)
    return fig.update_layout(title_text=title, hovermode="x unified")


def _rate_name(rate: float, strength: float) -> str:
    if strength == 0:
        return "clean"
    return f"{100 * rate:.3g}%" if rate == strength else f"{rate:.3g} dB"
