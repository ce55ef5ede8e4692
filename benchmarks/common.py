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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import FOREIGN_LIMIT
from nbkit.errors import UserError

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


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repetitions", type=int, default=5, help="timed rounds after the warm-up")
    options.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of torch and BLAS")
    options.add_argument("--wait", type=float, default=0.0, help="seconds to wait for an idle machine, each time")
    options.add_argument("--force", action="store_true", help="measure although the machine is not idle")
    options.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON result")
    return options


@contextmanager
def data_folder(chosen: Path | None, *, image_dim: int = 384) -> Iterator[str]:
    """The folder that both sides read: the chosen one, or made data of Baby's size in a temporary one."""
    from benchmarks import data

    if chosen is not None:
        yield str(chosen)
        return
    with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
        yield str(data.write_parquet(data.make(image_dim=image_dim), Path(folder)))


def run(main: Callable[[], None]) -> None:
    """Run a benchmark's main; a user's mistake is one line and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
