"""Spectra of feature tables: how many directions the variance of a modality really uses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from nbkit.plots.colors import PALETTE
from nbkit.plots.theme import figure, need, no_data

_DENSE = 1024  # up to this size all singular values are computed


def feature_spectrum(spectrum: pd.DataFrame, *, title: str = "Feature spectra") -> go.Figure:
    """Variance that the first components of each modality hold together; the dot marks where 90 % is reached.

    ``spectrum`` has columns modality, component (from 1) and share (of the variance, 0 … 1), as
    :func:`spectra` gives it. A steep start means that the features are nearly low-dimensional.

    Raises:
        UserError: a missing column.
    """
    if spectrum.empty:
        return no_data(title)
    need(spectrum, ["modality", "component", "share"], "feature_spectrum")
    fig = figure()
    for (modality, part), color in zip(spectrum.groupby("modality", sort=False, observed=True), PALETTE, strict=False):
        part = part.sort_values("component")
        held = 100 * part["share"].cumsum()
        reached = part.loc[held >= 90, "component"]
        name = (
            f"{modality}: 90 % with {reached.iloc[0]}"
            if len(reached)
            else f"{modality}: {held.iloc[-1]:.0f} % with {len(part)}"
        )
        hover = "%{x} components hold %{y:.1f} %"
        line = {"color": color, "width": 2.5}
        fig.add_scatter(
            x=part["component"],
            y=held,
            mode="lines",
            name=name,
            line=line,
            legendgroup=name,
            hovertemplate=hover,
        )
        dot = {"x": reached[:1], "y": held[reached[:1].index]}
        fig.add_scatter(
            **dot,
            mode="markers",
            marker={"color": color, "size": 10},
            legendgroup=name,
            showlegend=False,
            hoverinfo="skip",
        )
    fig.update_xaxes(title_text="components", rangemode="tozero")
    fig.update_yaxes(title_text="variance held (%)", range=[0, 101])
    return fig.update_layout(title=title, showlegend=True)


def spectra(features: Mapping[str, np.ndarray], *, components: int = 256) -> pd.DataFrame:
    """Variance by component of each centred feature table ``(I, D_m)``: columns modality, component, share.

    Beyond 1,024 rows and columns only the first components, at most 128, are estimated (random projection
    from a fixed seed: the last of them too low by a few per cent); shares are still of the whole variance.
    """
    rows = []
    for modality, table in features.items():
        centred = np.asarray(table, dtype=np.float32) - table.mean(axis=0, dtype=np.float64).astype(np.float32)
        k = min(components, *centred.shape)
        if min(centred.shape) <= _DENSE:
            gram = centred.T @ centred if centred.shape[1] <= centred.shape[0] else centred @ centred.T
            variance = np.linalg.eigvalsh(gram.astype(np.float64))[::-1].clip(min=0)[:k]
        else:
            from sklearn.utils.extmath import randomized_svd

            k = min(k, 128)
            values = randomized_svd(centred, n_components=k, n_iter=3, random_state=0)[1]
            variance = values.astype(np.float64) ** 2
        total = float((centred.astype(np.float64) ** 2).sum()) or 1.0
        rows.append(pd.DataFrame({"modality": modality, "component": np.arange(1, k + 1), "share": variance / total}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=["modality", "component", "share"])
