"""What runs cost, known from finished ones: seconds and memory; what is not known is said to be so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from nbkit.studies.experiment import Experiment
from nbkit.studies.store import RunStore


@dataclass(frozen=True)
class Cost:
    """One finished run: of which model and data, and what it took; ``cap`` is the most epochs it might have had."""

    model: str
    data: str
    device: str
    seconds: float
    epochs: int
    cap: int
    peak_mb: float | None

    @classmethod
    def of(cls, model: str, data: str, device: str, cap: int, fit: Mapping[str, Any]) -> Cost:
        """The cost of a run, from the ``fit`` of its metrics."""
        seconds = max(fit["wall_seconds"], fit["train_seconds"])  # the first is of the last session alone
        peak = fit.get("peak_mb")
        return cls(model, data, _kind(device), seconds, int(fit["epochs"]), cap, None if peak != peak else peak)

    def seconds_for(self, cap: int) -> float:
        """The seconds this run would have taken with ``cap`` epochs at most.

        A run that stopped by itself would have stopped there again; one that used up its epochs uses up the new ones.
        """
        epochs = min(self.epochs, cap) if self.epochs < self.cap else cap
        return self.seconds * epochs / max(1, self.epochs)


@dataclass
class Costs:
    """Costs of finished runs on one kind of device, asked for the ones that come nearest to an experiment."""

    device: str
    known: list[Cost] = field(default_factory=list)
    _seconds: dict[tuple[str, str, int], float | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of_store(cls, store: RunStore, device: str) -> Costs:
        """What the finished runs of a folder say."""
        costs, table = cls(_kind(device)), store.frame()
        if table.empty or "fit.epochs" not in table:
            return costs
        for row in table[table["status"] == "done"].to_dict("records"):
            fit = {str(name).removeprefix("fit."): value for name, value in row.items()}
            costs.known.append(Cost.of(row["model"], row["data"], row["device"], int(row["training.epochs"]), fit))
        return costs

    def add(self, experiment: Experiment, fit: Mapping[str, Any]) -> None:
        """One more finished run, on this device."""
        self._seconds.clear()
        self.known.append(Cost.of(experiment.model, experiment.data, self.device, experiment.training.epochs, fit))

    def seconds(self, experiment: Experiment) -> float | None:
        """The median of finished runs of this model on this data, else of this model, else None: nobody knows."""
        key = experiment.model, experiment.data, experiment.training.epochs
        if key not in self._seconds:
            found = [cost.seconds_for(experiment.training.epochs) for cost in self._near(experiment)]
            self._seconds[key] = median(found) if found else None
        return self._seconds[key]

    def peak_mb(self, experiment: Experiment) -> float:
        """The most memory that such runs took; 0 where nobody knows."""
        return max((cost.peak_mb or 0.0 for cost in self._near(experiment)), default=0.0)

    def _near(self, experiment: Experiment) -> list[Cost]:
        same = [c for c in self.known if c.model == experiment.model and c.device == self.device]
        return [c for c in same if c.data == experiment.data] or same


def _kind(device: str) -> str:
    return device.partition(":")[0]
