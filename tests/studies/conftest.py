"""Trials of searches that are not trained: scores and learning curves are planted, everything else is real."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import pytest

from nbkit import config
from nbkit.studies import trials
from nbkit.studies.executors import Outcome, Task
from nbkit.studies.experiment import Experiment

Score = Callable[[Experiment], float]
EPOCHS = 20


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Experiment]]:
    """Lets every run end with its planted score, which it approaches over twenty epochs; gives the computed ones.

    Computation number ``interrupt_at`` is interrupted after three epochs; ``stop_at`` is a run's last epoch.
    """
    return partial(_plant, monkeypatch)


def _plant(
    monkeypatch: pytest.MonkeyPatch,
    score: Score,
    *,
    interrupt_at: int | None = None,
    stop_at: Callable[[Experiment], int] = lambda e: EPOCHS,
) -> list[Experiment]:
    computed: list[Experiment] = []

    def compute(task: Task, datasets: Any, device: str, callbacks: Any) -> Outcome:
        if task.run.status == "done":
            return Outcome(task.experiment, task.run, "done")
        metric, final = task.experiment.training.metric, score(task.experiment)
        task.run.create().write_json("settings.json", config.canonical(task.experiment))
        task.run.retry()
        computed.append(task.experiment)
        rows = []
        try:
            for callback in callbacks:
                callback.started(0, EPOCHS, 1)
            for epoch in range(1, stop_at(task.experiment) + 1):
                rows.append({"epoch": epoch, "loss": 1.0, f"valid_{metric}": final * epoch / EPOCHS})
                for callback in callbacks:
                    callback.epoch_ended(rows[-1])
                if len(computed) - 1 == interrupt_at and epoch == 3:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            return Outcome(task.experiment, task.run, "stopped")
        finally:
            task.run.write_table("history.parquet", pd.DataFrame(rows))
        fit = {"best_epoch": EPOCHS, "epochs": EPOCHS, "train_seconds": 0.1}
        task.run.write_json("metrics.json", {"fit": fit, "valid": {"train": {metric: final}}})
        task.run.finish()
        return Outcome(task.experiment, task.run, "done", fit=fit)

    monkeypatch.setattr(trials, "compute", compute)
    return computed
