"""Runs under known noise as noise curves: the presets of such studies, their scores, and what they show in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbkit.data import corrupt
from nbkit.errors import UserError, nearest
from nbkit.evaluation.retention import NoiseCurve, Robustness
from nbkit.runs import RunFolder
from nbkit.studies.gathering import Scored, scores_by_seed

SHARES, DECIBELS = (0.1, 0.2, 0.3), (20.0, 10.0, 0.0)
# Rates are those of DA-MRS and its followers; ours start from clean data each, theirs add up.
SCENARIOS: dict[str, dict[str, tuple[float, ...]]] = {
    "content": {"row_shuffle": (0.05, 0.1, 0.15, 0.2)},
    "feedback": {"add_random_edges": (0.05, 0.1, 0.2, 0.3), "drop_edges": (0.05, 0.1, 0.2, 0.3)},
    "all": {name: DECIBELS if kind.unit == "dB" else SHARES for name, kind in corrupt.operators().items()},
}


def noise_rates(
    scenario: str = "",
    *,
    operators: Sequence[str] = (),
    rates: Sequence[float] = SHARES,
    decibels: Sequence[float] = DECIBELS,
) -> dict[str, list[float]]:
    """Rates by operator, clean data first, for :func:`nbkit.studies.robustness`: of a scenario, or as given.

    ``content`` overwrites the features of 5 to 20 % of items by those of others: DA-MRS's protocol, and our guess of
    the noisy multi-modal content in the caption of JBM-Diff's Figure 3. ``feedback`` adds random clicks or drops some.
    ``all`` is every operator. Without a scenario: ``operators`` at ``rates``, or ``decibels`` where that is their unit.

    Raises:
        UserError: an unknown scenario or operator.
    """
    if scenario and scenario not in SCENARIOS:
        raise UserError(f"scenario = {scenario!r}; {nearest(scenario, SCENARIOS)}, or '' for operators and rates")
    known = corrupt.operators()
    for name in operators:
        if name not in known:
            raise UserError(f"noise: unknown operator {name!r}; {nearest(name, known)}")
    given = {name: decibels if known[name].unit == "dB" else rates for name in operators}
    chosen = SCENARIOS[scenario] if scenario else given
    clean = {name: known[name].neutral for name in chosen}
    return {name: [clean[name], *(rate for rate in of if rate != clean[name])] for name, of in chosen.items()}


def noise_curves(
    runs: Iterable[RunFolder], metric: str = "recall@20", *, split: str = "test", masking: str = "train"
) -> list[NoiseCurve]:
    """The curve of every model under every operator, from finished runs with one noise each and on clean data.

    Raises:
        UserError: a run that is not finished or has no such scores, several noises in one, a condition twice or not at
            all, models of one condition on different data, or other held-out users than elsewhere.
    """
    return _curves(scores_by_seed(map(_condition, runs), metric, split=split, masking=masking))


def _condition(run: RunFolder) -> Scored[tuple[str, str, float]]:
    """A run by (model, operator, rate); clean data has no operator."""
    settings = run.read_json("settings.json")
    if len(settings["noise"]) > 1:
        raise UserError(f"run {run.id} has {len(settings['noise'])} kinds of noise; expected one, or clean data")
    noise: dict[str, Any] = settings["noise"][0] if settings["noise"] else {"operator": "", "rate": 0}
    operator, rate, seed = str(noise["operator"]), float(noise["rate"]), int(settings["seed"])
    title = f"{settings['model']} seed {seed} {operator or 'clean'}:{rate:g}"
    return Scored((settings["model"], operator, rate), (operator, rate), seed, title, run)


def _curves(scores: dict[tuple[str, str, float], dict[int, np.ndarray]]) -> list[NoiseCurve]:
    models = list(dict.fromkeys(model for model, _, _ in scores))
    seeds = sorted({seed for by_seed in scores.values() for seed in by_seed})
    curves = []
    for operator in dict.fromkeys(operator for _, operator, _ in scores if operator):
        kind = corrupt.operators()[operator]
        rates = sorted({rate for _, name, rate in scores if name == operator}, key=kind.strength)
        for model in models:
            table = []
            for key in ((model, "", 0.0), *((model, operator, rate) for rate in rates)):
                lacking = [seed for seed in seeds if seed not in scores.get(key, {})]
                if lacking:
                    where = f"{operator}:{key[2]:g}" if key[1] else "clean data"
                    raise UserError(f"no run of {model} on {where} with seed {lacking[0]}; expected every condition")
                table.append(np.stack([scores[key][seed] for seed in seeds]))
            curves.append(NoiseCurve(model, operator, (kind.neutral, *rates), np.stack(table)))
    if not curves:
        raise UserError("no run with noise; expected runs of a robustness study")
    return curves


def findings(robustness: Robustness, metric: str = "recall@20") -> list[str]:
    """What a study shows, one sentence each: what is kept at the strongest noise, whose areas differ, who crosses whom.

    Differences are those that Holm's adjustment over all pairs and operators leaves; crossings those in at least as
    many resamples as the level.
    """
    tables = robustness.retention(), robustness.differences(), robustness.crossings()
    kept, differences, crossings = map(_by_operator, tables)
    said = []
    for operator, rows in kept.items():
        kind = corrupt.operators()[operator]
        strongest = max(row["strength"] for row in rows)
        last = sorted((row for row in rows if row["strength"] == strongest), key=lambda row: -row["mean"])
        shares = ", ".join("{model} {mean:.0%} ({low:.0%} – {high:.0%})".format(**row) for row in last)
        at = rate_text(kind, last[0]["rate"])
        said.append(f"{operator} at {at}: of its {metric} on clean data keeps {shares}.")
        compared = differences.get(operator, [])
        shown = [row for row in compared if row["verdict"] != "no difference shown"]
        for row in shown:
            more, less = (row["model"], row["other"])[:: 1 if row["difference"] > 0 else -1]
            by = f"area +{abs(row['difference']):.3f}, p = {row['p_holm']:.3f}"
            said.append(f"{operator}: {more} keeps more than {less} ({by}).")
        if compared and not shown:
            said.append(f"{operator}: no difference in area is shown between any two models.")
        for row in crossings.get(operator, []):
            if row["share"] >= robustness.level and row["rate"] == row["rate"]:
                at = rate_text(kind, row["rate"])
                said.append(f"{operator}: {row['model']} leads on clean data and falls below {row['other']} at {at}.")
    return said


def _by_operator(table: pd.DataFrame) -> dict[str, list[dict[Any, Any]]]:
    return {str(name): part.to_dict("records") for name, part in table.groupby("operator", sort=False)}


def rate_text(kind: corrupt.Operator, rate: float) -> str:
    """A rate with its unit.

    >>> [rate_text(corrupt.operators()[name], rate) for name, rate in (("drop_edges", 0.125), ("gaussian", 10.0))]
    ['12.5%', '10 dB']
    """
    return f"{100 * rate:.3g}%" if kind.unit == "share" else f"{rate:.3g} dB"
