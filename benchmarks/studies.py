"""What studies cost beside the training: listing and planning many runs, and the machinery round each run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import common
from nbkit.runs import RunFolder
from nbkit.studies import executors, running
from nbkit.studies.executors import Inline
from nbkit.studies.planning import plan
from nbkit.studies.pool import Pool
from nbkit.studies.store import RunStore
from nbkit.studies.study import grid, robustness

COPIED = ("settings.json", "environment.json", "metrics.json")


class Listing:
    """A folder of many finished runs: one is computed, the others are copies of it under other seeds."""

    def __init__(self, folder: str, runs: int) -> None:
        self.root = Path(folder)
        self.study = grid("bpr", "boutique:tiny", seeds=range(runs), training={"epochs": 1})
        (first,) = running.execute(grid("bpr", "boutique:tiny", seeds=[0], training={"epochs": 1}), root=self.root)
        content = {name: first.run.read_json(name) for name in COPIED}
        for planned in plan(self.study, self.root).missing:
            run = RunFolder(planned.run.path)
            run.path.mkdir()
            for name in COPIED:
                seeded = {"seed": planned.experiment.seed} if name == "settings.json" else {}
                run.write_json(name, {**content[name], **seeded})
            for name in (".lock", "DONE"):
                (run / name).write_text("")

    def frame(self) -> int:
        """List them all."""
        return len(RunStore(self.root).frame())

    def plan(self) -> int:
        """Look up which of a study's runs are there."""
        return plan(self.study, self.root).counts["done"]


@contextmanager
def stopwatch(target: object, name: str) -> Iterator[list[float]]:
    """Seconds of every call of a function while this lasts."""
    seconds: list[float] = []
    function = getattr(target, name)

    def timed(*args: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            seconds.append(time.perf_counter() - begin)

    with mock.patch.object(target, name, timed):
        yield seconds


class Machinery:
    """A small study on noisy data, computed anew by every call; knows no fingerprint before."""

    def __init__(self, data: str, epochs: int) -> None:
        training = {"epochs": epochs, "patience": epochs}
        self.study = robustness(
            ["lightgcn", "freedom"], data, operators="add_random_edges", rates=[0, 0.2], seeds=[0], training=training
        )

    def inline(self) -> dict[str, float]:
        """Seconds inside of training and outside of it; progress that is told in between counts as outside."""
        with (
            self._place() as root,
            stopwatch(executors, "run_experiment") as inside,
            stopwatch(running._Meter, "tick") as ticks,
        ):
            begin = time.perf_counter()
            outcomes = list(running.execute(self.study, Inline("cpu"), root=root))
            total = time.perf_counter() - begin
        between = sum(ticks)  # most of it between epochs, a little between runs: all is taken out of the training
        return self._told(total, sum(inside) - between, outcomes)

    def pool(self) -> dict[str, float]:
        """Seconds inside of training, as the run tells them, and outside: one process, whose start is outside."""
        with self._place() as root:
            begin = time.perf_counter()
            outcomes = list(running.execute(self.study, Pool(1, 1, ["cpu"]), root=root))
            total = time.perf_counter() - begin
        return self._told(total, sum(outcome.fit["wall_seconds"] for outcome in outcomes), outcomes)

    def _told(self, total: float, inside: float, outcomes: list[executors.Outcome]) -> dict[str, float]:
        assert all(outcome.status == "done" for outcome in outcomes), outcomes
        return {"inside": inside, "outside": total - inside, "runs": len(outcomes)}

    @contextmanager
    def _place(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
            place = Path(folder)
            with mock.patch("nbkit.studies.datasets._file", return_value=place / "fingerprints.json"):
                yield place / "runs"


def measure(*, runs: int, data: str, epochs: int, bench: common.Bench) -> common.Report:
    """Seconds of listing and planning ``runs`` runs; seconds outside of training, as a share of those inside.

    Raises:
        UserError: the machine is not idle.
    """
    report = common.Report("studies", bench.threads)
    with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
        listing = bench.side("benchmarks.studies:Listing", folder=folder, runs=runs)
        times = bench.turns({name: (listing, name) for name in ("frame", "plan")})
        listing.close()
    for name, timing in times.items():
        report.add_timed(name, {"what": f"{name} of {runs:,} runs", "seconds": timing.seconds}, {"times": timing})
    machinery = common.Inline("benchmarks.studies:Machinery", data=data, epochs=epochs)  # may start processes itself
    times = bench.turns({name: (machinery, name) for name in ("inline", "pool")})
    machinery.close()
    for name, timing in times.items():
        found = timing.result
        row = {"what": f"{found['runs']} runs on {data}, {name}", "seconds": found["inside"]}
        row |= {"outside": found["outside"], "outside %": 100 * found["outside"] / found["inside"]}
        report.add_timed(name, row, {"times": timing})
    report.notes.append("outside: reading, damaging and planning beside the training; pool: and the process's start")
    return report


def main(arguments: list[str] | None = None) -> None:
    """Measure what studies cost beside the training."""
    options = common.parser(main.__doc__)
    options.add_argument("--runs", type=int, default=1000)
    options.add_argument("--data", default="boutique:small", help="a name or a folder, as for nbkit train")
    options.add_argument("--epochs", type=int, default=20, help="of every run")
    given = options.parse_args(arguments)
    bench = common.Bench.chosen(given)
    measure(runs=given.runs, data=given.data, epochs=given.epochs, bench=bench).finish(given.out)


if __name__ == "__main__":
    common.run(main)
