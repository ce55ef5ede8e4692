"""Experiments as command lines: the line makes the same experiment again."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from nbkit import config
from nbkit.models.base import model_class
from nbkit.studies.commands import train_command
from nbkit.studies.experiment import Experiment, Noise
from nbkit.training.loop import TrainSettings

EXPERIMENT = Experiment(
    model="diffmm",
    data="my shop",
    model_settings={"dim": 128},
    training=TrainSettings(patience=5, lr=0.00123456789),
    noise=(Noise("add_random_edges", 0.123456789, 4), Noise("row_shuffle", 0.1, 0)),
)


@pytest.mark.parametrize("experiment", [EXPERIMENT, Experiment(model="bpr"), replace(EXPERIMENT, noise=())])
def test_the_command_of_an_experiment_makes_the_same_experiment(experiment: Experiment) -> None:
    words = shlex.split(train_command(experiment, seeds=[7, 8]))
    assert words[:5] == ["nbkit", "train", experiment.model, "--data", experiment.data]
    assert words[-3:] == ["--seeds", "7,8", "--test"]
    given = {option: [b for a, b in pairwise(words) if a == option] for option in ("--set", "--train", "--noise")}
    settings = config.parse_assignments(model_class(experiment.model), given["--set"], where="--set")
    training = TrainSettings(**config.parse_assignments(TrainSettings, given["--train"], where="--train"))
    noise = tuple(Noise.parse(text) for text in given["--noise"])
    assert replace(experiment, model_settings=settings, training=training, noise=noise) == experiment


def test_a_preset_stands_for_its_settings() -> None:
    line = train_command(EXPERIMENT, preset=Path("my best.toml"))
    assert "--preset 'my best.toml'" in line
    assert "--set" not in line
