"""Measuring: processes that take turns, the load of others meanwhile, peak memory."""

from __future__ import annotations

import importlib
import math
import multiprocessing
import os
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nbkit.errors import UserError
from nbkit.training import memory

FOREIGN_LIMIT = 0.15  # cores that other processes may use before a ratio is not to be trusted
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def _busy_seconds() -> float:
    """CPU seconds that all cores were busy or taken away so far; NaN where the kernel does not tell."""
    try:
        fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    except (OSError, ValueError):
        return math.nan
    idle, waiting = fields[3], fields[4]
    return (sum(fields) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def _own_seconds(processes: Sequence[int]) -> float:
    total = 0.0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


class LoadMeter:
    """Cores used by processes other than this one and the given ones, from its making to :meth:`foreign`."""

    def __init__(self, processes: Sequence[int] = ()) -> None:
        self.processes = [os.getpid(), *processes]
        self.start, self.busy = time.perf_counter(), _busy_seconds()
        self.own = 0.0 if math.isnan(self.busy) else _own_seconds(self.processes)

    def foreign(self) -> float:
        """Cores, 0 or more; NaN where the kernel does not tell."""
        busy = _busy_seconds() - self.busy
        if math.isnan(busy):
            return math.nan
        own = _own_seconds(self.processes) - self.own
        return max(0.0, (busy - own) / (time.perf_counter() - self.start))


def check_idle(*, force: bool, wait: float = 0.0, seconds: float = 1.0) -> float:
    """Cores that others use over the next seconds; looked at again, for ``wait`` seconds, until they rest.

    Raises:
        UserError: it stays above ``FOREIGN_LIMIT`` and ``force`` is not set.
    """
    until = time.monotonic() + wait
    while True:
        meter = LoadMeter()
        time.sleep(seconds)
        load = meter.foreign()
        if not load > FOREIGN_LIMIT:
            return load
        if time.monotonic() >= until:
            break
    if not force:
        raise UserError(
            f"other processes use {load:.2f} cores; expected at most {FOREIGN_LIMIT} "
            "(--wait SECONDS for a quiet moment, --force measures all the same)"
        )
    return load


def peak_memory(device: object = "cpu") -> int:
    """Most bytes this process has held since it began, or since :func:`forget_peak`: resident, or on a GPU."""
    if "cuda" in str(device):
        import torch

        return torch.cuda.max_memory_allocated()
    if (held := memory.peak_memory()) is not None:
        return held
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak(device: object = "cpu") -> int:
    """Let the peak begin anew at what is held now (Linux; elsewhere it stays), and return it."""
    if "cuda" in str(device):
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        memory.forget_peak()
    return peak_memory(device)


@dataclass(frozen=True)
class Sample:
    """One timed call: wall seconds, CPU seconds of all its threads, cores that others used meanwhile."""

    seconds: float
    cpu: float
    foreign: float = math.nan


class Side(Protocol):
    """Something whose methods can be called and timed."""

    pids: tuple[int, ...]

    def call(self, method: str, *arguments: Any) -> tuple[Any, float, float]: ...

    def close(self) -> None: ...


class Inline:
    """An object of this process behind the same face as :class:`Worker`: for tests and a quick look."""

    pids: tuple[int, ...] = ()

    def __init__(self, target: str, *, threads: int | None = None, **arguments: Any) -> None:
        self.subject = _resolve(target)(**arguments)

    def call(self, method: str, *arguments: Any) -> tuple[Any, float, float]:
        """Result, wall seconds and CPU seconds of a method."""
        return _timed(self.subject, method, arguments)

    def close(self) -> None:
        """Nothing to end."""


class Worker:
    """An object in a process of its own, so that neither side's allocator, patches or caches reach the other.

    It works only while it is called, so two of them can take turns. ``target`` is ``"package.module:name"``,
    made there with ``arguments``; ``threads`` is what torch and BLAS may use.

    Raises:
        UserError: what the object raises as one; anything else becomes a RuntimeError with its traceback.
    """

    def __init__(self, target: str, *, threads: int | None = None, **arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        with _environment({name: str(threads) for name in _THREAD_VARIABLES} if threads else {}):
            self._process = context.Process(target=_serve, args=(far, target, threads, arguments), daemon=True)
            self._process.start()
        far.close()
        self.pids: tuple[int, ...] = (self._process.pid or 0,)
        self._receive()

    def _receive(self) -> Any:
        try:
            kind, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise UserError(f"a benchmark process ended with code {self._process.exitcode} (out of memory?)") from None
        if kind == "error":
            raise UserError(value)
        if kind == "crash":
            raise RuntimeError(value)
        return value

    def call(self, method: str, *arguments: Any) -> tuple[Any, float, float]:
        """Result, wall seconds and CPU seconds of a method, timed there."""
        self._pipe.send((method, arguments))
        return self._receive()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _timed(subject: Any, method: str, arguments: Sequence[Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = getattr(subject, method)(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def _serve(pipe: Any, target: str, threads: int | None, arguments: Mapping[str, Any]) -> None:
    try:
        if threads:
            import torch

            torch.set_num_threads(threads)
        subject = _resolve(target)(**arguments)
        pipe.send(("ready", None))
        while True:
            method, values = pipe.recv()
            pipe.send(("result", _timed(subject, method, values)))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except UserError as error:
        pipe.send(("error", str(error)))
    except Exception:
        pipe.send(("crash", traceback.format_exc()))


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass(frozen=True)
class Timing:
    """Samples of one side, and what its last call returned."""

    samples: tuple[Sample, ...]
    result: Any = None

    @property
    def quiet(self) -> tuple[Sample, ...]:
        """The samples that nobody disturbed, or all if none was quiet."""
        return tuple(s for s in self.samples if not s.foreign > FOREIGN_LIMIT) or self.samples

    @property
    def disturbed(self) -> bool:
        """Whether others used more than ``FOREIGN_LIMIT`` cores during every sample."""
        return all(s.foreign > FOREIGN_LIMIT for s in self.samples)

    @property
    def seconds(self) -> float:
        """Median wall seconds."""
        return statistics.median(s.seconds for s in self.quiet)

    @property
    def cpu(self) -> float:
        """Median CPU seconds, which other processes disturb less."""
        return statistics.median(s.cpu for s in self.quiet)

    def __str__(self) -> str:
        least, most = min(s.seconds for s in self.quiet), max(s.seconds for s in self.quiet)
        return f"{self.seconds:.3g} ({least:.3g}-{most:.3g})"

    def record(self) -> dict[str, Any]:
        """The same as plain data."""
        foreign = [None if math.isnan(s.foreign) else round(s.foreign, 3) for s in self.samples]
        seconds, cpu = ([round(getattr(s, name), 5) for s in self.samples] for name in ("seconds", "cpu"))
        return {"median": self.seconds, "seconds": seconds, "cpu": cpu, "foreign_cores": foreign}


def take_turns(
    calls: Mapping[str, tuple[Side, str]],
    *,
    repetitions: int = 5,
    warm_up: int = 1,
    grain: float = 1.0,
    settle: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time each side once in every round, so that a slow minute of the machine falls on all of them.

    A turn repeats its call until ``grain`` seconds have passed and counts the mean, so that a call of a few
    milliseconds is not judged by one of them. ``settle`` is called before each timed round.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in calls}
    results: dict[str, Any] = {}
    for turn in range(warm_up + repetitions):
        if turn >= warm_up:
            settle()
        for name, (side, method) in calls.items():
            meter, wall, cpu, count = LoadMeter(side.pids), 0.0, 0.0, 0
            while not count or (wall < grain and turn >= warm_up):
                results[name], seconds, cpu_seconds = side.call(method)
                wall, cpu, count = wall + seconds, cpu + cpu_seconds, count + 1
            if turn >= warm_up:
                samples[name].append(Sample(wall / count, cpu / count, meter.foreign()))
    return {name: Timing(tuple(samples[name]), results[name]) for name in calls}
