"""Pictures of diffusion: what a schedule leaves of the data at each step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import BLUE, GREEN, NEUTRAL, ORANGE, VERMILLION
from nbkit.plots.maps import color_groups, in_groups
from nbkit.plots.theme import LEGEND_ABOVE, figure, ink, need

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


def cloud(
    points: pd.DataFrame, label: str, path: pd.DataFrame, *, chosen: int, reach: tuple[float, ...], most: int = 9
) -> go.Figure:
    """Points on a map by their label, and the way of one of them from noise to where it ends.

    ``points`` has columns point (its number), x, y, label, name; ``path`` x and y, one row a frame. The ``chosen``
    point gets a ring. ``reach`` is the map's left, right, bottom and top, the same for every frame.

    Raises:
        UserError: a missing column.
    """
    need(points, ["x", "y", "label", "name", "point"], "cloud")
    need(path, ["x", "y"], "cloud")
    fig = figure(height=680)
    groups = color_groups(points["label"], most) or {}
    of = in_groups(points["label"], groups)
    for name, color in groups.items():
        own = points[of == name]
        marker = {"color": color, "size": 6, "opacity": 0.85}
        look = {
            "customdata": own["point"],
            "text": own["name"],
            "hovertemplate": f"%{{text}}<br>{label}: {name}<extra></extra>",
        }
        fig.add_scattergl(x=own["x"], y=own["y"], mode="markers", name=name, marker=marker, **look)
    line = {"color": ink(fig), "width": 1.5}
    fig.add_scatter(
        x=path["x"], y=path["y"], mode="lines", line=line, name="its way", hoverinfo="skip", showlegend=False
    )
    ring = {"size": 15, "color": "rgba(0,0,0,0)", "line": {"color": ink(fig), "width": 2.5}}
    at = points[points["point"] == chosen]
    fig.add_scatter(x=at["x"], y=at["y"], mode="markers", marker=ring, hoverinfo="skip", showlegend=False)
    left, right, bottom, top = reach
    bare = {"showticklabels": False, "ticks": "", "showgrid": False, "zeroline": False}
    fig.update_xaxes(range=[left, right], **bare)
    fig.update_yaxes(range=[bottom, top], scaleanchor="x", **bare)
    legend = {**LEGEND_ABOVE, "y": -0.02, "yanchor": "top", "itemsizing": "constant"}
    return fig.update_layout(legend=legend, margin={"t": 12, "l": 12, "r": 12, "b": 12}, dragmode="pan")


def film_curves(snr: pd.DataFrame, purity: pd.DataFrame, *, frame: int, label: str) -> go.Figure:
    """Signal-to-noise ratio and neighbour purity over the steps of a film, from T down to 0, with a line at a frame.

    ``snr`` has columns frame, t, snr; ``purity`` frame, t, table, purity, chance, of one label.

    Raises:
        UserError: a missing column.
    """
    need(snr, ["frame", "t", "snr"], "film_curves")
    need(purity, ["frame", "t", "table", "purity", "chance"], "film_curves")
    titles = ["<b>signal-to-noise ratio</b>", f"<b>neighbours of the same {label}</b>"]
    fig = make_subplots(rows=2, cols=1, figure=figure(height=380), subplot_titles=titles, vertical_spacing=0.22)
    finite = snr[snr["t"] > 0]
    mode = "lines+markers" if len(finite) <= 40 else "lines"
    look = {"mode": mode, "hovertemplate": "%{y:.3g}<extra>%{fullData.name}</extra>"}
    color = {"color": VERMILLION}
    fig.add_scatter(x=finite["frame"], y=finite["snr"], line=color, name="SNR", showlegend=False, **look, row=1, col=1)
    for (table, part), color_ in zip(purity.groupby("table", sort=False), (BLUE, ORANGE), strict=False):
        fig.add_scatter(
            x=part["frame"], y=part["purity"], line={"color": color_}, name=str(table), **look, row=2, col=1
        )
    chance = float(purity["chance"].iloc[0])
    ends = [purity["frame"].min(), purity["frame"].max()]
    dashed = {"color": NEUTRAL, "dash": "dash", "width": 1.5}
    fig.add_scatter(
        x=ends, y=[chance, chance], mode="lines", line=dashed, name="chance", hoverinfo="skip", row=2, col=1
    )
    for row in (1, 2):
        fig.add_vline(x=frame, line={"color": ink(fig), "width": 1.5, "dash": "dot"}, row=row, col=1)
    shown = snr.iloc[np.unique(np.linspace(0, len(snr) - 1, 6).round().astype(int))]
    margin = 0.04 * (len(snr) - 1)
    fig.update_xaxes(
        tickvals=shown["frame"], ticktext=[str(t) for t in shown["t"]], range=[-margin, len(snr) - 1 + margin]
    )
    fig.update_xaxes(title={"text": "step t", "standoff": 2}, row=2)
    fig.update_yaxes(type="log", exponentformat="power", separatethousands=False, dtick=1, row=1, col=1)
    fig.update_yaxes(tickformat=".0%", rangemode="tozero", row=2, col=1)
    fig.update_annotations(font={"size": 14, "color": ink(fig)})
    legend = {"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.16, "yanchor": "top"}
    return fig.update_layout(margin={"t": 30, "l": 56, "r": 12, "b": 70}, legend=legend)
