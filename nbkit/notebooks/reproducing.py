"""The notebooks of a folder executed beside each other into a folder of figures; what did not change is left alone."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import joblib
from jupyter_core.utils import ensure_event_loop

from nbkit.errors import UserError
from nbkit.notebooks.graph import behind
from nbkit.notebooks.kernels import GRACE, Stop, Stopped
from nbkit.notebooks.pages import write_page
from nbkit.notebooks.planning import Plan
from nbkit.notebooks.record import Entry
from nbkit.notebooks.running import EXECUTED, run_notebook
from nbkit.paths import locked, writable_folder
from nbkit.plots.figures import PLOTLY_JS
from nbkit.studies.naming import VARIABLE
from nbkit.studies.pool import THREADS, free_mb

KERNEL_MB = 1500  # what a kernel with torch, data and a model may take, where only so much memory is free
TICK = 0.5  # seconds between two looks at what is running

Status = Literal["done", "unchanged", "failed", "skipped", "stopped"]


@dataclass(frozen=True)
class Outcome:
    """What became of a notebook, after how many seconds; ``reason`` says why it failed or was skipped."""

    name: str
    status: Status
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Running:
    """How far a notebook is: its cell, what it printed last, and the seconds it took the last time (0: unknown)."""

    name: str
    usual: float = 0.0
    number: int = 0
    total: int = 0
    said: str = ""
    began: float = field(default_factory=time.monotonic)

    def cell(self, number: int, total: int, line: str) -> None:
        self.number, self.total, self.said = number, total, line

    def printed(self, line: str) -> None:
        self.said = line.strip()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


Watch = Callable[[Sequence[Running]], None]


def default_jobs() -> int:
    """How many notebooks are executed at a time: as many as there are cores and memory for."""
    memory = free_mb()
    fitting = joblib.cpu_count() if memory is None else int(memory // KERNEL_MB)
    return max(1, min(joblib.cpu_count(), fitting))


def shares(jobs: int) -> dict[str, str]:
    """The environment in which one of so many kernels has its share of the cores, pools of processes included."""
    if jobs == 1:
        return {}
    cores = max(1, joblib.cpu_count() // jobs)
    names = (*THREADS, "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")  # joblib.cpu_count() reads the last
    return {
        name: str(min(cores, int(given) if (given := os.environ.get(name, "")).isdigit() else cores)) for name in names
    }


def execute(
    plan: Plan, jobs: int = 1, *, force: bool = False, watch: Watch = lambda running: None
) -> Generator[Outcome, None, None]:
    """The outcome of every notebook as it ends, ``jobs`` at a time; those behind a failed one are skipped.

    On Ctrl-C the cells that run are interrupted and may take half a minute to save their work, at the second one none;
    their outcomes come as ``stopped``, then KeyboardInterrupt. The same call goes on from there. Figures of a notebook
    appear when all of it is done, and the older ones stay until then. ``watch`` is told now and then how far the
    running ones are.

    Raises:
        UserError: a folder that cannot be written, or that another process is writing to.
    """

    def busy(holder: str) -> UserError:
        return UserError(f"{str(plan.figures)!r} is being reproduced by process {holder}; wait for it or stop it")

    writable_folder(plan.figures / "notebooks", "figure folder")
    with locked(plan.figures / ".lock", busy):
        shutil.rmtree(plan.figures / MAKING, ignore_errors=True)  # of one that was killed
        try:
            yield from _Workshop(plan, jobs, force, watch).outcomes()
        finally:
            shutil.rmtree(plan.figures / MAKING, ignore_errors=True)


MAKING = ".making"


class _Workshop:
    """The notebooks of a plan on their way from waiting over running to an outcome."""

    def __init__(self, plan: Plan, jobs: int, force: bool, watch: Watch) -> None:
        self.plan, self.jobs, self.force, self.watch = plan, jobs, force, watch
        self.waiting = dict(plan.nodes)
        self.running: dict[Future[Outcome], Running] = {}
        self.due: set[str] = set()  # known to have changed
        self.over: dict[str, Status] = {}
        self.stop = Stop()
        seconds = {name: plan.record[name].seconds for name in plan.nodes}
        longest = behind(plan.nodes, seconds)
        # The longest way first, so that it does not end alone; one at a time, the order of their names.
        self.order = sorted(plan.nodes, key=lambda name: -longest[name]) if jobs > 1 else list(plan.nodes)
        self.env = {**shares(jobs), "NBKIT_WAIT": "1"}
        if plan.executor:
            self.env[VARIABLE] = plan.executor

    def outcomes(self) -> Iterator[Outcome]:
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="notebook") as pool:
            try:
                while self.waiting or self.running:
                    yield from self._settled()
                    self._begin(pool)
                    yield from self._ended(TICK)
                    self.watch(list(self.running.values()))
            except KeyboardInterrupt:
                yield from self._stopped()
                raise
            finally:
                self.stop.kill()

    def _ready(self) -> list[str]:
        """Those of which nothing that they come after is still to be executed."""
        names = [name for name in self.order if name in self.waiting]
        return [n for n in names if all(b in self.over for b in self.plan.nodes[n].after if b in self.plan.nodes)]

    def _settled(self) -> Iterator[Outcome]:
        """Those that need not or cannot be executed, until there are no more."""
        while names := [name for name in self._ready() if name not in self.due]:
            for name in names:
                lost = [b for b in self.plan.nodes[name].after if self.over.get(b) in ("failed", "skipped")]
                if lost:
                    yield self._end(Outcome(name, "skipped", reason=f"it comes after {', '.join(lost)}"))
                elif not self.force and self.plan.holds(name):
                    yield self._end(Outcome(name, "unchanged", files=self.plan.record[name].files))
                else:
                    self.due.add(name)

    def _end(self, outcome: Outcome) -> Outcome:
        self.waiting.pop(outcome.name, None)
        self.over[outcome.name] = outcome.status
        return outcome

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        for name in self._ready()[: self.jobs - len(self.running)]:
            running = Running(name, self.plan.record[name].seconds)
            self.running[pool.submit(make, self.plan, name, running, self.env, self.stop)] = running
            del self.waiting[name]

    def _ended(self, seconds: float) -> Iterator[Outcome]:
        for future in wait(self.running, timeout=seconds, return_when=FIRST_COMPLETED).done:
            del self.running[future]
            yield self._end(future.result())

    def _stopped(self) -> Iterator[Outcome]:
        try:
            self.stop.ask()
            wait(self.running, timeout=GRACE)
        except KeyboardInterrupt:
            pass
        self.stop.kill()
        while self.running:
            yield from self._ended(TICK)


def make(plan: Plan, name: str, running: Running, env: Mapping[str, str], stop: Stop) -> Outcome:
    """Execute one notebook; its figures are moved to their place when all of them are there."""
    node, aside = plan.nodes[name], plan.figures / MAKING / name
    executed = plan.figures / "notebooks" / node.path.name
    failed = executed.with_name(f"{name}.failed.ipynb")
    # The notebook's own place is told as seen from where its figures are made: both are moved together.
    own = {"NBKIT_FIGURES": str(aside), EXECUTED: str(aside / "notebooks" / node.path.name)}
    key = plan.key(name)
    try:
        (aside / "notebooks").mkdir(parents=True)
        try:
            run_notebook(node.path, plan.values[name], executed, env={**env, **own}, watch=running, stop=stop)
        finally:
            if failed.exists():
                write_page(failed)
        made = _publish(aside, plan.figures)
        pages = [executed, write_page(executed), plan.figures / PLOTLY_JS]
        files = tuple(sorted({*made, *(p.relative_to(plan.figures).as_posix() for p in pages if p.exists())}))
        failed.with_suffix(".html").unlink(missing_ok=True)
        seconds = running.seconds
        plan.record.keep(name, Entry(key, files, seconds, plan.values[name], plan.data_of(name)))
        return Outcome(name, "done", seconds, files)
    except Stopped:
        return Outcome(name, "stopped", running.seconds)
    except Exception as error:  # whatever goes wrong with one stops no other
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        plan.record.fail(name, reason)
        return Outcome(name, "failed", running.seconds, reason=reason)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        ensure_event_loop().close()  # papermill's in this thread, which nobody else would close


def _publish(aside: Path, figures: Path) -> list[str]:
    """Move everything that a notebook made, what tells of figures last, and say what it was."""
    files = [path.relative_to(aside) for path in aside.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda file: file.name.endswith(".meta.json")):
        (figures / file).parent.mkdir(parents=True, exist_ok=True)
        (aside / file).replace(figures / file)
    return [file.as_posix() for file in files]
