"""What a study has, what it lacks, and how long the rest will take."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from nbkit.errors import UserError
from nbkit.evaluation import final
from nbkit.paths import runs_dir
from nbkit.runs import RunFolder, Status
from nbkit.studies.costs import Costs
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment
from nbkit.studies.store import RunStore
from nbkit.studies.study import Study
from nbkit.training.loop import pick_device


@dataclass(frozen=True)
class Planned:
    """One run of a study: where it is or will be, how it stands, and the seconds it may take (None: unknown)."""

    experiment: Experiment
    label: str
    run: RunFolder
    status: Status
    seconds: float | None

    @property
    def noise(self) -> str:
        """Its noise in words, ``clean`` for none."""
        return " + ".join(map(str, self.experiment.noise)) or "clean"

    @property
    def reason(self) -> str:
        """Why it failed or was pruned, if it did."""
        return self.run.reason

    def scores(self, metric: str) -> dict[str, float]:
        """The metric by split, training items masked, of a run that is done; ``test`` where that was opened."""
        if self.status != "done":
            return {}
        metrics = self.run.read_json(final.METRICS)
        return {
            split: metrics[split]["train"][metric]
            for split in ("valid", "test")
            if metric in metrics.get(split, {}).get("train", {})
        }


@dataclass(frozen=True)
class Plan:
    """The runs of a study as they stand."""

    name: str
    runs: tuple[Planned, ...]
    costs: Costs

    @cached_property
    def counts(self) -> dict[Status, int]:
        """How many runs are done, failed, stopped, running, new."""
        return dict(Counter(planned.status for planned in self.runs))

    @property
    def complete(self) -> bool:
        return not self.missing

    @property
    def missing(self) -> list[Planned]:
        """Every run that is not done."""
        return [planned for planned in self.runs if planned.status != "done"]

    @property
    def unknown(self) -> int:
        """How many missing runs are of a model that no finished run tells about."""
        return sum(planned.seconds is None for planned in self.missing)

    @property
    def seconds(self) -> float:
        """Seconds that the missing runs will take one after another, as far as that is known."""
        return sum(planned.seconds or 0.0 for planned in self.missing)

    def frame(self) -> pd.DataFrame:
        """One row a run: model, data, noise, seed, settings, run, status, seconds, reason."""
        return pd.DataFrame(
            {
                "model": planned.experiment.model,
                "data": planned.experiment.data,
                "noise": planned.noise,
                "seed": planned.experiment.seed,
                "settings": planned.label,
                "run": planned.run.id,
                "status": planned.status,
                "seconds": planned.seconds,
                "reason": planned.reason,
            }
            for planned in self.runs
        )

    def __str__(self) -> str:
        states = ", ".join(f"{count} {status}" for status, count in self.counts.items())
        left = "" if self.complete else f"; {time_left(self.seconds, self.unknown)} left, one run after another"
        return f"{self.name}: {len(self.runs)} runs ({states}){left}"


def plan(
    study: Study,
    root: Path | None = None,
    *,
    device: str = "auto",
    datasets: Datasets | None = None,
) -> Plan:
    """How every run of a study stands in a folder of runs, and how long the rest will take on this device.

    Estimates are medians of finished runs of the same model on the same data, else of the same model, never a guess.

    Raises:
        UserError: data that cannot be loaded, or that its noise cannot be put into.
    """
    root, datasets = runs_dir() if root is None else Path(root), datasets or Datasets()
    kind = pick_device(device).type if device == "auto" else device  # nodes may have what this machine lacks
    costs = Costs.of_store(RunStore(root), kind)
    runs = []
    for experiment, label in zip(study, study.labels(), strict=True):
        run = RunFolder(root / experiment.run_id(datasets.fingerprint(experiment)))
        status = run.status
        runs.append(Planned(experiment, label, run, status, None if status == "done" else costs.seconds(experiment)))
    return Plan(study.name, tuple(runs), costs)


def missing(study: Study, root: Path | None = None) -> pd.DataFrame:
    """The runs of a study that are not done, with their states and reasons; empty when it is complete."""
    frame = plan(study, root).frame()
    return frame[frame["status"] != "done"].reset_index(drop=True)


def results(study: Study, root: Path | None = None, *, partial: bool = False) -> pd.DataFrame:
    """The metrics of a study, one row a run, columns as ``valid.train.recall@20`` beside :meth:`Plan.frame`'s.

    Raises:
        UserError: runs are missing and ``partial`` is not set.
    """
    planned = plan(study, root)
    if planned.missing and not partial:
        raise UserError(f"study {planned}; expected all of them done (or partial=True)")
    rows = planned.frame()
    metrics = RunStore(planned.runs[0].run.path.parent).frame()
    if metrics.empty:
        return rows
    columns = [name for name in metrics if name == "run" or str(name).startswith(("valid.", "test.", "fit."))]
    return rows.drop(columns=["seconds", "reason"]).merge(metrics[columns], on="run", how="left")


def tested(run: RunFolder) -> bool:
    """Whether a finished run's test split has been opened."""
    return "test" in run.read_json(final.METRICS)


def time_left(seconds: float, unknown: int = 0) -> str:
    """Seconds in words; of runs that nobody knows about, their number.

    >>> time_left(75), time_left(5400), time_left(60, unknown=2), time_left(0, unknown=3)
    ('about 75 s', 'about 90 min', 'at least 60 s (2 runs of unknown length)', 'an unknown time (3 runs)')
    """
    known = next(
        (f"{seconds / size:.{digits}f} {unit}" for size, unit, digits in _UNITS if seconds >= 2 * size or size == 1)
    )
    if not unknown:
        return f"about {known}"
    if not seconds:
        return f"an unknown time ({unknown} run{'s' * (unknown > 1)})"
    return f"at least {known} ({unknown} run{'s' * (unknown > 1)} of unknown length)"


_UNITS: tuple[tuple[int, str, int], ...] = ((86_400, "days", 1), (3_600, "h", 1), (60, "min", 0), (1, "s", 0))
