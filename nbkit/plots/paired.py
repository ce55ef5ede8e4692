"""Two models on the same users: differences with intervals, users won and lost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import BAD, GOOD, NEUTRAL
from nbkit.plots.theme import LEGEND_ABOVE, figure, interval, metric_label, need, no_data

_ROW = 30  # pixels a row takes


def difference_forest(differences: pd.DataFrame, *, metric: str = "", title: str = "Paired differences") -> go.Figure:
    """Mean difference a - b per user with its interval, one row a pair; at the right Holm's adjusted p-value.

    ``differences`` has columns a, b (or model, other), difference, low, high, p_holm and verdict, as
    :func:`nbkit.evaluation.stats.compare_all` gives it. Blue favours a, red favours b, grey shows no
    difference.

    Raises:
        UserError: a missing column.
    """
    table = _pairs(differences, ["difference", "low", "high", "p_holm", "verdict"], "difference_forest")
    if table.empty:
        return no_data(title)
    labels = [f"{a} − {b}" for a, b in zip(table["a"], table["b"], strict=True)]
    colors = [_verdict_color(v) for v in table["verdict"]]
    rows = np.arange(len(table))
    fig = figure(height=150 + _ROW * len(table))
    for favour, color in (
        ("favours the first", GOOD),
        ("favours the second", BAD),
        ("no difference shown", NEUTRAL),
    ):
        at = [n for n, c in enumerate(colors) if c == color]
        part = table.iloc[at]
        fig.add_scatter(
            x=part["difference"],
            y=rows[at],
            error_x=interval(part, "difference") | {"thickness": 2, "color": color},
            mode="markers",
            name=favour,
            marker={"color": color, "size": 10},
            customdata=np.column_stack(
                [
                    [labels[n] for n in at],
                    part["low"],
                    part["high"],
                    part["p_holm"].map(p_text),
                    part["verdict"],
                ]
            ),
            hovertemplate="%{customdata[0]}<br>%{x:.4f} [%{customdata[1]:.4f}, %{customdata[2]:.4f}]"
            "<br>%{customdata[3]} (Holm)<br>%{customdata[4]}<extra></extra>",
        )
    for row, p in zip(rows, table["p_holm"], strict=True):
        fig.add_annotation(
            x=1.01, xref="paper", xanchor="left", y=row, text=p_text(p), showarrow=False, font={"size": 12}
        )
    fig.add_vline(x=0, line={"color": NEUTRAL, "width": 1.5})
    of = f" of {metric_label(metric)}" if metric else ""
    fig.update_xaxes(title_text=f"difference{of}, mean over users")
    fig.update_yaxes(tickvals=rows, ticktext=labels, range=[len(rows) - 0.4, -0.6], showgrid=False, zeroline=False)
    return fig.update_layout(title=title, margin={"r": 96, "t": 92}, legend=LEGEND_ABOVE, showlegend=True)


def win_tie_loss(table: pd.DataFrame, *, metric: str = "", title: str = "Users won and lost") -> go.Figure:
    """For each pair the share of users whom a serves better, equally or worse than b, counted in the bars.

    ``table`` has columns a, b (or model, other), win, tie, loss.

    Raises:
        UserError: a missing column.
    """
    table = _pairs(table, ["win", "tie", "loss"], "win_tie_loss")
    if table.empty:
        return no_data(title)
    labels = [f"{a} − {b}" for a, b in zip(table["a"], table["b"], strict=True)]
    total = table[["win", "tie", "loss"]].sum(axis=1).replace(0, 1)
    fig = figure(height=150 + _ROW * len(table))
    for column, name, color in (
        ("win", "first better", GOOD),
        ("tie", "equal", "#C9CED4"),
        ("loss", "second better", BAD),
    ):
        share = 100 * table[column] / total
        fig.add_bar(
            x=share,
            y=labels,
            orientation="h",
            name=name,
            marker={"color": color},
            # A count needs room: narrow slices tell theirs on hovering.
            text=[f"{count:,}" if s >= 6 else "" for count, s in zip(table[column], share, strict=True)],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"color": "#24292F" if column == "tie" else "white"},
            customdata=table[column],
            hovertemplate="%{y}: %{customdata:,} users (%{x:.1f} %)",
        )
    of = f", by {metric_label(metric)}" if metric else ""
    fig.update_xaxes(title_text=f"share of users (%){of}", range=[0, 100])
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig.update_layout(title=title, barmode="stack", bargap=0.3, margin={"t": 92}, legend=LEGEND_ABOVE)


def p_text(p: float) -> str:
    """A p-value as it is read: never 0."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _pairs(table: pd.DataFrame, columns: list[str], figure_name: str) -> pd.DataFrame:
    if table.empty:
        return table
    if "a" not in table.columns:
        table = table.rename(columns={"model": "a", "other": "b"})
    need(table, ["a", "b", *columns], figure_name)
    return table


def _verdict_color(verdict: str) -> str:
    return {"better": GOOD, "worse": BAD}.get(str(verdict), NEUTRAL)
