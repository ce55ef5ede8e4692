"""What every benchmark here shares: workers that take turns, an idle check, peak memory, tables and results."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import os
import platform
import re
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbkit.errors import UserError

FOREIGN_LIMIT = 0.15  # cores that other processes may use before a ratio is not to be trusted
RESULTS = Path(__file__).parent / "results"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


# --- who else uses the processor -------------------------------------------------------------------------------------


def _busy_seconds() -> float:
    """CPU seconds that all cores were busy or taken away since start-up; NaN where the kernel does not tell."""
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
    """Cores used by processes other than the given ones and this, from its making to :meth:`foreign`."""

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


def foreign_load(seconds: float = 2.0) -> float:
    """Cores that others use over the next seconds, while this process sleeps."""
    meter = LoadMeter()
    time.sleep(seconds)
    return meter.foreign()


def check_idle(*, force: bool, seconds: float = 2.0) -> float:
    """The load of others before a measurement.

    Raises:
        UserError: it is above ``FOREIGN_LIMIT`` and ``force`` is not set.
    """
    load = foreign_load(seconds)
    if load > FOREIGN_LIMIT and not force:
        raise UserError(
            f"other processes use {load:.2f} cores; expected at most {FOREIGN_LIMIT} (--force measures all the same)"
        )
    return load


# --- peak memory -----------------------------------------------------------------------------------------------------


def peak_memory() -> int:
    """Most bytes this process has held in memory so far."""
    try:
        text = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) * 1024  # type: ignore[union-attr]
    except (OSError, AttributeError):
        import resource

        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# --- workers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """One timed call: wall seconds, CPU seconds of the process (all threads), cores that others used meanwhile."""

    seconds: float
    cpu: float
    foreign: float = math.nan


class Inline:
    """An object of this process behind the same face as :class:`Worker`: for tests and a quick look."""

    def __init__(self, target: str, **arguments: Any) -> None:
        self.subject = _resolve(target)(**arguments)

    def call(self, method: str, *arguments: Any) -> tuple[Any, Sample]:
        meter = LoadMeter()
        wall, cpu = time.perf_counter(), time.process_time()
        result = getattr(self.subject, method)(*arguments)
        return result, Sample(time.perf_counter() - wall, time.process_time() - cpu, meter.foreign())

    def peak(self) -> int:
        return peak_memory()

    def close(self) -> None:
        del self.subject


class Worker:
    """An object in a process of its own, so that neither side's allocator, patches or caches reach the other.

    It works only while it is called, so two of them can take turns. ``target`` is ``"package.module:name"``, made
    there with ``arguments``; ``threads`` is what torch and BLAS may use.

    Raises:
        UserError: whatever the object raises there, by its message.
    """

    def __init__(self, target: str, *, threads: int | None = None, **arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        with _environment({name: str(threads or os.cpu_count()) for name in _THREAD_VARIABLES}):
            self._process = context.Process(target=_serve, args=(far, target, threads, arguments), daemon=True)
            self._process.start()
        far.close()
        self._receive()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

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

    def call(self, method: str, *arguments: Any) -> tuple[Any, Sample]:
        """The result of a method there, and how long it took."""
        meter = LoadMeter([self.pid])
        self._pipe.send((method, arguments))
        result, seconds, cpu = self._receive()
        return result, Sample(seconds, cpu, meter.foreign())

    def peak(self) -> int:
        """Most bytes the process has held so far."""
        self._pipe.send(("", ()))
        return int(self._receive())

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _serve(pipe: Any, target: str, threads: int | None, arguments: Mapping[str, Any]) -> None:
    try:
        if threads:
            import torch

            torch.set_num_threads(threads)
        subject = _resolve(target)(**arguments)
        pipe.send(("ready", None))
        while True:
            method, values = pipe.recv()
            if not method:
                pipe.send(("peak", peak_memory()))
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            result = getattr(subject, method)(*values)
            pipe.send(("result", (result, time.perf_counter() - wall, time.process_time() - cpu)))
    except EOFError:
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


# --- measuring -------------------------------------------------------------------------------------------------------


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
    def seconds(self) -> float:
        """Median wall seconds."""
        return statistics.median(s.seconds for s in self.quiet)

    @property
    def cpu(self) -> float:
        """Median CPU seconds, which other processes disturb less."""
        return statistics.median(s.cpu for s in self.quiet)

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most wall seconds."""
        return min(s.seconds for s in self.quiet), max(s.seconds for s in self.quiet)

    @property
    def disturbed(self) -> int:
        """Number of samples during which others used more than ``FOREIGN_LIMIT`` cores."""
        return sum(s.foreign > FOREIGN_LIMIT for s in self.samples)

    def record(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "seconds": [round(s.seconds, 5) for s in self.samples],
            "cpu": [round(s.cpu, 5) for s in self.samples],
            "foreign": [None if math.isnan(s.foreign) else round(s.foreign, 3) for s in self.samples],
        }


def take_turns(
    sides: Mapping[str, Callable[[], tuple[Any, Sample]]], *, repetitions: int = 5, warm_up: int = 1
) -> dict[str, Timing]:
    """Time each side once in every round, so that a slow minute of the machine falls on all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in sides}
    results: dict[str, Any] = {}
    for turn in range(warm_up + repetitions):
        for name, side in sides.items():
            results[name], sample = side()
            if turn >= warm_up:
                samples[name].append(sample)
    return {name: Timing(tuple(samples[name]), results[name]) for name in sides}


# --- what comes out --------------------------------------------------------------------------------------------------


@dataclass
class Report:
    """Rows of one benchmark, printed as a table and kept as JSON with the machine and the versions."""

    name: str
    threads: int | None = None
    forced: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], **details: Any) -> None:
        """One row; ``details`` go into the file but not into the table."""
        self.rows.append(dict(row))
        self.details.append({**row, **details})

    def table(self) -> str:
        """The rows as text."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [columns, *([_cell(row.get(name)) for name in columns] for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def save(self, folder: Path = RESULTS) -> Path:
        """Write ``NAME-MACHINE.json`` and return its path."""
        from nbkit import paths, repro

        content = {
            "benchmark": self.name,
            "machine": {"processor": processor(), "cores": os.cpu_count(), "threads": self.threads or os.cpu_count()},
            "environment": repro.environment(),
            "forced": self.forced,
            "rows": self.details,
        }
        path = paths.writable_folder(folder, "--out") / f"{self.name}-{machine()}.json"
        paths.write_atomic(path, json.dumps(content, indent=1, default=float) + "\n")
        return path

    def finish(self, folder: Path = RESULTS) -> None:
        """Print the table, say whether it can be trusted, and save."""
        print(self.table())
        if self.forced:
            print(f"NOT JUDGED: forced while other processes used more than {FOREIGN_LIMIT} cores; trust no ratio here.")
        print(f"written: {self.save(folder)}")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)


def processor() -> str:
    """The processor's name."""
    try:
        match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        match = None
    return match.group(1).strip() if match else platform.processor() or platform.machine()


def machine() -> str:
    """A short name of this machine for file names: processor and cores, and the GPU where there is one."""
    import torch

    words = [processor(), f"{os.cpu_count()} cores"]
    if torch.cuda.is_available():
        words.append(torch.cuda.get_device_name())
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower()).strip("-")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--data", type=Path, help="real folder in the Parquet layout (default: data of Baby's size, made)")
    options.add_argument("--repetitions", type=int, default=5, help="timed rounds after the warm-up")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch and BLAS")
    options.add_argument("--force", action="store_true", help="measure although the machine is not idle")
    options.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON result")
    return options


@contextmanager
def data_folder(chosen: Path | None, *, tiny: bool = False) -> Iterator[str]:
    """The folder that both sides read: the chosen one, or made data in a temporary one."""
    from benchmarks import data

    if chosen is not None:
        yield str(chosen)
        return
    with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
        size = data.TINY if tiny else data.BABY
        yield str(data.write_parquet(data.make(size, image_dim=64 if tiny else 384, text_dim=32 if tiny else 384), Path(folder)))


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's main; a user's mistake is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
