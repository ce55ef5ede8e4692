"""A pool of processes for the runs of a study, aware of threads, memory, devices, and of processes that die.

Every slot is a ``ProcessPoolExecutor`` of one process: the library carries tasks, outcomes and the news of a death,
and one process that dies takes no other's run with it, as it would in a pool of several.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.synchronize import Event
from pathlib import Path

import joblib

from nbkit.errors import UserError
from nbkit.studies.datasets import Datasets, data_key
from nbkit.studies.executors import Outcome, Task, Tick, compute, failure
from nbkit.training.callbacks import Callback

SPAWN = multiprocessing.get_context("spawn")
# What libraries read, when they are imported, to know their number of threads.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Pool:
    """Up to ``jobs`` runs at a time, each in a process of its own with ``threads`` threads on one of the ``devices``.

    ``jobs`` defaults to the cores, ``threads`` to the cores shared out among the jobs. Threads are never more than
    cores: with ``threads`` each, as many processes work as fit, so that of four jobs on two cores two work at a time,
    with a thread each. Processes take devices in turn; a device named twice computes two runs at a time. A run whose
    process dies is gone on with by a new one, until ``attempts`` have died.

    Raises:
        UserError: numbers below 1.
    """

    jobs: int = field(default_factory=joblib.cpu_count)
    threads: int | None = None
    devices: Sequence[str] = ("auto",)
    attempts: int = 3
    tick_seconds: float = 1.0

    def __post_init__(self) -> None:
        for name in ("jobs", "threads", "attempts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"pool: {name} = {value}; expected 1 or more")

    @property
    def device(self) -> str:
        """The first device; the others are of its kind."""
        return self.devices[0]

    @property
    def workers(self) -> int:
        """How many processes work at a time."""
        return min(self.jobs, max(1, joblib.cpu_count() // (self.threads or 1)))

    @property
    def threads_each(self) -> int:
        """How many threads each of them has."""
        return min(self.threads or joblib.cpu_count(), max(1, joblib.cpu_count() // self.workers))

    def run(self, tasks: Sequence[Task], datasets: Datasets, tick: Tick) -> Iterator[Outcome]:
        """The outcome of every task as it comes; processes load their data themselves."""
        devices = _every_gpu() if self.device == "auto" else self.devices
        waiting, deaths = list(tasks), dict.fromkeys(map(id, tasks), 0)
        stop = SPAWN.Event()
        count = min(self.workers, len(waiting))
        slots = [Slot(devices[n % len(devices)], self.threads_each, stop) for n in range(count)]
        memory = free_mb()
        try:
            while waiting or any(slot.task for slot in slots):
                try:
                    for slot in (s for s in slots if s.task is None and not stop.is_set()):
                        busy = [s for s in slots if s.task is not None]
                        memory = memory if busy else free_mb()
                        task = choose(waiting, slot.data, {s.data for s in busy}, [s.needs for s in busy], memory)
                        if task is not None:
                            slot.begin(task)
                            waiting.remove(task)
                    running = {slot.future: slot for slot in slots if slot.future is not None}
                    tick([slot.task for slot in running.values() if slot.task is not None])
                    ended, _ = wait(running, timeout=self.tick_seconds, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt:
                    stop.set()
                    waiting.clear()
                    continue
                for slot in (running[future] for future in ended):
                    task, outcome = slot.end()
                    if outcome is None and not stop.is_set():
                        deaths[id(task)] += 1
                        if deaths[id(task)] < self.attempts:
                            waiting.insert(0, task)
                            continue
                        outcome = failure(task, f"its process died {self.attempts} times; killed, or out of memory?")
                    yield outcome or Outcome(task.experiment, task.run, "stopped")
        finally:
            stop.set()
            for slot in slots:
                slot.close()


@dataclass
class Slot:
    """A place for one process: what it computes now, and the data it loaded last."""

    device: str
    threads: int
    stop: Event
    task: Task | None = None
    future: Future[Outcome] | None = None
    data: str = ""
    _process: ProcessPoolExecutor | None = field(default=None, repr=False)

    @property
    def needs(self) -> float:
        """MB that its run needs, as far as that is known."""
        return self.task.peak_mb if self.task else 0.0

    def begin(self, task: Task) -> None:
        """Let the process compute a task; a new process where there is none, or where it died idle."""
        with child_environment(self.threads):
            try:
                self.future = self._living().submit(_compute, task, self.device)
            except BrokenProcessPool:
                self.close()
                self.future = self._living().submit(_compute, task, self.device)
        self.task, self.data = task, data_key(task.experiment)

    def _living(self) -> ProcessPoolExecutor:
        if self._process is None:
            arguments = (self.threads, self.stop)
            self._process = ProcessPoolExecutor(1, SPAWN, initializer=begin_worker, initargs=arguments)
        return self._process

    def end(self) -> tuple[Task, Outcome | None]:
        """The task and its outcome; None if the process died on it."""
        task, future = self.task, self.future
        assert task is not None
        assert future is not None
        self.task = self.future = None
        try:
            return task, future.result()
        except BrokenProcessPool:
            self.close()
            return task, None

    def close(self) -> None:
        """Wait for the process to end."""
        if self._process is not None:
            self._process.shutdown(wait=True, cancel_futures=True)
        self._process, self.data = None, ""


def choose(
    waiting: Sequence[Task], at_hand: str, elsewhere: set[str], needs: Sequence[float], memory: float | None
) -> Task | None:
    """The task to begin now: one on the data at hand, else on data that no other process has, else the next.

    ``needs`` are the MB of what is being computed, ``memory`` what was free before that; a task that would not fit
    beside it waits, unless nothing is being computed.
    """
    fitting = list(waiting)
    if needs and memory is not None:
        left = min(memory - sum(needs), free_mb() or memory)
        fitting = [task for task in waiting if task.peak_mb <= left]
    keys = [data_key(task.experiment) for task in fitting]
    for task, key in zip(fitting, keys, strict=True):
        if key == at_hand:
            return task
    for task, key in zip(fitting, keys, strict=True):
        if key not in elsewhere:
            return task
    return fitting[0] if fitting else None


def free_mb() -> float | None:
    """Memory that can still be had, of the machine or of the container's limit; None where the system is silent."""
    try:
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    free = int(found.group(1)) / 1024 if found else None
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
        free = left / 2**20 if free is None else min(free, left / 2**20)
    return free


def _every_gpu() -> Sequence[str]:
    import torch

    return [f"cuda:{n}" for n in range(torch.cuda.device_count())] or ["cpu"]


@contextlib.contextmanager
def child_environment(threads: int) -> Iterator[None]:
    """What a process started now inherits: its number of threads, and deafness to Ctrl-C, which the parent passes on.

    Libraries read the first while they are imported. A blocked signal reaches the parent afterwards, it is not lost.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


# --- what follows is computed in the processes ---

_datasets = Datasets()
_stop: Event | None = None


class Stopped(Callback):
    """Ends a fit after the batch at hand once the parent says so."""

    def stepped(self, step: int) -> None:
        if _stop is not None and _stop.is_set():
            raise KeyboardInterrupt


def begin_worker(threads: int, stop: Event) -> None:
    import torch

    global _stop
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    threading.Thread(target=_die_with_the_parent, daemon=True).start()


def _die_with_the_parent() -> None:
    """A process whose parent was killed would wait for tasks for ever, and hold its run."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _compute(task: Task, device: str) -> Outcome:
    return compute(task, _datasets, device, [Stopped()])
