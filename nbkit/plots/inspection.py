"""Pictures of single recommendations."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import PALETTE
from nbkit.plots.theme import LEGEND_ABOVE, figure, ink, need, no_data


def score_bars(parts: pd.DataFrame, *, title: str = "") -> go.Figure:
    """What a score rests on, a group of bars a model: the score itself, then its parts.

    ``parts`` has columns model, part, value.

    Raises:
        UserError: a missing column.
    """
    need(parts, ["model", "part", "value"], "score_bars")
    if parts.empty:
        return no_data(title)
    names = list(dict.fromkeys(parts["part"]))
    fig = figure(height=140 + 64 * parts["model"].nunique() + (40 if title else 0))
    colors = dict(zip(names[1:], PALETTE, strict=False))
    for name in names:
        part = parts[parts["part"] == name]
        fig.add_bar(
            y=part["model"],
            x=part["value"],
            name=name,
            orientation="h",
            marker={"color": colors.get(name, ink(fig))},
            hovertemplate="%{y}: %{x:.3g}<extra>%{fullData.name}</extra>",
        )
    fig.update_xaxes(title_text="score; of a modality: what it loses when that modality's rows are shuffled")
    fig.update_yaxes(autorange="reversed", showgrid=False)
    legend = {**LEGEND_ABOVE, "traceorder": "normal"}
    return fig.update_layout(
        title=title or None, legend=legend, barmode="group", margin={"t": 84 if title else 48, "l": 110}
    )
