"""Runs of the papers' tables, found in a store by what they are, whichever notebook computed them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from nbkit import config
from nbkit.evaluation.final import METRICS
from nbkit.models.base import model_class
from nbkit.runs import RunFolder
from nbkit.studies.ablating import Variant, left_out
from nbkit.studies.compare import held_out_scores
from nbkit.studies.papers import Exhibit
from nbkit.studies.published import table_2
from nbkit.studies.store import RunStore


@dataclass(frozen=True)
class Tested:
    """A finished run on clean data whose test split was opened."""

    run: RunFolder
    settings: Mapping[str, Any]
    data: str
    caveat: str
    same: str  # equal for runs that may be compared: content of the data, training settings, code
    valid: float

    @property
    def key(self) -> str:
        """Equal for runs that differ in their seed alone."""
        return config.canonical_json([self.settings["model"], self.settings["model_settings"], self.same])


@dataclass(frozen=True)
class Found:
    """What there is of an exhibit on one data set: runs by row, one for each seed."""

    data: str
    label: str
    rows: dict[str, list[RunFolder]] = field(default_factory=dict)

    def scores(self, metric: str) -> dict[str, np.ndarray]:
        """Per-user test scores ``(S, U)`` by row, training items masked."""
        return {
            row: np.stack([held_out_scores(run, metric, "test", "train")[1] for run in runs])
            for row, runs in self.rows.items()
        }


def tested(store: RunStore, metric: str) -> list[Tested]:
    """Every finished run of a store that was tested, on data without noise, and has this validation metric."""
    found = []
    for run in store.runs():
        if run.status != "done":
            continue
        settings, metrics = run.read_json("settings.json"), run.read_json(METRICS)
        value = metrics.get("valid", {}).get("train", {}).get(metric)
        if value is None or settings["noise"] or metric not in metrics.get("test", {}).get("train", {}):
            continue
        made = run.read_json("environment.json")["dataset"]
        same = config.canonical_json([made["data"], settings["training"], made["code"]])
        found.append(Tested(run, settings, str(made["name"]), str(made["caveat"]), same, float(value)))
    return found


def found(each: Exhibit, runs: Sequence[Tested], data: str) -> Found | None:
    """The runs of an exhibit on the data set of that name; of several settings those with the best validation.

    Of a model taken apart, the whole model whose variants are most complete, then best. None where there are none.
    """
    there = [run for run in runs if run.data == data]
    if not there:
        return None
    rows = _models(there) if each.kind == "models" else _parts(there, each.paper)
    return Found(data, there[0].caveat, rows) if rows else None


def _models(runs: Sequence[Tested]) -> dict[str, list[RunFolder]]:
    by_model: dict[str, dict[str, list[Tested]]] = defaultdict(lambda: defaultdict(list))
    printed = dict.fromkeys(table_2()["model"])
    for run in runs:
        model = run.settings["model"]
        if model in printed and not left_out(model, run.settings["model_settings"]):  # else it is another model
            by_model[model][run.key].append(run)
    best = {model: max(groups.values(), key=_validation) for model, groups in by_model.items()}
    return {model: _by_seed(best[model]) for model in printed if model in best}


def _parts(runs: Sequence[Tested], model: str) -> dict[str, list[RunFolder]]:
    own, switches = [run for run in runs if run.settings["model"] == model], model_class(model).parts
    without = {run.run.id: left_out(model, run.settings["model_settings"]) for run in own}
    best: tuple[tuple[int, float], dict[str, list[RunFolder]]] = ((0, 0.0), {})
    for whole in own:
        if without[whole.run.id]:
            continue
        rows: dict[str, list[Tested]] = defaultdict(list)
        for run in own:
            out = without[run.run.id]
            settings = {**whole.settings["model_settings"], **{k: v for part in out for k, v in switches[part].items()}}
            if run.same == whole.same and run.settings["model_settings"] == settings:
                rows[Variant(model, without=out).kept].append(run)
        rank = len(rows), _validation(rows[Variant(model).kept])
        if rank > best[0]:
            best = rank, {kept: _by_seed(some) for kept, some in rows.items()}
    return best[1]


def _validation(runs: Iterable[Tested]) -> float:
    return fmean(run.valid for run in runs)


def _by_seed(runs: Iterable[Tested]) -> list[RunFolder]:
    return [run.run for run in sorted(runs, key=lambda run: int(run.settings["seed"]))]
