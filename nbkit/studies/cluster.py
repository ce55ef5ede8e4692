"""Runs of a study on the nodes of a Ray cluster; a run whose node dies is taken up by another one.

Nothing else knows of Ray, and it is imported when a cluster is first asked for. How to start one under Slurm or
Kubernetes stands in ``docs/cluster.md``.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import RunBusyError, UserError
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Outcome, Task, Tick, compute, failure
from nbkit.training.callbacks import Stop

Files = dict[str, bytes]


@dataclass(frozen=True)
class Ray:
    """Every run is a Ray task with ``cpus`` cores, as many threads, and ``gpus`` of one GPU (0: computed on the CPU).

    *Cluster.* ``address`` is HOST:PORT of its head, or ``local``. Without, Ray asks ``$RAY_ADDRESS``, then looks for
    a cluster on this machine, then starts one here. A connection of this process is used again and ends with it.

    *How many.* ``jobs`` runs are handed over at a time, by default as many as the nodes have room for at the moment.
    A cluster that grows on demand needs the number, since it grows for what was handed over.

    *Data* is loaded here, once a data set, and goes through Ray's object store: nodes need no copy of a folder, and
    the runs of a node share one in memory. Noise is put in by the node; its run id must come out as it does here.

    *Results.* With ``shared`` the runs folder is the same for all nodes: they write there themselves, and a run goes on
    from its checkpoint wherever it is taken up. Without, a node computes in a temporary folder, whose files come back
    when the run ends and are written here, the DONE mark last; a node that dies takes its unfinished run with it.

    *Death.* A run whose process or node dies is handed over again, until ``attempts`` have died; its outcome says so.
    A run that fails by itself (bad settings, a loss that diverges) is an outcome and is not tried again. A dead node's
    lock on shared storage lasts until the storage notices: the next attempt waits for it, ``lock_seconds`` at most.

    Raises:
        UserError: Ray is not installed, numbers out of range; when it runs: no such cluster, no node that is large
            enough, a node that does not see the shared folder or has other code.
    """

    address: str | None = None
    cpus: int = 1
    gpus: float = 0.0
    jobs: int | None = None
    shared: bool = False
    attempts: int = 3
    lock_seconds: float = 300.0
    tick_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("cpus", "jobs", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"ray: {name} = {value}; expected 1 or more")
        if not 0 <= self.gpus <= 1:
            raise UserError(f"ray: gpus = {self.gpus:g}; expected 0 … 1, for a run computes on one GPU")
        _ray()

    @property
    def device(self) -> str:
        """What kind of device the nodes compute on."""
        return "cuda" if self.gpus else "cpu"

    @property
    def workers(self) -> int:
        """How many runs are handed over at a time."""
        return self.jobs or max(1, self._room())

    def run(self, tasks: Sequence[Task], datasets: Datasets, tick: Tick) -> Iterator[Outcome]:
        """The outcome of every task as it comes."""
        ray = connected(self.address)
        if not self.jobs and not self._room():
            sizes = ", ".join(f"{n.get('CPU', 0):g} CPUs and {n.get('GPU', 0):g} GPUs" for n in _nodes(ray)) or "none"
            raise UserError(f"ray: cpus = {self.cpus}, gpus = {self.gpus:g}; no node has that much (nodes: {sizes})")
        flights, data = [Flight(task, self.shared) for task in tasks], Shipped(ray, datasets)
        waiting, flying = list(flights), dict[Any, Flight]()
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0, "scheduling_strategy": "SPREAD"}
        remote, stopping = ray.remote(_compute).options(**options), False
        try:
            while waiting or flying:
                landed: list[tuple[Flight, Outcome | None]] = []
                try:
                    while waiting and len(flying) < self.workers:
                        flight = waiting.pop(0)
                        if (busy := flight.claim()) is not None:
                            landed.append((flight, busy))
                            continue
                        patience = self.lock_seconds if flight.deaths else 0.0
                        spec = flight.task.experiment.data
                        job = remote.remote(*flight.luggage(), data.of(spec), self.cpus, self.device, patience)
                        flying[job] = flight
                    tick([flight.task for flight in flying.values()])
                    ended, _ = ray.wait(list(flying), timeout=self.tick_seconds) if flying else ([], [])
                    for job in ended:
                        outcome = flying[job].land(ray, job)
                        landed.append((flying.pop(job), outcome))
                except KeyboardInterrupt:
                    stopping = True
                    waiting.clear()
                    _cancel(ray, flying)
                for flight, outcome in landed:
                    if outcome is None and not stopping and len(flight.deaths) < self.attempts:
                        waiting.insert(0, flight)
                        continue
                    yield flight.told(outcome, stopping)
        finally:
            _cancel(ray, flying)
            for flight in flights:
                flight.lock.close()

    def _room(self) -> int:
        return sum(places(node, self.cpus, self.gpus) for node in _nodes(connected(self.address)))


def places(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """How many runs find room on a node with such resources; a part of a GPU is a part of one, not of two.

    >>> places({"CPU": 8, "GPU": 2}, 1, 0.4), places({"CPU": 8}, 3, 0), places({"CPU": 8}, 1, 0.5)
    (4, 2, 0)
    """
    by_cpu = int(node.get("CPU", 0)) // cpus
    return min(by_cpu, int(node.get("GPU", 0)) * int(1 / gpus)) if gpus else by_cpu


@dataclass
class Flight:
    """One task between here and a node: how often its process died, and the lock that is held for it here.

    Without shared storage this process is the one that writes the run, so it keeps others out; with it, the node does.
    """

    task: Task
    shared: bool
    deaths: list[str] = field(default_factory=list)
    lock: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    def claim(self) -> Outcome | None:
        """Make the run's folder and keep it for this study; the outcome ``running`` if another process has it."""
        self.task.run.create()
        if not self.shared and not self.deaths:
            try:
                self.lock.enter_context(self.task.run.hold())
            except RunBusyError as error:
                return Outcome(self.task.experiment, self.task.run, "running", str(error))
        return None

    def luggage(self) -> tuple[Task, Files | None]:
        """What the node is given: where to write, or the files that are there already."""
        absolute = replace(self.task, run=RunFolder(self.task.run.path.absolute()))
        return absolute, None if self.shared else self.task.run.packed()

    def land(self, ray: Any, job: Any) -> Outcome | None:
        """The outcome of a task that ended, its files written; None if its process or node died.

        Raises:
            UserError: something is wrong with the node, not with the run.
        """
        errors = ray.exceptions
        try:
            outcome, files = ray.get(job)
        except errors.TaskCancelledError:
            return Outcome(self.task.experiment, self.task.run, "stopped")
        except errors.RayTaskError as error:
            known, words = isinstance(error.cause, UserError), " ".join(str(error.cause).split())[-300:]
            raise UserError(words if known else f"ray: {type(error.cause).__name__}: {words}") from None
        except errors.RayError as error:
            self.deaths.append(type(error).__name__)
            return None
        try:
            if files is not None:
                self.task.run.unpack(files)
        except UserError as error:
            return failure(self.task, str(error))
        return replace(outcome, run=self.task.run)

    def told(self, outcome: Outcome | None, stopping: bool) -> Outcome:
        """The last word on the task, with its deaths; nobody else is kept out from now on."""
        died = f"its process or node died {len(self.deaths)} times ({', '.join(self.deaths)})"
        if outcome is None and stopping:
            outcome = Outcome(self.task.experiment, self.task.run, "stopped")
        elif outcome is None:
            outcome = failure(self.task, f"{died}; killed, or out of memory?")
        elif self.deaths and not outcome.reason:
            outcome = replace(outcome, reason=f"{died} before")
        self.lock.close()
        return outcome


class Shipped:
    """Data sets in Ray's object store; the last one stays for the next task, the others as long as tasks need them."""

    def __init__(self, ray: Any, datasets: Datasets) -> None:
        self.ray, self.datasets = ray, datasets
        self.spec: str | None = None
        self.place: Any = None

    def of(self, spec: str) -> Any:
        """Where the clean data set of that name lies."""
        if spec != self.spec:
            self.place = self.ray.put(self.datasets.clean(spec))
            self.spec = spec
        return self.place


def connected(address: str | None) -> Any:
    """The module ``ray``, connected to a cluster.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    ray, where = _ray(), address or os.environ.get("RAY_ADDRESS", "")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            host, colon, port = where.rpartition(":")
            if colon and "://" not in where:  # Ray itself would try for minutes
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (OSError, RuntimeError, ValueError) as error:
            words = " ".join(str(error).split())[:200]
            raise UserError(f"ray: address = {where!r}: {words}; expected HOST:PORT of a cluster's head") from None
    return ray


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("ray is not installed; expected `pip install 'nbkit[ray]'` here and on all nodes") from None
    return ray


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _cancel(ray: Any, jobs: Mapping[Any, Flight]) -> None:
    for job in jobs:
        ray.cancel(job)  # a task that was begun ends after the batch at hand, one that was not never begins


# --- what follows is computed on the nodes ---


def _compute(
    task: Task, files: Files | None, dataset: MultimodalDataset, threads: int, device: str, patience: float
) -> tuple[Outcome, Files | None]:
    """The outcome of a task, and the files of its run if they are to travel; raises what is wrong with the node."""
    import torch

    torch.set_num_threads(threads)
    stop = Stop()
    before = signal.signal(signal.SIGINT, lambda *_: stop.press())  # Ray cancels by it; a second one is no harm then
    try:
        with contextlib.ExitStack() as stack:
            if files is None and not task.run.path.is_dir():
                where = f"{str(task.run.path.parent)!r} on node {platform.node()}"
                raise UserError(f"ray: {where} is not the runs folder of this study; expected shared storage")
            if files is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nbkit-"))
                task = replace(task, run=RunFolder(Path(folder) / task.run.id))
                task.run.unpack(files)
            data = Datasets({task.experiment.data: dataset})
            if (found := task.experiment.run_id(data.load(task.experiment))) != task.run.id:
                there = f"run {task.run.id} would be {found} on node {platform.node()}"
                raise UserError(f"ray: {there}; expected the same versions of nbkit and its libraries on all nodes")
            outcome, until = compute(task, data, device, [stop]), time.monotonic() + patience
            while outcome.status == "running" and time.monotonic() < until and not stop.pressed:
                time.sleep(1.0)
                outcome = compute(task, data, device, [stop])
            return outcome, None if files is None else task.run.packed()
    finally:
        signal.signal(signal.SIGINT, before)
