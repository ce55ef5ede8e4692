"""nbkit: see, measure and trust whether a multimodal recommender denoises."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The package face is lazy: importing nbkit costs milliseconds, a room is opened when it is first used.
_FACE = {
    "load": "nbkit.data.catalog",
    "boutique": "nbkit.data.synthetic",
    "describe": "nbkit.data.catalog",
    "corrupt": "nbkit.data.corrupt",
    "registry": "nbkit.models.base",
    "Experiment": "nbkit.studies.experiment",
    "run_experiment": "nbkit.studies.experiment",
    "RunStore": "nbkit.studies.store",
    "UserError": "nbkit.errors",
}

if TYPE_CHECKING:
    from nbkit.data.catalog import describe, load
    from nbkit.data.corrupt import corrupt
    from nbkit.data.synthetic import boutique
    from nbkit.errors import UserError
    from nbkit.models.base import registry
    from nbkit.studies.experiment import Experiment, run_experiment
    from nbkit.studies.store import RunStore

__all__ = [
    "Experiment",
    "RunStore",
    "UserError",
    "boutique",
    "corrupt",
    "describe",
    "load",
    "registry",
    "run_experiment",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'nbkit' has no attribute {name!r}")
    return getattr(import_module(_FACE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_FACE])
