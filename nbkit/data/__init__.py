"""What goes in: data sets, their readers, the built-in shop, splits and known noise."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbkit.data.catalog import builtin, check, describe, load
    from nbkit.data.dataset import Interactions, MultimodalDataset, TrainingView, Truth
    from nbkit.data.readers import write_parquet

_FACE = {
    **dict.fromkeys(("builtin", "check", "describe", "load"), "nbkit.data.catalog"),
    **dict.fromkeys(("Interactions", "MultimodalDataset", "TrainingView", "Truth"), "nbkit.data.dataset"),
    "write_parquet": "nbkit.data.readers",
}

__all__ = [
    "Interactions",
    "MultimodalDataset",
    "TrainingView",
    "Truth",
    "builtin",
    "check",
    "describe",
    "load",
    "write_parquet",
]


def __getattr__(name: str) -> Any:
    if name not in _FACE:
        raise AttributeError(f"module 'nbkit.data' has no attribute {name!r}")
    return getattr(import_module(_FACE[name]), name)
