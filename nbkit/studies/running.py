"""A study computed: what is there is taken, what is missing is computed, what fails stops nothing else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from nbkit.paths import runs_dir, writable_folder
from nbkit.studies.costs import Costs
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Executor, Outcome, Task
from nbkit.studies.naming import executor_of
from nbkit.studies.planning import Plan, plan, results, tested, time_left
from nbkit.studies.study import Study


@dataclass(frozen=True)
class State:
    """How far a study is: numbers of runs, names of the running ones, and seconds left as far as they are known."""

    total: int
    done: int
    failed: int
    running: tuple[str, ...]
    seconds: float
    unknown: int

    def __str__(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        names = ", ".join(self.running[:3]) + ("…" if len(self.running) > 3 else "")
        left = "" if self.done + self.failed >= self.total else f"; {time_left(self.seconds, self.unknown)} left"
        return f"{self.done} of {self.total} runs done{failed}{left}{f' ({names})' if names else ''}"


Watch = Callable[[State], None]


def execute(
    study: Study,
    executor: Executor | str | None = None,
    *,
    root: Path | None = None,
    test: bool = False,
    retry_failed: bool = False,
    watch: Watch = lambda state: None,
    datasets: Datasets | None = None,
) -> Iterator[Outcome]:
    """The outcome of every run of a study: first those that are there, then the others as they end.

    The executor may be given by name, as ``pool:4``; none is the one that ``NBKIT_EXECUTOR`` names, else ``inline``.
    Failed runs are kept and not tried again unless ``retry_failed``. After Ctrl-C the outcomes of the runs at hand come
    as ``stopped``, then nothing more; the same call goes on. ``test`` opens the test split of every finished run.
    ``watch`` is told how far the study is, whenever that changes and about once a second or an epoch.

    Raises:
        UserError: an unknown executor, data that cannot be loaded, or a folder that cannot be written.
    """
    who = executor_of(executor)
    datasets = datasets or Datasets()
    writable_folder(runs_dir() if root is None else Path(root), "runs folder")
    planned = plan(study, root, device=who.device, datasets=datasets)
    tasks, there = _divided(planned, test, retry_failed)
    yield from there
    done = sum(outcome.status == "done" for outcome in there)
    meter = _Meter(planned.costs, who.workers, len(planned.runs), done, len(there) - done, tasks, watch)
    for outcome in who.run(tasks, datasets, meter.tick) if tasks else ():
        meter.ended(outcome)
        yield outcome


def run_study(study: Study, executor: Executor | str | None = None, **options: object) -> pd.DataFrame:
    """Execute a study under a progress line and give its table, as far as it got; options are :func:`execute`'s."""
    with Progress(study.name) as progress:
        for _ in execute(study, executor, watch=progress, **options):  # type: ignore[arg-type]
            pass
    return results(study, options.get("root"), partial=True)  # type: ignore[arg-type]


def _divided(planned: Plan, test: bool, retry_failed: bool) -> tuple[list[Task], list[Outcome]]:
    """What is to be computed, and the outcomes that stand."""
    tasks, there = [], []
    for each in planned.runs:
        untested = test and each.status == "done" and not tested(each.run)
        if untested or each.status in ("new", "stopped", "running") or (each.status == "failed" and retry_failed):
            tasks.append(Task(each.experiment, each.run, test, planned.costs.peak_mb(each.experiment)))
        else:
            fit = each.run.read_json("metrics.json")["fit"] if each.status == "done" else {}
            there.append(Outcome(each.experiment, each.run, each.status, each.reason, fit, fresh=False))
    return tasks, there


class _Meter:
    """Counts outcomes and estimates the rest, from finished runs and from those that end meanwhile."""

    def __init__(
        self, costs: Costs, workers: int, total: int, done: int, failed: int, tasks: Sequence[Task], watch: Watch
    ) -> None:
        self.costs, self.workers, self.watch = costs, workers, watch
        self.total, self.done, self.failed = total, done, failed
        self.left = {task.run.id: task for task in tasks}
        self.began: dict[str, float] = {}
        self.told = 0.0
        self.names: tuple[str, ...] = ()

    def tick(self, running: Sequence[Task]) -> None:
        now = time.monotonic()
        names = tuple(t.experiment.title for t in running)
        if names == self.names and now - self.told < 0.5:  # an epoch may be shorter than this takes
            return
        self.told, self.names = now, names
        for task in running:
            self.began.setdefault(task.run.id, now)
        rest = []
        for id_, task in self.left.items():
            seconds = self.costs.seconds(task.experiment)
            spent = now - self.began[id_] if id_ in self.began else 0.0
            rest.append(None if seconds is None else max(0.0, seconds - spent))
        known = [seconds for seconds in rest if seconds is not None]
        seconds = max(sum(known) / self.workers, *known, 0.0)
        self.watch(State(self.total, self.done, self.failed, names, seconds, len(rest) - len(known)))

    def ended(self, outcome: Outcome) -> None:
        task = self.left.pop(outcome.run.id, None)
        self.done += outcome.status == "done"
        self.failed += outcome.status == "failed"
        if outcome.fit and task is not None:
            self.costs.add(outcome.experiment, outcome.fit)
        self.told = 0.0
        self.tick([])


class Progress:
    """One line about a study: a bar in a terminal, a new line every few seconds in a log."""

    def __init__(self, title: str, *, every: float = 5.0, file: TextIO | None = None) -> None:
        self.title, self.every, self.file = title, every, file or sys.stderr
        self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __call__(self, state: State) -> None:
        if not self.file.isatty():
            if time.monotonic() - self._told >= self.every:
                self._told = time.monotonic()
                print(f"{self.title}: {state}", file=self.file, flush=True)
            return
        if self._bar is None:
            from tqdm import tqdm

            style = {"bar_format": "{desc} |{bar:20}|{postfix}", "dynamic_ncols": True}
            self._bar = tqdm(total=state.total, desc=self.title, file=self.file, **style)
        self._bar.n = state.done + state.failed
        self._bar.set_postfix_str(str(state))

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
