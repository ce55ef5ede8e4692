"""What the parts of models are worth: effects of leaving them out, a panel a model, a row a part."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from nbkit.plots.colors import BAD, GOOD, NEUTRAL
from nbkit.plots.paired import p_text
from nbkit.plots.theme import LEGEND_ABOVE, figure, interval, legend_entry, metric_label, need, no_data

_ROW, _HEAD = 26, 58  # pixels of a row, and of a panel's title and axis
_COLORS = {"needed": GOOD, "better without": BAD, "no difference shown": NEUTRAL}
_SYMBOLS = ("circle", "diamond-open", "square-open", "triangle-up-open")
_COLUMNS = ["model", "noise", "without", "difference", "low", "high", "p_holm", "verdict"]


def part_forest(effects: pd.DataFrame, *, metric: str = "", title: str = "Without each part") -> go.Figure:
    """How far leaving parts out moves a metric, with intervals: a panel a model, a row a part and noise, p beside it.

    ``effects`` has columns model, noise, without, difference (without less whole), low, high, p_holm and verdict, as
    :func:`nbkit.studies.part_effects.part_effects` gives it. Left of the line the part is of use. Colour is the
    verdict, the symbol the noise.

    Raises:
        UserError: a missing column.
    """
    if effects.empty:
        return no_data(title)
    need(effects, _COLUMNS, "part_forest")
    models = list(dict.fromkeys(effects["model"].astype(str)))
    sizes = [len(effects[effects["model"] == model]) for model in models]
    total = 110 + sum(_HEAD + _ROW * size for size in sizes)
    fig = make_subplots(
        rows=len(models),
        cols=1,
        row_heights=[size + 1 for size in sizes],
        vertical_spacing=_HEAD / total if len(models) > 1 else 0,
        subplot_titles=models if len(models) > 1 else None,
        figure=figure(height=total),
    )
    fig.update_annotations(font={"size": 14}, x=0, xanchor="left")
    noises = list(dict.fromkeys(effects["noise"].astype(str)))
    symbols = {noise: _SYMBOLS[min(place, len(_SYMBOLS) - 1)] for place, noise in enumerate(noises)}
    for number, model in enumerate(models, start=1):
        own = effects[effects["model"] == model].reset_index(drop=True)
        order = {part: place for place, part in enumerate(dict.fromkeys(own["without"]))}
        own = own.sort_values("without", key=lambda names: names.map(order), kind="stable").reset_index(drop=True)
        _panel(fig, own, symbols, number)
    for verdict, color in _COLORS.items():
        legend_entry(fig, verdict, color, "circle")
    for noise, symbol in symbols.items() if len(noises) > 1 else ():
        legend_entry(fig, noise, "#57606A", symbol)
    of = f" of {metric_label(metric)}" if metric else ""
    fig.add_vline(x=0, line={"color": NEUTRAL, "width": 1.5})
    fig.update_xaxes(matches="x", zeroline=False)
    fig.update_xaxes(title_text=f"change{of} when left out, mean over users", row=len(models), col=1)
    legend = LEGEND_ABOVE | {"y": 1 + 30 / total}
    return fig.update_layout(title_text=title, margin={"r": 96, "t": 100}, legend=legend, title_y=1 - 14 / total)


def _panel(fig: go.Figure, own: pd.DataFrame, symbols: dict[str, str], number: int) -> None:
    place = {"row": number, "col": 1}
    for (noise, verdict), part in own.groupby(["noise", "verdict"], sort=False):
        color = _COLORS.get(str(verdict), NEUTRAL)
        fig.add_scatter(
            x=part["difference"],
            y=part.index,
            error_x=interval(part, "difference") | {"thickness": 2, "color": color},
            mode="markers",
            marker={"color": color, "symbol": symbols[str(noise)], "size": 9, "line": {"width": 2, "color": color}},
            customdata=part[["without", "noise", "low", "high", "verdict"]].assign(p=part["p_holm"].map(p_text)),
            hovertemplate="without %{customdata[0]}, %{customdata[1]}<br>%{x:.4f} [%{customdata[2]:.4f}, "
            "%{customdata[3]:.4f}]<br>%{customdata[5]} (Holm)<br>%{customdata[4]}<extra></extra>",
            showlegend=False,
            **place,
        )
    for row, p in enumerate(own["p_holm"]):
        where = {"x": 1.01, "xref": "paper", "xanchor": "left", "y": row, "yref": f"y{'' if number == 1 else number}"}
        fig.add_annotation(text=p_text(p), showarrow=False, font={"size": 12}, **where)
    first = ~own["without"].duplicated()
    labels = [f"without {part}" if new else "" for part, new in zip(own["without"], first, strict=True)]
    rows = {"tickvals": list(own.index), "ticktext": labels, "range": [len(own) - 0.4, -0.6], "showgrid": False}
    fig.update_yaxes(**rows, zeroline=False, **place)
