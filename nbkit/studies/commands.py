"""Experiments as command lines that anybody can repeat."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from nbkit import config
from nbkit.models.base import model_class
from nbkit.studies.experiment import Experiment
from nbkit.studies.presets import departures
from nbkit.training.loop import TrainSettings


def train_command(experiment: Experiment, *, preset: Path | None = None, seeds: Iterable[int] = (0, 1, 2)) -> str:
    """The ``nbkit train`` line of an experiment over seeds, which opens the test split at the end.

    Settings are those that depart from defaults, or those of ``preset``, a file.
    """
    parts = [f"nbkit train {experiment.model} --data {shlex.quote(experiment.data)}"]
    parts += [f"--noise {noise.operator}:{noise.rate!r}:{noise.seed}" for noise in experiment.noise]
    if preset is not None:
        parts.append(f"--preset {shlex.quote(str(preset))}")
    else:
        targets = (model_class(experiment.model), experiment.model_settings), (TrainSettings, vars(experiment.training))
        for option, (target, values) in zip(("--set", "--train"), targets, strict=True):
            changed = departures(target, values)
            parts += [f"{option} {shlex.quote(config.assignments({name: v}))}" for name, v in changed.items()]
    return " ".join([*parts, f"--seeds {','.join(map(str, seeds))} --test"])
