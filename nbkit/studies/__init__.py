"""Experiments in number: studies, their executors, the store of runs, comparisons.

>>> from nbkit.studies import Pool, robustness, run_study
>>> study = robustness(["lightgcn", "freedom"], operators=["add_random_edges"], rates=[0, 0.1, 0.2])
>>> table = run_study(study, Pool(jobs=2))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbkit.studies.cluster import Ray
    from nbkit.studies.executors import Executor, Inline, Outcome
    from nbkit.studies.experiment import Experiment, Noise, run_experiment
    from nbkit.studies.naming import executor_of
    from nbkit.studies.planning import Plan, missing, plan, results
    from nbkit.studies.pool import Pool
    from nbkit.studies.running import execute, run_study
    from nbkit.studies.store import RunStore
    from nbkit.studies.study import Study, ablation, grid, robustness, sweep

_FACE = {
    **dict.fromkeys(("Study", "ablation", "grid", "robustness", "sweep"), "study"),
    **dict.fromkeys(("Plan", "missing", "plan", "results"), "planning"),
    **dict.fromkeys(("execute", "run_study"), "running"),
    **dict.fromkeys(("Executor", "Inline", "Outcome"), "executors"),
    **dict.fromkeys(("Experiment", "Noise", "run_experiment"), "experiment"),
    "Pool": "pool",
    "Ray": "cluster",
    "executor_of": "naming",
    "RunStore": "store",
}

__all__ = [
    "Executor",
    "Experiment",
    "Inline",
    "Noise",
    "Outcome",
    "Plan",
    "Pool",
    "Ray",
    "RunStore",
    "Study",
    "ablation",
    "execute",
    "executor_of",
    "grid",
    "missing",
    "plan",
    "results",
    "robustness",
    "run_experiment",
    "run_study",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'nbkit.studies' has no attribute {name!r}")
    return getattr(import_module(f"nbkit.studies.{_FACE[name]}"), name)
