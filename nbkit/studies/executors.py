"""Who computes the runs of a study: this process, or a pool of others; ids and metrics are the same.

On the CPU runs are bit for bit the same where the number of threads is: the order of a sum may depend on it. Of seven
runs tried with one thread and with two, one (DiffMM) ended with other last bits in its weights, none with other
metrics. ``environment.json`` of every run tells its number.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nbkit import config
from nbkit.errors import RunBusyError, UserError
from nbkit.runs import RunFolder, Status
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment, run_experiment
from nbkit.training.callbacks import Callback


@dataclass(frozen=True)
class Task:
    """One run to compute: its place is known beforehand, and the memory it needs (MB; 0 where nobody knows)."""

    experiment: Experiment
    run: RunFolder
    test: bool = False
    peak_mb: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``done``, ``failed``, ``stopped`` by Ctrl-C, or ``running`` in another process.

    ``fit`` is what ``metrics.json`` says of the training; ``fresh`` is False for what was there before.
    """

    experiment: Experiment
    run: RunFolder
    status: Status
    reason: str = ""
    fit: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = True


Tick = Callable[[Sequence[Task]], None]  # told now and then which tasks are being computed


class Executor(Protocol):
    """Computes tasks and gives their outcomes as they come; ends early, after ``stopped`` outcomes, on Ctrl-C."""

    @property
    def device(self) -> str:
        """Where runs are computed; costs are counted by its kind."""

    @property
    def workers(self) -> int:
        """How many runs are computed at a time."""

    def run(self, tasks: Sequence[Task], datasets: Datasets, tick: Tick) -> Iterator[Outcome]:
        """The outcome of every task."""


@dataclass(frozen=True)
class Inline:
    """One run after another in this process; ``callbacks`` watch each fit."""

    device: str = "auto"
    callbacks: Callable[[Experiment], Sequence[Callback]] = lambda experiment: ()
    workers: int = field(default=1, init=False)

    def run(self, tasks: Sequence[Task], datasets: Datasets, tick: Tick) -> Iterator[Outcome]:
        """The outcome of every task, in order."""
        for task in tasks:
            tick([task])
            pulse = Pulse(lambda task=task: tick([task]))  # type: ignore[misc]
            outcome = compute(task, datasets, self.device, [*self.callbacks(task.experiment), pulse])
            yield outcome
            if outcome.status == "stopped":
                return


class Pulse(Callback):
    """Calls a function after every epoch."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        self.beat()


def compute(task: Task, datasets: Datasets, device: str, callbacks: Sequence[Callback]) -> Outcome:
    """Compute one run; whatever goes wrong is its outcome and is kept in its folder, and stops no other run."""
    experiment, run = task.experiment, task.run
    try:
        run.retry()
        dataset = datasets.load(experiment)
        done = run_experiment(
            experiment, dataset, root=run.path.parent, device=device, callbacks=callbacks, test=task.test
        )
        if done.status == "done":
            return Outcome(experiment, done, "done", fit=done.read_json("metrics.json")["fit"])
        return Outcome(experiment, done, "stopped")
    except KeyboardInterrupt:
        return Outcome(experiment, run, "stopped")
    except RunBusyError as error:
        return Outcome(experiment, run, "running", str(error))
    except Exception as error:
        return failure(task, str(error) if isinstance(error, UserError) else _told(error))


def failure(task: Task, reason: str) -> Outcome:
    """The outcome of a run that failed, kept in its folder with the reason."""
    with contextlib.suppress(UserError):  # a disk that is full has no room for this either
        task.run.create()
        if not (task.run / "settings.json").exists():
            task.run.write_json("settings.json", config.canonical(task.experiment))
        task.run.fail(reason)
    return Outcome(task.experiment, task.run, "failed", reason)


def _told(error: Exception) -> str:
    """An unforeseen error in one line, with the place it came from."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {words} ({os.path.basename(last.filename)}:{last.lineno})"
