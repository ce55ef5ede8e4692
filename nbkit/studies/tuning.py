"""Tuning under an equal budget: as many trials for each model, chosen on validation, the test split never opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from nbkit import config, repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import TrainingDivergedError, UserError, nearest
from nbkit.models.base import Preset, model_class
from nbkit.studies.experiment import Experiment, run_experiment
from nbkit.training.callbacks import Callback
from nbkit.training.loop import TrainSettings


@dataclass(frozen=True)
class Trial:
    """One experiment of a tuning, and the settings in which it differs from the model's defaults."""

    experiment: Experiment
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The settings as one reads them: ``reg=0.01 lr=0.001``, or ``defaults``."""
        return " ".join(f"{k}={_text(v)}" for k, v in {**self.settings, **self.training}.items()) or "defaults"

    @property
    def options(self) -> str:
        """The settings as ``nbkit train`` takes them."""
        parts = [("--set", self.settings), ("--train", self.training)]
        return " ".join(f"{option} {k}={_text(v)}" for option, values in parts for k, v in values.items())


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def trials(
    model: str,
    count: int,
    *,
    data: str,
    settings: Mapping[str, Any] | None = None,
    training: TrainSettings | None = None,
    seed: int = 0,
    preset: str | None = None,
) -> list[Trial]:
    """What a budget of ``count`` trials tries: the preset or the defaults, then points of the model's grid.

    The order of the points depends on the model and ``seed`` only, so a larger budget begins with the smaller one's
    trials, and those are already there. A grid with fewer points is tried whole. ``seed`` is also the runs' seed;
    ``settings`` of the model and ``training`` hold what is the same for all (a width; epochs, patience, metric).

    Raises:
        UserError: no trial wanted, an unknown preset, or a model that declares no grid.
    """
    cls, training = model_class(model), training or TrainSettings()
    if count < 1:
        raise UserError(f"trials = {count}; expected 1 or more")
    if preset is not None and preset not in cls.presets:
        raise UserError(f"preset {preset!r}: model {model} has no such preset; {nearest(preset, cls.presets)}")
    points = cls.grid.points()
    if len(points) < 2:
        raise UserError(f"model {model} declares no grid to tune over; expected a model with `grid`")
    order = repro.numpy_generator(seed, f"tuning/{model}").permutation(len(points))
    first = Preset("defaults") if preset is None else cls.presets[preset]
    found: dict[str, Trial] = {}
    for point in [first, *(points[n] for n in order)]:
        experiment = Experiment(
            model=model,
            data=data,
            seed=seed,
            model_settings={**(settings or {}), **point.settings},
            training=replace(training, **point.training),
        )
        found.setdefault(config.canonical_json(experiment), Trial(experiment, point.settings, point.training))
    return list(found.values())[:count]


def tune(
    planned: Sequence[Trial],
    dataset: MultimodalDataset,
    *,
    root: Path | None = None,
    device: str = "auto",
    watch: Callable[[int, Trial], Sequence[Callback]] = lambda number, trial: (),
) -> Iterator[dict[str, Any]]:
    """Run the trials one by one; a row each: model, trial, settings, validation score, epochs, seconds, run.

    Finished trials are not computed again. A diverged one is a row with the score nan; after Ctrl-C no more rows come.
    """
    for number, trial in enumerate(planned):
        experiment = trial.experiment
        row: dict[str, Any] = {"model": experiment.model, "trial": number, "settings": trial.label}
        try:
            run = run_experiment(experiment, dataset, root=root, device=device, callbacks=watch(number, trial))
        except TrainingDivergedError as error:
            yield {**row, "score": float("nan"), "note": str(error)}
            continue
        if run.status != "done":
            return
        metrics = run.read_json("metrics.json")
        fitted, score = metrics["fit"], metrics["valid"]["train"][experiment.training.metric]
        kept = {"best_epoch": fitted["best_epoch"], "epochs": fitted["epochs"], "seconds": fitted["train_seconds"]}
        yield {**row, "score": score, **kept, "run": run.id}


def ranked(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of :func:`tune` as a table, best validation score of each model first."""
    table = pd.DataFrame(rows)
    return table.sort_values(["model", "score"], ascending=[True, False], kind="stable").reset_index(drop=True)
