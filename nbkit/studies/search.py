"""A search for settings: who proposes them (grid, random, TPE), and a journal that outlives whoever computes them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from nbkit import config, repro
from nbkit.runs import RunFolder
from nbkit.studies.space import Point, Space, key

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial

Sampler = Literal["grid", "random", "tpe"]

FOLDER = "searches"  # below the folder of runs
RANDOM_FIRST = 5  # trials that TPE draws at random before it models anything
# No median is taken of fewer finished trials, nor in the first epochs. Nor where only a few of them got so far: those
# that stopped early are gone by then, and the best ones would judge alone.
UNPRUNED_TRIALS, UNPRUNED_EPOCHS = 5, 10
_REDRAWS = 20  # draws that give points tried before, after which the next declared point is taken


@dataclass(frozen=True)
class Search:
    """What is tried: points of a space, proposed by ``sampler``, from the start on.

    ``grid`` takes the declared points in an order that depends on the model and the start's seed alone, so that a
    smaller budget's trials are the first of a larger one's. ``random`` draws from the ranges, ``tpe`` too, guided by
    the trials that ended before. Each trial is drawn with a seed of its own, from the start's seed and its number:
    computed by one process, the same search proposes the same points whether or not it was interrupted; by several,
    ``tpe`` depends on who ends first. No point is proposed twice. With ``prune`` a trial ends early when its best
    validation so far is below the median of the finished ones at that epoch.
    """

    space: Space
    sampler: Sampler = "grid"
    prune: bool = False

    @property
    def metric(self) -> str:
        """What is chosen by, on validation."""
        return self.space.start.training.metric

    def name(self, fingerprint: str) -> str:
        """Equal for searches that propose the same trials on data of that fingerprint, whatever their budgets."""
        start = {name: value for name, value in config.canonical(self.space.start).items() if name != "data"}
        code = self.space.start.code_version()
        parts = [start, fingerprint, code, self.space.values, self.sampler, self.prune]
        digest = hashlib.sha256(config.canonical_json(parts).encode()).hexdigest()
        return f"{self.space.start.model}-{digest[:16]}"


class Journal:
    """The trials of a search, kept by Optuna in ``searches/<name>/journal.log``; several processes may write to it.

    A trial holds its ``point``. One that ended in an error, or whose process died, is *failed*, and is tried again in
    the next call.
    """

    def __init__(self, search: Search, root: Path, fingerprint: str) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.search, self.root, self.fingerprint = search, Path(root), fingerprint
        self.folder = RunFolder(self.root / FOLDER / search.name(fingerprint)).create()
        if not (self.folder / "search.json").exists():
            self.folder.write_json("search.json", search)
        log = self.folder / "journal.log"
        self._claims = FileLock(self.folder / "claims.lock")
        lock: Any = FileLock(self.folder / "journal.lock")
        with lock:
            _mend(log)
        self._storage = JournalStorage(JournalFileBackend(str(log), lock_obj=lock))
        with self._claims:
            optuna.create_study(storage=self._storage, study_name="search", direction="maximize", load_if_exists=True)

    def study(self) -> optuna.Study:
        """The trials as Optuna's study; made anew, since a study remembers what it has read."""
        import optuna

        pruner = optuna.pruners.MedianPruner(UNPRUNED_TRIALS, UNPRUNED_EPOCHS, n_min_trials=UNPRUNED_TRIALS)
        return optuna.load_study(study_name="search", storage=self._storage, pruner=pruner)

    def tried(self) -> dict[str, FrozenTrial]:
        """The last trial of every point, in the order in which the points were first tried."""
        return {key(trial.user_attrs["point"]): trial for trial in self.study().get_trials(deepcopy=False)}

    @property
    def length(self) -> int:
        """How many trials there are, those tried again counted each time."""
        return len(self.study().get_trials(deepcopy=False))

    def place(self, point: Point) -> int:
        """The number of a point that was tried, from 0."""
        return list(self.tried()).index(key(point))

    def bury(self, process: int | None = None) -> int:
        """Mark what a dead process (all of them, where none is named) was computing as failed; how many trials."""
        from optuna.trial import TrialState

        study = self.study()
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        left = [trial for trial in running if process in (None, trial.user_attrs.get("process"))]
        for trial in left:
            study.tell(trial.number, state=TrialState.FAIL)
        return len(left)

    def claim(self, budget: int, since: int) -> tuple[Trial, Mapping[int, float]] | None:
        """The next trial, and what an earlier one of its point reported; None when ``budget`` points are tried.

        Points that failed before trial number ``since`` come first. Only one process claims at a time.
        """
        from optuna.trial import TrialState

        with self._claims:
            study, tried = self.study(), self.tried()
            if not any(trial.state == TrialState.WAITING for trial in tried.values()):  # one that died while claiming
                first = list(tried.values())[:budget]
                again = (t.user_attrs["point"] for t in first if t.state == TrialState.FAIL and t.number < since)
                point = next(again, None) or (self._proposed(tried) if len(tried) < budget else None)
                if point is None:
                    return None
                study.enqueue_trial(dict(point), user_attrs={"point": dict(point)})
            trial = study.ask(self.search.space.distributions())
            trial.set_user_attr("process", os.getpid())
        before = tried.get(key(trial.user_attrs["point"]))
        return trial, {} if before is None else before.intermediate_values

    def _proposed(self, tried: Mapping[str, FrozenTrial]) -> Point | None:
        """A point that was not tried yet; the start comes first whoever proposes, None after the last."""
        if tried and self.search.sampler != "grid":
            for attempt in range(_REDRAWS):
                point = self._drawn(tried, f"{len(tried)}/{attempt}")
                if key(point) not in tried:
                    return point
        return next((point for point in self.declared if key(point) not in tried), None)

    @cached_property
    def declared(self) -> list[Point]:
        """The start and the declared points in their order."""
        start = self.search.space.start
        return self.search.space.points(repro.numpy_generator(start.seed, f"tuning/{start.model}"))

    def _drawn(self, tried: Mapping[str, FrozenTrial], purpose: str) -> Point:
        """A point that the sampler draws, knowing a copy of the trials: a draw that is dropped leaves no trace."""
        import optuna
        from optuna.trial import TrialState

        space = self.search.space
        seed = int(repro.numpy_generator(space.start.seed, f"search/{purpose}").integers(2**32))
        sampler: optuna.samplers.BaseSampler = optuna.samplers.RandomSampler(seed)
        if self.search.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_FIRST, seed=seed)
        copy = optuna.create_study(direction="maximize", sampler=sampler)
        copy.add_trials([t for t in tried.values() if t.state not in (TrialState.FAIL, TrialState.WAITING)])
        return space.rounded(copy.ask(space.distributions()).params)


class FileLock(contextlib.AbstractContextManager["FileLock"]):
    """A file that one process holds while the others wait; the kernel frees it even after ``kill -9``.

    Optuna's own locks outlive a killed holder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        import fcntl

        self._file = open(self._path, "ab")  # noqa: SIM115
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        import fcntl

        if self._file is not None:
            fcntl.flock(
                self._file, fcntl.LOCK_UN
            )  # closing alone would leave it to a process that was forked meanwhile
            self._file.close()

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _mend(log: Path) -> None:
    """Cut off a last line that a full disk or a lost machine left incomplete: whatever followed could not be read."""
    if log.exists():
        content = log.read_bytes()
        if content and not content.endswith(b"\n"):
            os.truncate(log, content.rfind(b"\n") + 1)
