"""What is compared with MMRec: the same model under the same settings on both sides, and the ratio wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nbkit.errors import UserError, nearest

Settings = Mapping[str, Any]
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class Case:
    """One model on both sides; ``must`` and ``goal`` are how many times faster than MMRec an epoch shall be.

    ``wide`` holds must and goal for image features of the original width, 4096, where they differ.
    ``same`` are settings of a side in which a loss has no random part, for the comparison of losses.
    """

    name: str
    mmrec: str
    nbkit: str
    mmrec_settings: Settings
    nbkit_settings: Settings
    must: float
    goal: float
    wide: tuple[float, float] | None = None
    mmrec_same: Settings = field(default_factory=dict)
    nbkit_same: Settings = field(default_factory=dict)

    def wanted(self, image_dim: int | None) -> tuple[float, float]:
        """Must and goal at this width of the image features."""
        return self.wide if self.wide and image_dim == 4096 else (self.must, self.goal)


def _lightgcn(layers: int, must: float, goal: float) -> Case:
    return Case(
        f"lightgcn-{layers}",
        "LightGCN",
        "lightgcn",
        {"n_layers": layers, "reg_weight": 1e-4},
        {"layers": layers, "reg": 1e-4},
        must,
        goal,
    )


def _freedom(name: str, reg: float, must: float, goal: float, wide: tuple[float, float] | None = None) -> Case:
    # MMRec trains the raw features; the same is asked of our side.
    return Case(
        name,
        "FREEDOM",
        "freedom",
        {"dropout": 0.9, "reg_weight": reg},
        {"edge_dropout": 0.9, "reg": reg, "train_features": True},
        must,
        goal,
        wide,
        mmrec_same={"dropout": 0.0},
        nbkit_same={"edge_dropout": 0.0},
    )


CASES = {
    case.name: case
    for case in (
        Case("bpr", "BPR", "bpr", {"reg_weight": 0.1}, {"reg": 0.1}, 2, 3),
        _lightgcn(1, 4, 6.5),
        _lightgcn(2, 4.5, 7),
        _lightgcn(3, 5.5, 8),
        Case("vbpr", "VBPR", "vbpr", {"reg_weight": 1.0}, {"reg": 1.0}, 2, 3),
        _freedom("freedom-reg0", 0.0, 6, 9, (20, 33)),
        _freedom("freedom", 1e-3, 3, 4),
    )
}

# Full ranking of one split, and an epoch with its validation: what one waits for.
EVALUATION = (5.0, 6.0)
EPOCH_AND_VALIDATION = {"lightgcn-1": (4.5, 7.0), "vbpr": (3.0, 5.0)}


def choose(names: list[str] | None, known: Mapping[str, Chosen]) -> list[Chosen]:
    """The cases of these names, or all.

    Raises:
        UserError: an unknown name.
    """
    for name in names or ():
        if name not in known:
            raise UserError(f"--case {name!r}; {nearest(name, known)}")
    return [known[name] for name in names or known]
