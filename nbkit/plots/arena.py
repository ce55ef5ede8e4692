"""Two models, user by user: who is served better by which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import BAD, GOOD, NEUTRAL
from nbkit.plots.theme import LEGEND_ABOVE, figure, metric_label, need, no_data

OUTCOMES = {"first better": GOOD, "equal": NEUTRAL, "second better": BAD}


def duel_cloud(users: pd.DataFrame, *, first: str, second: str, metric: str = "", title: str = "") -> go.Figure:
    """Every user as a point: training clicks against how much better the first model serves them.

    ``users`` has columns user, clicks, difference, outcome (of ``OUTCOMES``). Points are moved sideways a little, the
    same at every drawing, because users with equally many clicks lie on each other.

    Raises:
        UserError: a missing column.
    """
    need(users, ["user", "clicks", "difference", "outcome"], "duel_cloud")
    if users.empty:
        return no_data(title)
    fig = figure(height=430)
    shift = np.exp(0.09 * np.sin(users["user"].to_numpy() * 12.9898))
    names = {"first better": f"{first} better", "equal": "equal", "second better": f"{second} better"}
    for outcome, color in OUTCOMES.items():
        own = (users["outcome"] == outcome).to_numpy()
        part = users[own]
        fig.add_scattergl(
            x=part["clicks"].clip(lower=1) * shift[own],
            y=part["difference"],
            mode="markers",
            name=f"{names[outcome]} ({len(part)})",
            marker={"color": color, "size": 7, "opacity": 0.65},
            customdata=np.column_stack([part["user"], part["clicks"]]),
            hovertemplate="user %{customdata[0]}, %{customdata[1]} clicks: %{y:.3f}<extra></extra>",
        )
    fig.add_hline(y=0, line={"color": NEUTRAL, "width": 1.5})
    fig.update_xaxes(type="log", dtick="D2", title_text="training clicks of the user (logarithmic)")
    of = f" of {metric_label(metric)}" if metric else ""
    fig.update_yaxes(title_text=f"{first} less {second}{of}")
    return fig.update_layout(
        title=title or None, dragmode="lasso", legend={**LEGEND_ABOVE, "itemsizing": "constant"}, margin={"t": 48}
    )
