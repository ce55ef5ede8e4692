"""The sweeps that papers show: which settings over which values, and where published curves are highest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import pandas as pd

from nbkit.errors import UserError, nearest
from nbkit.studies.study import Study, sweep

# DiffCL's Figures 3-5 go over .01 … 1, at values that we do not know. Of JBM-Diff's Figure 2 the caption alone is
# public (that it compares hyperparameters at various values): which ones is our guess.
_THIRDS, _FINE = (0.01, 0.1, 1.0), (0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SWEEPS: dict[str, dict[str, dict[str, tuple[Any, ...]]]] = {
    "fast": {
        "diffcl": dict.fromkeys(("contrast", "align", "reg"), _THIRDS),
        "jbm_diff": {"diffusion_weight": (0.01, 1.0), "guidance_weight": (0.05, 5.0), "side_weight": (0.3, 3.0)},
    },
    "paper": {
        "diffcl": dict.fromkeys(("contrast", "align", "reg"), _FINE),
        "jbm_diff": {
            "diffusion_weight": (0.01, 0.03, 0.1, 0.3, 1.0),
            "guidance_weight": (0.05, 0.15, 0.5, 1.5, 5.0),
            "side_weight": (0.3, 1.0, 3.0, 6.0),
            "steps": (2, 5, 10, 20, 50),
        },
    },
}

# Where the curves of DiffCL's Figures 3-5 are highest, as described to us; nobody told how high they are. λ_cl on Video
# is highest somewhere in the middle: where exactly was lost on the way. λ_align on Video still rises at the end.
_PEAKS: dict[tuple[str, str], dict[str, tuple[float, float]]] = {
    ("diffcl", "contrast"): {"Baby": (0.01, 0.2), "Sports": (0.01, 0.2)},
    ("diffcl", "align"): {"Baby": (0.4, 0.6), "Sports": (0.4, 0.6), "Video": (1.0, 1.0)},
    ("diffcl", "reg"): {"Baby": (0.7, 0.7), "Sports": (0.9, 0.9), "Video": (1.0, 1.0)},
}


def paper_sweep(
    models: Sequence[str],
    data: str,
    *,
    values: str = "fast",
    seeds: Sequence[int] = (0, 1, 2),
    training: Mapping[str, Any] | None = None,
    preset: str | None = None,
) -> Study:
    """Each model from its start on, one setting after another over the values of ``fast`` or ``paper``.

    Raises:
        UserError: an unknown name, or a model of whose figures nothing is known.
    """
    if values not in SWEEPS:
        raise UserError(f"values = {values!r}; {nearest(values, SWEEPS)}")
    for model in models:
        if model not in SWEEPS[values]:
            raise UserError(f"no published sweep of {model!r}; {nearest(model, SWEEPS[values])}")
    common: dict[str, Any] = {"seeds": seeds, "training": training, "preset": preset, "name": "paper sweep"}
    return reduce(Study.__add__, [sweep(model, data, over=SWEEPS[values][model], **common) for model in models])


def published_peaks(models: Sequence[str]) -> pd.DataFrame:
    """Where published curves of the models' settings are highest: model, setting, data, low, high; often nothing."""
    rows = [
        (model, setting, data, *ends)
        for (model, setting), by_data in _PEAKS.items()
        for data, ends in by_data.items()
        if model in models
    ]
    return pd.DataFrame(rows, columns=["model", "setting", "data", "low", "high"])
