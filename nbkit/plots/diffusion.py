"""Pictures of diffusion: what a schedule leaves of the data at each step."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import BLUE, GREEN, NEUTRAL, ORANGE, VERMILLION
from nbkit.plots.theme import figure, ink, need

_PANELS = {
    "alpha_bar": ("variance left, ᾱ", BLUE),
    "snr": ("signal-to-noise ratio", VERMILLION),
    "posterior_variance": ("variance of a step back", GREEN),
    "itself": ("item recognised", ORANGE),
}


def schedule_panels(schedule: pd.DataFrame, recognised: pd.DataFrame, *, t: int, title: str = "") -> go.Figure:
    """ᾱ, signal-to-noise ratio, posterior variance and how often an item is still recognised, over the steps.

    ``schedule`` has columns t, alpha_bar, snr, posterior_variance; ``recognised`` t, itself, low, high. A line
    stands at step ``t``.

    Raises:
        UserError: a missing column.
    """
    need(schedule, ["t", "alpha_bar", "snr", "posterior_variance"], "schedule_panels")
    need(recognised, ["t", "itself", "low", "high"], "schedule_panels")
    fig = make_subplots(
        rows=2,
        cols=2,
        figure=figure(height=430),
        subplot_titles=[f"<b>{text}</b>" for text, _ in _PANELS.values()],
        vertical_spacing=0.2,
        horizontal_spacing=0.09,
    )
    for n, (column, (_, color)) in enumerate(_PANELS.items()):
        place = {"row": n // 2 + 1, "col": n % 2 + 1}
        table = recognised if column == "itself" else schedule[schedule["t"] > 0]
        if column == "itself":
            band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
            fig.add_scatter(x=table["t"], y=table["low"], **band, **place)
            fig.add_scatter(
                x=table["t"], y=table["high"], **band, **place, fill="tonexty", fillcolor="rgba(230,159,0,0.25)"
            )
        few = len(table) <= 40
        fig.add_scatter(
            x=table["t"],
            y=table[column],
            mode="lines+markers" if few else "lines",
            line={"color": color, "width": 2},
            marker={"color": color, "size": 6},
            hovertemplate="step %{x}: %{y:.4g}<extra></extra>",
            showlegend=False,
            **place,
        )
        fig.add_vline(x=t, line={"color": ink(fig), "width": 1.5, "dash": "dot"}, **place)
    fig.update_yaxes(type="log", row=1, col=2, exponentformat="power", separatethousands=False, dtick=1)
    fig.update_yaxes(range=[-0.02, 1.02], row=1, col=1)
    fig.update_yaxes(range=[-0.02, 1.02], tickformat=".0%", row=2, col=2)
    fig.update_xaxes(title_text="step t (0 is clean data)", row=2)
    fig.update_yaxes(tickformat=".3~g", row=2, col=1)
    fig.update_annotations(font={"size": 14, "color": ink(fig)})
    return fig.update_layout(
        title=title or None, margin={"t": 84 if title else 40, "l": 60}, hoverlabel={"namelength": 0}
    )


def row_strip(clean: pd.Series, noisy: pd.Series, *, title: str = "") -> go.Figure:
    """A feature row as it is and as it is at step t, each value a bar of a strip: what the noise leaves to be seen.

    Both are standardised values, ``(D,)``.
    """
    fig = figure(height=170)
    names = ["clean", "at step t"]
    fig.add_heatmap(
        z=[noisy.to_numpy(), clean.to_numpy()],
        y=names[::-1],
        zmid=0,
        zmin=-3,
        zmax=3,
        colorscale="RdBu",
        ygap=8,
        colorbar={"title": {"text": "σ"}, "thickness": 12, "len": 1.2},
        hovertemplate="column %{x}: %{z:.2f}<extra>%{y}</extra>",
    )
    fig.update_xaxes(title_text="column of the feature row", color=NEUTRAL, showgrid=False)
    fig.update_yaxes(showgrid=False, showline=False)
    return fig.update_layout(title=title or None, margin={"t": 50 if title else 12, "b": 46, "l": 80})
