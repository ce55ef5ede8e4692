"""The trials of a search computed, here or in several processes: experiments of the store, pruned or to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Outcome, Task, compute
from nbkit.studies.pool import SPAWN, Pool, Stopped, begin_worker, child_environment
from nbkit.studies.running import State, Watch
from nbkit.studies.search import Journal, Search
from nbkit.training.callbacks import Callback

if TYPE_CHECKING:
    from optuna.trial import Trial

INTERRUPTED = "interrupted"
Watching = Callable[[int, str], Sequence[Callback]]  # callbacks for a trial's fit, by its number and label


class Pruning(Callback):
    """Reports every validation of a fit, and ends it once Optuna's pruner says so.

    ``past`` are validations by epoch that are known from before, for a fit that goes on.
    """

    def __init__(self, trial: Trial, metric: str, past: Mapping[int, float]) -> None:
        self.trial, self.metric, self.past = trial, metric, past
        self.reason = ""
        self._reported: dict[int, float] = {}

    def report(self, history: Mapping[int, float]) -> None:
        """Tell the journal validations by epoch, each once."""
        for epoch, score in history.items():
            if epoch not in self._reported:
                self._reported[epoch] = score
                self.trial.report(score, epoch)

    def started(self, epoch: int, epochs: int, steps: int) -> None:
        self.report({step: score for step, score in self.past.items() if step <= epoch})

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        score = row.get(f"valid_{self.metric}")
        if score is None:
            return
        self.report({int(row["epoch"]): score})
        if self.trial.should_prune():
            best = max(self._reported.values())
            self.reason = f"pruned at epoch {row['epoch']:.0f}: valid {self.metric} {best:.4f} is below the median"
            raise KeyboardInterrupt


@dataclass
class Worker:
    """Claims trials of a journal and computes them, until the budget is spent."""

    journal: Journal
    budget: int
    since: int
    device: str
    datasets: Datasets
    watching: Watching = lambda number, label: ()
    stop: Event | None = None

    def work(self) -> bool:
        """Whether it came to the end; False where it was stopped."""
        while self.stop is None or not self.stop.is_set():
            claimed = self.journal.claim(self.budget, self.since)
            if claimed is None:
                return True
            if not self.attempt(*claimed):
                return False
        return False

    def attempt(self, trial: Trial, past: Mapping[int, float]) -> bool:
        """Compute a trial and tell the journal how it ended; False where it was stopped from outside."""
        from optuna.trial import TrialState

        search, point = self.journal.search, trial.user_attrs["point"]
        experiment = search.space.experiment(point)
        run = RunFolder(self.journal.root / experiment.run_id(self.journal.fingerprint))
        trial.set_user_attr("run", run.id)
        pruning = Pruning(trial, search.metric, {**past, **validations(run, search.metric)})
        callbacks = [*self.watching(self.journal.place(point), search.space.label(point))]
        callbacks += [pruning] if search.prune else []
        outcome = self._outcome(Task(experiment, run), callbacks)
        study = self.journal.study()
        if outcome.status == "done":
            if search.prune:
                pruning.report(validations(run, search.metric))  # of a run that was there, none is known yet
            study.tell(trial.number, run.read_json("metrics.json")["valid"]["train"][search.metric])
            return True
        stopped = outcome.status == "stopped" and not pruning.reason
        if pruning.reason:
            run.stop(pruning.reason)
        trial.set_user_attr("reason", INTERRUPTED if stopped else pruning.reason or outcome.reason)
        study.tell(trial.number, state=TrialState.PRUNED if pruning.reason else TrialState.FAIL)
        return not stopped

    def _outcome(self, task: Task, callbacks: Sequence[Callback]) -> Outcome:
        """How the run ends; one that another process computes is waited for."""
        while True:
            outcome = compute(task, self.datasets, self.device, callbacks)
            if outcome.status != "running":
                return outcome
            time.sleep(0.2)


def validations(run: RunFolder, metric: str) -> dict[int, float]:
    """The run's history of a validation metric by epoch; empty where none is kept."""
    if not (run / "history.parquet").exists():
        return {}
    table = run.read_table("history.parquet")
    column = f"valid_{metric}"
    if column not in table:
        return {}
    known = table[["epoch", column]].dropna()
    return {int(epoch): float(score) for epoch, score in known.itertuples(index=False)}


def run_workers(journal: Journal, budget: int, since: int, *, jobs: int, device: str, watch: Watch) -> bool:
    """Let several processes work on a journal, never with more threads than cores; whether they came to the end.

    The trial of a process that dies is marked as failed, and a new process takes its place.
    """
    pool, stop = Pool(jobs), SPAWN.Event()
    arguments = (journal.search, journal.root, journal.fingerprint, budget, since, device, pool.threads_each, stop)
    working = [_start(arguments, pool.threads_each) for _ in range(pool.workers)]
    try:
        while working:
            try:
                ended = connection.wait([process.sentinel for process in working], timeout=pool.tick_seconds)
                watch(state_of(journal, budget, pool.workers))
            except KeyboardInterrupt:
                stop.set()
                continue
            for process in [process for process in working if process.sentinel in ended]:
                process.join()
                working.remove(process)
                if process.exitcode and not stop.is_set():
                    if not journal.bury(process.pid):
                        raise UserError("a process ended before it began a trial; what it said stands above")
                    working.append(_start(arguments, pool.threads_each))
        return not stop.is_set()
    finally:
        stop.set()
        for process in working:
            process.join()


def state_of(journal: Journal, budget: int, workers: int) -> State:
    """How far a search is; the time left from the median of the trials that ended."""
    tried = list(journal.tried().values())[:budget]
    ended = [trial for trial in tried if trial.state.is_finished()]
    running = tuple(journal.search.space.label(t.user_attrs["point"]) for t in tried if not t.state.is_finished())
    failed = sum(trial.state.name == "FAIL" for trial in ended)
    left, spent = budget - len(ended), [t.duration.total_seconds() for t in ended if t.duration]
    seconds = median(spent) * left / workers if spent else 0.0
    return State(budget, len(ended) - failed, failed, running, seconds, 0 if spent else left)


def _start(arguments: tuple[object, ...], threads: int) -> BaseProcess:
    process = SPAWN.Process(target=_work, args=arguments)
    with child_environment(threads):
        process.start()
    return process


def _work(
    search: Search, root: Path, fingerprint: str, budget: int, since: int, device: str, threads: int, stop: Event
) -> None:
    """A process's whole life."""
    begin_worker(threads, stop)
    datasets = Datasets()
    if datasets.fingerprint(search.space.start) != fingerprint:
        raise UserError(f"data {search.space.start.data!r} has changed; expected what the search began with")
    Worker(Journal(search, root, fingerprint), budget, since, device, datasets, _stoppable, stop).work()


def _stoppable(number: int, label: str) -> Sequence[Callback]:
    return [Stopped()]
