"""What each part of a model is worth, on clean data and under noise, and what papers print of it.

From the per-user scores ``(S, U)`` of variants (:func:`nbkit.studies.ablating.variant_scores`), S seeds and U users.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from nbkit.evaluation.stats import RESAMPLES, hierarchical_difference, holm, mean_interval
from nbkit.studies.ablating import CLEAN, Variant
from nbkit.studies.published import ablations, reading

NEEDED, HARMFUL, UNSHOWN = "needed", "better without", "no difference shown"
_NAMES = ["model", "noise", "without", "kept"]
_ESTIMATE = ["difference", "low", "high", "p", "seeds", "users"]
Scores = Mapping[Variant, np.ndarray]


def part_effects(
    scores: Scores,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Each variant less its whole model on the same users and seeds, below 0 where what is left out was of use.

    Columns: model, noise, without (joined by ``+``), kept, mean, whole, difference, low, high, p, p_holm, verdict
    ("needed", "better without" or "no difference shown", by ``p_holm`` < 1 - level), seeds, users. Intervals as
    :func:`nbkit.evaluation.stats.hierarchical_difference`; Holm's adjustment over all rows of a model, so that no other
    model in the table changes what is said of it.
    """
    rows = []
    for variant, values in scores.items():
        if not variant.without:
            continue
        whole = scores[variant.whole]
        result = hierarchical_difference(values, whole, generator, level=level, resamples=resamples)
        rows.append(_row(variant) | {"mean": values.mean(), "whole": whole.mean()} | _estimate(result))
    return _judged(pd.DataFrame(rows, columns=[*_NAMES, "mean", "whole", *_ESTIMATE]), level, (NEEDED, HARMFUL))


def under_noise(
    scores: Scores,
    generator: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Is a part worth more under noise? The effect of leaving it out under noise less that on clean data, paired.

    Columns as :func:`part_effects` gives them, without means; below 0 the part is worth more under noise ("needed
    more"). Only variants that were run on both.
    """
    rows = []
    for variant, values in scores.items():
        clean = variant._replace(noise=CLEAN)
        if variant.without and variant.noise != CLEAN and clean in scores:
            gaps = values - scores[variant.whole], scores[clean] - scores[clean.whole]
            result = hierarchical_difference(*gaps, generator, level=level, resamples=resamples)
            rows.append(_row(variant) | _estimate(result))
    return _judged(pd.DataFrame(rows, columns=[*_NAMES, *_ESTIMATE]), level, ("needed more", "needed less"))


def _row(variant: Variant) -> dict[str, str]:
    return dict(zip(_NAMES, (variant.model, variant.noise, "+".join(variant.without), variant.kept), strict=True))


def _estimate(result: Any) -> dict[str, Any]:
    # Users' gains and losses that cancel leave some 1e-18.
    known = vars(result) | {"users": result.n, "difference": round(result.difference, 12)}
    return {name: known[name] for name in _ESTIMATE}


def _judged(frame: pd.DataFrame, level: float, words: tuple[str, str]) -> pd.DataFrame:
    p = frame["p"].astype(float)
    adjusted = p.groupby(frame["model"]).transform(lambda own: holm(own.to_numpy()))
    sign = np.where(frame["difference"] < 0, *words)
    place = list(frame).index("p") + 1
    frame.insert(place, "p_holm", adjusted)
    frame.insert(place + 1, "verdict", np.where(adjusted < 1 - level, sign, UNSHOWN))
    return frame


def beside_paper(scores: Scores, data: str, metric: str, generator: np.random.Generator) -> pd.DataFrame:
    """Printed ablations beside ours: model, kept, printed_for, paper, ours, low, high, difference.

    A row for each printed result of a model that was run here on clean data; ours is nan where that variant was not
    run. ``difference`` is ours less the paper's, nan unless ``data`` is the data set that it is printed for.
    """
    known = ablations()
    ours = {(v.model, v.kept): mean_interval(s, generator) for v, s in scores.items() if v.noise == CLEAN}
    rows = []
    for each in known[known["metric"] == metric].to_dict("records"):
        if not any(each["model"] == model for model, _ in ours):
            continue
        own = ours.get((each["model"], each["kept"]))
        row: dict[str, Any] = {name: each[name] for name in ("model", "kept", "paper")} | {"printed_for": each["data"]}
        if own:
            gap = own.mean - each["paper"] if each["data"] == data else np.nan
            row |= {"ours": own.mean, "low": own.low, "high": own.high, "difference": gap}
        rows.append(row)
    columns = ["model", "kept", "printed_for", "paper", "ours", "low", "high", "difference"]
    return pd.DataFrame(rows, columns=columns)


def directions(effects: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Does leaving parts out do here what it does in print, on whatever data? One row a printed effect.

    Columns: model, without, printed_for, paper, ours, low, high (shares of the whole model's result) and ``reading``
    (:func:`nbkit.studies.published.reading`).
    """
    known = ablations()
    known = known[known["metric"] == metric]
    wholes = {model: Variant(model).kept for model in known["model"].unique()}
    whole = known[known["kept"] == known["model"].map(wholes)].set_index(["model", "data"])["paper"]
    rows = []
    for ours in effects[effects["noise"] == CLEAN].to_dict("records"):
        same = known[(known["model"] == ours["model"]) & (known["kept"] == ours["kept"])]
        for each in same.to_dict("records"):
            printed = whole[ours["model"], each["data"]]
            gap = each["paper"] - printed
            word = reading(gap, ours["difference"], shown=ours["verdict"] != UNSHOWN)
            share = {name: ours[name] / ours["whole"] for name in ("difference", "low", "high")}
            names = {"model": ours["model"], "without": ours["without"], "printed_for": each["data"]}
            rows.append(names | {"paper": gap / printed} | share | {"reading": word})
    columns = ["model", "without", "printed_for", "paper", "difference", "low", "high", "reading"]
    return pd.DataFrame(rows, columns=columns).rename(columns={"difference": "ours"})


def findings(effects: pd.DataFrame, more: pd.DataFrame, metric: str = "recall@20") -> list[str]:
    """What an ablation shows, one sentence each, from :func:`part_effects` and :func:`under_noise`.

    Which parts are needed, which models are better without, of which neither is shown, and what changes under noise.
    """
    said = []
    for (model, noise), part in effects.groupby(["model", "noise"], sort=False):
        where = f"{model} on clean data" if noise == CLEAN else f"{model} under {noise}"
        shown = part[part["verdict"] != UNSHOWN]
        for row in shown.to_dict("records"):
            word = "falls" if row["verdict"] == NEEDED else "RISES"
            by = f"{row['difference']:+.4f} ({row['low']:+.4f} – {row['high']:+.4f})"
            said.append(f"{where}: without {row['without']} {metric} {word}, {by}, p = {row['p_holm']:.3f}.")
        rest = part.loc[part["verdict"] == UNSHOWN, "without"].tolist()
        if rest:
            said.append(f"{where}: no difference is shown without {', '.join(rest)}.")
    for row in more[more["verdict"] != UNSHOWN].to_dict("records"):
        by = f"{row['difference']:+.4f}, p = {row['p_holm']:.3f}"
        said.append(f"{row['model']}: {row['without']} is {row['verdict']} under {row['noise']} ({by}).")
    if len(more) and (more["verdict"] == UNSHOWN).all():
        said.append("Of no part it is shown that it is worth more, or less, under noise than on clean data.")
    return said
