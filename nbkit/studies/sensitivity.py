"""What one setting does while the others stay: curves of a sweep, and which of its values differ from the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from nbkit import config
from nbkit.errors import UserError, nearest
from nbkit.evaluation.stats import hierarchical_difference, holm, mean_interval
from nbkit.runs import RunFolder
from nbkit.studies.planning import Planned
from nbkit.studies.store import RunStore

RESAMPLES = 4_000
UNSHOWN = "no difference shown"


def sensitivity(
    planned: Sequence[Planned],
    metric: str,
    generator: np.random.Generator,
    *,
    split: str = "valid",
    masking: str = "train",
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """The curve of each setting of a finished sweep (:func:`nbkit.studies.sweep`), and how it differs from the start.

    Columns: model, setting, value, start (whether the value is the one that the others depart from), mean, low, high
    (over users and seeds), difference to the start on the same users and seeds with diff_low and diff_high (intervals
    by Bonferroni over all rows that are not the start), p, p_holm (by Holm over the same rows), verdict ("better",
    "worse" or "no difference shown"), n (users), seeds. Runs that depart in two settings are left out. On the
    validation split unless told otherwise: who picks values by the test split has no test any more.

    Raises:
        UserError: a run that is not finished, an unknown metric, seeds that are not the same everywhere.
    """
    cells = _cells(planned)
    scores = _scores([run for cell in cells for run in cell.runs.values()], metric, split, masking)
    tables = [_table(cell, cells[0].runs, scores) for cell in cells]
    comparisons = sum(not cell.start for cell in cells)
    narrow, rows = 1 - (1 - level) / max(1, comparisons), []
    for cell, mine in zip(cells, tables, strict=True):
        interval = mean_interval(mine, generator, level=level, resamples=resamples)
        row: dict[str, Any] = {"model": cell.model, "setting": cell.setting, "value": cell.value, "start": cell.start}
        row |= {"mean": interval.mean, "low": interval.low, "high": interval.high}
        gap = {"difference": 0.0, "diff_low": 0.0, "diff_high": 0.0, "p": np.nan}
        if not cell.start:
            start = next(of for c, of in zip(cells, tables, strict=True) if c.start and c.model == cell.model)
            result = hierarchical_difference(mine, start, generator, level=narrow, resamples=resamples)
            gap = {"difference": result.difference, "diff_low": result.low, "diff_high": result.high, "p": result.p}
        rows.append({**row, **gap, "n": interval.n, "seeds": len(mine)})
    table = pd.DataFrame(rows)
    compared = ~table["start"]
    table["p_holm"] = np.nan
    table.loc[compared, "p_holm"] = holm(table.loc[compared, "p"].to_numpy())
    sign = np.where(table["difference"] > 0, "better", "worse")
    table["verdict"] = np.where(table["p_holm"] < 1 - level, sign, np.where(compared, UNSHOWN, ""))
    return table


@dataclass
class _Cell:
    """One point of a curve, and its runs by seed."""

    model: str
    setting: str
    value: Any
    start: bool
    runs: dict[int, RunFolder] = field(default_factory=dict)


def _cells(planned: Sequence[Planned]) -> list[_Cell]:
    """The points of every curve, models and settings in their order, values in theirs; the start is in each curve."""
    first: dict[str, dict[str, Any]] = {}
    departed: dict[tuple[str, str, str], _Cell] = {}
    starts: dict[str, dict[int, RunFolder]] = {}
    for each in planned:
        model, seed = each.experiment.model, each.experiment.seed
        values = {**vars(each.experiment.training), **each.experiment.model_settings}
        start = first.setdefault(model, values)
        changed = [name for name in values if values[name] != start[name]]
        if not changed:
            starts.setdefault(model, {})[seed] = each.run
        elif len(changed) == 1:
            name = changed[0]
            cell = _Cell(model, name, values[name], False)
            departed.setdefault((model, name, config.canonical_json(values[name])), cell).runs[seed] = each.run
    if not departed:
        raise UserError(f"none of {len(planned)} runs departs from its start in one setting; expected a sweep")
    cells = []
    for model, setting in dict.fromkeys((model, setting) for model, setting, _ in departed):
        curve = [cell for cell in departed.values() if (cell.model, cell.setting) == (model, setting)]
        curve.append(_Cell(model, setting, first[model][setting], True, starts[model]))
        numbers = all(isinstance(cell.value, int | float) for cell in curve)
        cells += sorted(curve, key=lambda cell: cell.value) if numbers else [curve[-1], *curve[:-1]]
    return cells


def _scores(runs: Sequence[RunFolder], metric: str, split: str, masking: str) -> dict[str, np.ndarray]:
    """Per-user scores ``(U,)`` by run, users in the same order."""
    for run in runs:
        if run.status != "done":
            raise UserError(f"run {run.id} is {run.status}; expected a finished run")
    ids = list({run.id for run in runs})
    table = RunStore(runs[0].path.parent).per_user(ids, split=split, masking=masking)
    metrics = [str(name) for name in table.columns if "@" in str(name)]
    if metric not in metrics:
        raise UserError(f"metric = {metric!r}; {nearest(metric, metrics)}")
    ordered = table.sort_values(["run", "user"])
    return {str(run): part[metric].to_numpy(np.float64) for run, part in ordered.groupby("run", sort=False)}


def _table(cell: _Cell, like: Mapping[int, RunFolder], scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """The scores of a point, seeds by users ``(S, U)``."""
    if set(cell.runs) != set(like):
        where = f"{cell.model}, {cell.setting} = {config.shown(cell.value)}"
        raise UserError(f"{where} has seeds {sorted(cell.runs)}; expected those of the other values: {sorted(like)}")
    return np.stack([scores[cell.runs[seed].id] for seed in sorted(like)])


def findings(table: pd.DataFrame, metric: str) -> list[str]:
    """What a :func:`sensitivity` shows: a sentence for each value that differs from the start, or that none does."""
    said = []
    comparisons = int((~table["start"]).sum())
    for (model, setting), curve in table.groupby(["model", "setting"], sort=False):
        (start,) = curve[curve["start"]].to_dict("records")
        others = curve[~curve["start"]].to_dict("records")
        shown = [row for row in others if row["verdict"] != UNSHOWN]
        head, default = f"{model}, {setting}:", config.shown(start["value"])
        for row in shown:
            said.append(f"{head} {config.shown(row['value'])} is {row['verdict']} than {default}, {_gap(row)}.")
        if not shown:
            top = max(others, key=lambda row: row["mean"])
            lead = "the best other value" if top["mean"] <= start["mean"] else "the best value"
            said.append(
                f"{head} flat as far as this shows: none of {len(others)} values differs from {default}; {lead}, "
                f"{config.shown(top['value'])}, less {default} is {_gap(top)}, corrected for {comparisons} comparisons."
            )
    return said


def _gap(row: dict[Any, Any]) -> str:
    p = "p < 0.001" if row["p_holm"] < 0.001 else f"p = {row['p_holm']:.3f}"
    return f"{row['difference']:+.4f} ({row['diff_low']:+.4f} to {row['diff_high']:+.4f}, {p})"
