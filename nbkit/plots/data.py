"""What a data set looks like: degrees, popularity, time, and the noise known to be in it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbkit.data.dataset import MultimodalDataset
from nbkit.plots.colors import BLUE, GREY, NEUTRAL, ORANGE, PALETTE, VERMILLION, rgba
from nbkit.plots.theme import LEGEND_ABOVE, figure, need, no_data

_SECONDS = {"day": 86_400, "week": 604_800, "month": 2_629_746}


def degree_distribution(interactions: pd.DataFrame, *, title: str = "Degrees") -> go.Figure:
    """Share of users and items with at least k interactions, axes logarithmic: a power law is straight.

    ``interactions`` has columns user and item, one row an interaction; users and items without any are not
    counted.

    Raises:
        UserError: a missing column.
    """
    if interactions.empty:
        return no_data(title)
    need(interactions, ["user", "item"], "degree_distribution")
    fig = figure()
    for side, color in (("user", BLUE), ("item", ORANGE)):
        degrees = interactions[side].value_counts().to_numpy()
        k, count = np.unique(degrees, return_counts=True)
        share = 100 * count[::-1].cumsum()[::-1] / len(degrees)
        name = f"{side}s ({len(degrees):,})"
        at = f"%{{y:.3g}} % of {side}s have at least %{{x:,}}<extra></extra>"
        fig.add_scatter(
            x=k,
            y=share,
            mode="lines+markers",
            name=name,
            line={"color": color, "shape": "vh"},
            marker={"size": 5},
            hovertemplate=at,
        )
    fig.update_xaxes(
        title_text="interactions k (logarithmic)",
        type="log",
        dtick=1,
        exponentformat="none",
        minor={"ticks": "outside"},
    )
    fig.update_yaxes(title_text="share with at least k (%, logarithmic)", type="log", dtick=1, exponentformat="none")
    return fig.update_layout(title=title, showlegend=True)


def popularity_curve(interactions: pd.DataFrame, *, title: str = "Popularity") -> go.Figure:
    """Which share of the interactions the most popular share of the items has, and the Gini coefficient.

    ``interactions`` has the column item, one row an interaction. Gini: 0 where all items are equally
    popular, towards 1 where one item has everything.

    Raises:
        UserError: a missing column.
    """
    if interactions.empty:
        return no_data(title)
    need(interactions, ["item"], "popularity_curve")
    counts = interactions["item"].value_counts().to_numpy()  # falling
    held = np.concatenate([[0.0], 100 * counts.cumsum() / counts.sum()])
    items = np.linspace(0, 100, len(held))
    gini = 2 * float(np.trapezoid(held, items)) / 100**2 - 1
    step = max(1, len(held) // 500)
    keep = np.unique(np.append(np.arange(0, len(held), step), len(held) - 1))
    fig = figure()
    hover = "the top %{x:.1f} % of items hold %{y:.1f} %<extra></extra>"
    fig.add_scatter(
        x=items[keep],
        y=held[keep],
        mode="lines",
        name="items",
        line={"color": ORANGE, "width": 2.5},
        hovertemplate=hover,
    )
    fig.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        name="all equally popular",
        line={"color": NEUTRAL, "dash": "dot"},
        hoverinfo="skip",
    )
    top = float(np.interp(20, items, held))
    fig.add_scatter(
        x=[20],
        y=[top],
        mode="markers",
        marker={"color": ORANGE, "size": 9},
        showlegend=False,
        hoverinfo="skip",
    )
    text = f"20 % of the items hold {top:.0f} % of the interactions<br>Gini {gini:.2f}"
    fig.add_annotation(
        x=20, y=top, text=text, ax=70, ay=90, xanchor="left", yanchor="middle", align="left", arrowwidth=1
    )
    fig.update_xaxes(title_text="items, most popular first (%)", range=[0, 100])
    fig.update_yaxes(title_text="interactions held (%)", range=[0, 101])
    return fig.update_layout(title=title)


def interactions_over_time(
    interactions: pd.DataFrame,
    *,
    clock: Literal["unix", "order"] = "unix",
    by: str | None = None,
    title: str = "Interactions over time",
) -> go.Figure:
    """How many interactions happened when, in days, weeks or months as the span needs, stacked by ``by``.

    ``interactions`` has columns timestamp and, where ``by`` names it, a category (split, behaviour).
    ``clock`` as the data set says: ``"unix"`` seconds; ``"order"`` counts positions within the user, and so
    does the figure.

    Raises:
        UserError: a missing column.
    """
    if interactions.empty:
        return no_data(title)
    need(interactions, ["timestamp", *([by] if by else [])], "interactions_over_time")
    interactions = interactions.reset_index(drop=True)
    time = interactions["timestamp"]
    if clock == "unix":
        span = int(time.max() - time.min())
        unit = next((u for u in ("day", "week") if span / _SECONDS[u] <= 120), "month")
        moment = pd.to_datetime(time, unit="s")
        bins = moment.dt.to_period({"day": "D", "week": "W", "month": "M"}[unit]).dt.start_time
        x_title, y_title = "date (UTC)", f"interactions a {unit}"
    else:
        bins, x_title, y_title = time, "position within the user's history", "interactions"
    fig = figure()
    parts = {"": interactions} if by is None else dict(list(interactions.groupby(by, sort=False, observed=True)))
    for (name, part), color in zip(parts.items(), PALETTE, strict=False):
        counts = bins.loc[part.index].value_counts().sort_index()
        hover = "%{y:,}" if by else "%{x}: %{y:,}<extra></extra>"
        fig.add_bar(x=counts.index, y=counts, name=str(name), marker={"color": color}, hovertemplate=hover)
    fig.update_xaxes(title_text=x_title, showgrid=False)
    fig.update_yaxes(title_text=y_title, tickformat=",")
    return fig.update_layout(
        title=title, barmode="stack", bargap=0.08, showlegend=by is not None, legend={"traceorder": "normal"}
    )


def noise_truth(truth: pd.DataFrame, *, title: str = "Known noise") -> go.Figure:
    """How much of the interactions and of each modality is known to be clean, noisy or missing.

    ``truth`` has columns part, kind (``clean``, ``noise`` or ``missing``) and count, as :func:`truth_table`
    gives it.

    Raises:
        UserError: a missing column.
    """
    if truth.empty:
        return no_data(title)
    need(truth, ["part", "kind", "count"], "noise_truth")
    parts = list(dict.fromkeys(truth["part"]))
    # Shares are of what is there: clean and noisy; what is missing comes on top.
    there = truth[truth["kind"] != "missing"].groupby("part")["count"].sum().reindex(parts).fillna(0)
    fig = figure(height=160 + 52 * len(parts))
    looks = {"clean": (BLUE, ""), "noise": (VERMILLION, ""), "missing": (rgba(GREY, 0.45), "/")}
    for kind, (color, pattern) in looks.items():
        counts = truth[truth["kind"] == kind].groupby("part")["count"].sum().reindex(parts)
        if not counts.sum():
            continue
        counts = counts.dropna()
        share = 100 * counts / there[counts.index].clip(lower=1)
        fig.add_bar(
            x=share,
            y=counts.index,
            orientation="h",
            name=kind,
            marker={"color": color, "pattern": {"shape": pattern, "fgcolor": GREY}},
            text=[f"{n:,.0f} ({s:.0f} %)" if s >= 12 else "" for n, s in zip(counts, share, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            customdata=counts,
            hovertemplate="%{y}: %{customdata:,} (%{x:.1f} %)",
        )
    fig.update_xaxes(title_text="share of what is observed (%)", rangemode="tozero")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig.update_layout(
        title=title, barmode="stack", bargap=0.35, margin={"t": 92}, legend=LEGEND_ABOVE, showlegend=True
    )


def truth_table(dataset: MultimodalDataset) -> pd.DataFrame:
    """What a data set's truth says, counted: columns part, kind, count; no rows where nothing is known."""
    rows = []
    if dataset.truth is not None:
        noisy, missing = len(dataset.truth.noisy_pairs), len(dataset.truth.missing_pairs)
        pairs = "training pairs"
        rows += [
            (pairs, "clean", len(dataset.train.pairs()) - noisy),
            (pairs, "noise", noisy),
            (pairs, "missing", missing),
        ]
        for modality, touched in sorted(dataset.truth.noisy_rows.items()):
            noise = int(np.count_nonzero(touched))
            rows += [
                (f"{modality} features", "clean", len(touched) - noise),
                (f"{modality} features", "noise", noise),
            ]
    return pd.DataFrame(rows, columns=["part", "kind", "count"])
