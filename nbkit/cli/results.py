"""The table of results: one row a split and masking, means and deviations over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from nbkit.cli import console

SHOWN = ("recall@10", "recall@20", "ndcg@10", "ndcg@20")
SPLITS = (
    ("valid", "train", "validation"),
    ("test", "train", "test, training items masked (as MMRec)"),
    ("test", "train+valid", "test, validation items masked too"),
)


def print_metrics(
    metrics: Sequence[Mapping[str, Any]], limits: Mapping[tuple[str, str], Mapping[str, Any]] | None = None
) -> None:
    """The results of one run, or of several seeds as mean ± standard deviation.

    ``metrics`` are contents of ``metrics.json``; ``limits`` are those of other rankers, by split
    and masking, then by name.
    """
    validation = metrics[0]["valid"]["train"]
    names = [name for name in SHOWN if name in validation] or sorted(validation)[:4]
    rows = []
    for split, masking, label in SPLITS:
        found = [m[split][masking] for m in metrics if split in m]
        if len(found) == len(metrics):
            rows.append([label, *(over_seeds([values[name] for values in found]) for name in names)])
        for other, values in (limits or {}).get((split, masking), {}).items():
            rows.append([f"  {other}", *(values.get(name) for name in names)])
    console.print_table(["", *names], rows)


def over_seeds(values: Sequence[float]) -> float | str | None:
    """Mean ± standard deviation; one value as it is, none as nothing."""
    if not values:
        return None
    return f"{mean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else values[0]
