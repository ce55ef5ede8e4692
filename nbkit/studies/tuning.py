"""Tuning under an equal budget: as many trials for each model, chosen on validation, the test split never opened."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from nbkit import config, repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError, nearest
from nbkit.models.base import Grid, Preset, model_class
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Inline
from nbkit.studies.experiment import Experiment
from nbkit.studies.running import execute
from nbkit.studies.study import Study
from nbkit.training.callbacks import Callback
from nbkit.training.loop import TrainSettings

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """One experiment of a tuning, and in which settings it departs from the first."""

    experiment: Experiment
    settings: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The settings as one reads them: ``reg=0.01 lr=0.001``, or ``start``, from which the others depart."""
        return config.assignments({**self.settings, **self.training}) or "start"


def trials(
    model: str,
    count: int,
    *,
    data: str,
    settings: Settings | None = None,
    training: Settings | None = None,
    seed: int = 0,
    preset: str | None = None,
) -> list[Trial]:
    """What a budget of ``count`` trials tries: the start, then points of the model's grid.

    The start is the model's defaults or a preset, with ``settings`` of the model and ``training`` on top; these hold in
    every trial, and the grid is what they leave of the model's. The order of the points depends on the model and
    ``seed`` only, so a larger budget begins with the smaller one's trials, and those are already there. A grid with
    fewer points is tried whole. ``seed`` is also the runs' seed.

    Raises:
        UserError: no trial wanted, an unknown preset, or nothing left to vary.
    """
    cls, settings, training = model_class(model), settings or {}, training or {}
    if count < 1:
        raise UserError(f"trials = {count}; expected 1 or more")
    if preset is not None and preset not in cls.presets:
        known = nearest(preset, cls.presets) if cls.presets else "it has none"
        raise UserError(f"preset {preset!r}: model {model} has no such preset; {known}")
    start = Preset("defaults") if preset is None else cls.presets[preset]
    grid = Grid(
        cls.grid.source,
        {name: values for name, values in cls.grid.settings.items() if name not in settings},
        {name: values for name, values in cls.grid.training.items() if name not in training},
    )
    points = grid.points()
    if len(points) < 2 and count > 1:
        fixed = f" beside {config.assignments({**settings, **training})}" if settings or training else ""
        raise UserError(f"model {model} has nothing to vary{fixed}; expected a model with a grid")
    order = repro.numpy_generator(seed, f"tuning/{model}").permutation(len(points))
    found: dict[str, Trial] = {}
    for point in [Preset("start"), *(points[n] for n in order)]:
        experiment = Experiment(
            model=model,
            data=data,
            seed=seed,
            model_settings={**start.settings, **settings, **point.settings},
            training=TrainSettings(**{**start.training, **training, **point.training}),
        )
        found.setdefault(config.canonical_json(experiment), Trial(experiment, point.settings, point.training))
    return list(found.values())[:count]


def command(experiment: Experiment) -> str:
    """What trains an experiment's settings over seeds and opens the test split then: an ``nbkit train`` line."""
    parts = [f"nbkit train {experiment.model} --data {shlex.quote(experiment.data)}"]
    defaults = config.check(model_class(experiment.model), {}, where="defaults"), vars(TrainSettings())
    chosen = experiment.model_settings, vars(experiment.training)
    for option, values, usual in zip(("--set", "--train"), chosen, defaults, strict=True):
        changed = [config.assignments({name: v}) for name, v in values.items() if v != usual[name]]
        parts += [f"{option} {shlex.quote(text)}" for text in changed]
    return " ".join([*parts, "--seeds 0,1,2 --test"])


def tune(
    planned: Sequence[Trial],
    dataset: MultimodalDataset,
    *,
    root: Path | None = None,
    device: str = "auto",
    watch: Callable[[int, Trial], Sequence[Callback]] = lambda number, trial: (),
) -> Iterator[dict[str, Any]]:
    """Run the trials one by one; a row each: model, trial, settings, validation score, epochs, seconds, run, note.

    Finished trials are not computed again. A diverged one is tried again, and is a row with the score nan and the
    reason as its note; so is one that fails otherwise. After Ctrl-C no more rows come.
    """
    numbers = {config.canonical_json(trial.experiment): number for number, trial in enumerate(planned)}

    def place(experiment: Experiment) -> tuple[int, Trial]:
        number = numbers[config.canonical_json(experiment)]
        return number, planned[number]

    study = Study("tuning", tuple(trial.experiment for trial in planned))
    executor = Inline(device, lambda experiment: watch(*place(experiment)))
    data = Datasets({experiment.data: dataset for experiment in study})
    for outcome in execute(study, executor, root=root, retry_failed=True, datasets=data):
        if outcome.status == "stopped":
            return
        number, trial = place(outcome.experiment)
        row = {"model": trial.experiment.model, "trial": number, "settings": trial.label, "note": outcome.reason}
        if outcome.status == "done":
            scores, fitted = outcome.run.read_json("metrics.json")["valid"]["train"], outcome.fit
            kept = {"best_epoch": fitted["best_epoch"], "epochs": fitted["epochs"], "seconds": fitted["train_seconds"]}
            yield {**row, "score": scores[trial.experiment.training.metric], **kept, "run": outcome.run.id}
        else:
            yield {**row, "score": float("nan")}


def ranked(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of :func:`tune` as a table, best validation score of each model first."""
    table = pd.DataFrame(rows)
    return table.sort_values(["model", "score"], ascending=[True, False], kind="stable").reset_index(drop=True)
