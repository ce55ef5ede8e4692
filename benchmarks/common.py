"""What every benchmark here shares: options, the data folder, the table and the JSON file that come out."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import FOREIGN_LIMIT, Inline, Side, Timing, Worker, check_idle, take_turns
from nbkit.errors import UserError

if TYPE_CHECKING:
    from benchmarks.data import Size

RESULTS = Path(__file__).parent / "results"


@dataclass
class Report:
    """Rows of one benchmark, printed as a table and kept as JSON with the machine and the versions."""

    name: str
    threads: int | None = None
    notes: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any], **details: Any) -> None:
        """One row; ``details`` go into the file but not into the table."""
        self.rows.append(dict(row))
        self.details.append({**row, **details})

    def add_timed(self, what: str, row: Mapping[str, Any], times: Mapping[str, Timing], **details: Any) -> None:
        """One row with every sample behind it, and a note about ``what`` where a timing was never quiet."""
        self.add(row, **details, **{name: timing.record() for name, timing in times.items()})
        if any(timing.disturbed for timing in times.values()):
            self.disturbed(what)

    def disturbed(self, what: str) -> None:
        """Note that a row was measured while others worked, so that nobody quotes it."""
        self.notes.append(f"NOT JUDGED: {what}: other processes used more than {FOREIGN_LIMIT} cores all the time")

    def table(self) -> str:
        """The rows as text."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        cells = [columns, *([_cell(row.get(name)) for name in columns] for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])

    def save(self, folder: Path = RESULTS) -> Path:
        """Write ``NAME-MACHINE.json`` and return its path."""
        from nbkit import paths, repro

        content = {
            "benchmark": self.name,
            "machine": {
                "processor": processor(),
                "cores": os.cpu_count(),
                "threads": self.threads or os.cpu_count(),
            },
            "environment": repro.environment(),
            "notes": self.notes,
            "rows": self.details,
        }
        path = paths.writable_folder(folder, "--out") / f"{self.name}-{machine()}.json"
        paths.write_atomic(path, json.dumps(content, indent=1, default=str) + "\n")
        return path

    def finish(self, folder: Path = RESULTS) -> None:
        """Print the table and the notes, and save."""
        print(self.table(), *self.notes, f"written: {self.save(folder)}", sep="\n")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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


@dataclass(frozen=True)
class Bench:
    """How sides are made and timed; ``inline`` is for tests: all in this process, however busy the machine."""

    threads: int | None = None
    repetitions: int = 5
    grain: float = 1.0
    wait: float = 0.0
    force: bool = False
    inline: bool = False

    @classmethod
    def chosen(cls, given: argparse.Namespace) -> Bench:
        """As the options of :func:`parser` say."""
        return cls(given.threads, given.repetitions, wait=given.wait, force=given.force)

    def side(self, target: str, **arguments: Any) -> Side:
        """One side of a comparison, in a process of its own."""
        return (Inline if self.inline else Worker)(target, threads=self.threads, **arguments)

    def turns(self, calls: Mapping[str, tuple[Side, str]]) -> dict[str, Timing]:
        """Time the sides in turns, each round on an idle machine.

        Raises:
            UserError: the machine is not idle.
        """
        settle = int if self.inline else partial(check_idle, force=self.force, wait=self.wait)
        return take_turns(calls, repetitions=self.repetitions, grain=self.grain, settle=settle)


def growth(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Exponent e of value ~ sizeᵉ from first to last: 1 is linear, 2 quadratic, 0 constant or nothing (below 1e-3).

    NaN for one size alone.
    """
    if sizes[0] == sizes[-1]:
        return math.nan
    first, last = (max(value, 1e-3) for value in (values[0], values[-1]))
    return math.log(last / first) / math.log(sizes[-1] / sizes[0])


def parser(description: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """The options that all benchmarks share, and with ``data`` those of benchmarks that read a data set."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repetitions", type=int, default=5, help="timed rounds after the warm-up")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch and BLAS")
    options.add_argument("--wait", type=float, default=0.0, help="seconds to wait for an idle machine, each time")
    options.add_argument("--force", action="store_true", help="measure although the machine is not idle")
    options.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON result")
    if data:
        options.add_argument("--data", type=Path, help="folder in the Parquet layout (default: made, of Baby's size)")
        options.add_argument("--image-dim", type=int, help="random image features of this width, not the data's")
        options.add_argument("--device", default="cpu", help="cpu or cuda, for all sides")
    return options


def named(benchmark: str, given: argparse.Namespace) -> str:
    """The benchmark's name with the data it ran on."""
    words = [benchmark, given.data.name if given.data else "made", given.image_dim]
    return "-".join(str(word) for word in words if word)


@contextmanager
def data_folder(chosen: Path | None, *, size: Size | None = None) -> Iterator[str]:
    """The folder that all sides read: the chosen one, or made data (of Baby's size) in a temporary one."""
    from benchmarks import data

    if chosen is not None:
        yield str(chosen)
        return
    with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
        yield str(data.write_parquet(data.make(size or data.BABY), Path(folder)))


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's main; a user's mistake is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
