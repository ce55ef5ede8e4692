"""What is compared with other code: the same model under the same settings on both sides, and the ratio wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from nbkit.errors import UserError, nearest

PEERS = {"MMRec": "benchmarks.mmrec:MMRec", "DiffMM": "benchmarks.diffmm:DiffMM"}  # code bases, what drives them

Settings = Mapping[str, Any]
Chosen = TypeVar("Chosen")


@dataclass(frozen=True)
class Case:
    """One model on both sides; ``must`` and ``goal`` are how many times faster than the peer an epoch shall be.

    The peer is the code base ``code`` (a key of ``PEERS``), and ``theirs`` what the model is called there.
    ``wide`` holds must and goal for image features of the original width, 4096, where they differ.
    ``their_same`` and ``nbkit_same`` are settings of a side for the comparison of losses: without random parts, and
    without what is known to differ. With ``distinct`` it is of a batch that names no user and no observed item twice.
    The peer's loss is ``factor`` times ours. ``proof`` says what is compared, where it is not the whole loss as timed.
    """

    name: str
    theirs: str
    nbkit: str
    their_settings: Settings
    nbkit_settings: Settings
    must: float
    goal: float
    wide: tuple[float, float] | None = None
    their_same: Settings = field(default_factory=dict)
    nbkit_same: Settings = field(default_factory=dict)
    distinct: bool = False
    factor: float = 1.0
    proof: str = "whole"
    code: str = "MMRec"
    batch_size: int = 2048

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
        their_same={"dropout": 0.0},
        nbkit_same={"edge_dropout": 0.0},
        proof="all edges",
    )


# Where MMRec trains the raw features, ours does.
TRAINED = {"train_features": True}
BM3 = Case(
    "bm3",
    "BM3",
    "bm3",
    {"n_layers": 1, "dropout": 0.5, "reg_weight": 0.1},
    {"layers": 1, "dropout": 0.5, "reg": 0.1, **TRAINED},
    must=2.5,
    goal=5,
    their_same={"dropout": 0.0},
    nbkit_same={"dropout": 0.0},
    proof="no dropout",
)
# Its contrast names a user as often as the batch does; ours once.
MGCN = Case(
    "mgcn",
    "MGCN",
    "mgcn",
    {"cl_loss": 0.01},
    {"contrast": 0.01, **TRAINED},
    must=1.8,
    goal=3,
    distinct=True,
    proof="distinct users, items",
)
PGL = Case(
    "pgl",
    "PGL",
    "pgl",
    {"dropout": 0.2, "reg_weight": 0.05, "mode": "local"},
    {"dropout": 0.2, "contrast": 0.05, **TRAINED},
    must=2,
    goal=4,
    their_same={"dropout": 0.0, "mode": "whole"},
    nbkit_same={"dropout": 0.0, "edge_dropout": 0.0},
    proof="all edges, no dropout",
)
SLMREC = Case(
    "slmrec",
    "SLMRec",
    "slmrec",
    {"ssl_alpha": 0.01, "ssl_temp": 0.2, "weight_decay": 0.0},
    {"ssl": 0.01, "ssl_temperature": 0.2},
    must=2,
    goal=4,
)
# Its regulariser has only constants, and so no effect; its texts are narrowed as its images are (``fittings``).
MMGCN = Case(
    "mmgcn",
    "MMGCN",
    "mmgcn",
    {"reg_weight": 0.0},
    {"train_ids": False, "latent": 256},
    must=2,
    goal=4,
    proof="whole, texts narrowed",
)
# Its regulariser counts all weights of users, and items' that nothing uses; its logarithm is that of 2.
DUALGNN = Case(
    "dualgnn",
    "DualGNN",
    "dualgnn",
    {"reg_weight": 1e-3},
    {"attention": "free", "reg": 1e-3 * math.log(2)},
    must=2,
    goal=4,
    their_same={"reg_weight": 0.0},
    nbkit_same={"reg": 0.0},
    factor=1 / math.log(2),
    proof="reg 0, MMRec's / 1.44",
)
DA_MRS = Case(
    "da_mrs",
    "DAMRS",
    "da_mrs",
    {"kl_weight": 1, "neighbor_weight": 1e-3},
    {"align_users": 1.0, "align_items": 1e-3},
    must=1,
    goal=2,
)
# Its authors' code; README's command for Baby, whose settings are our defaults.
DIFFMM = Case(
    "diffmm",
    "DiffMM",
    "diffmm",
    {"reg": 1e-5, "ssl_reg": 0.1, "keepRate": 1, "e_loss": 0.01},
    {"reg": 1e-5, "contrast": 0.1, "signal": 0.01},
    must=2.5,
    goal=4,
    proof="whole, same draws",
    code="DiffMM",
    batch_size=1024,
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
        BM3,
        MGCN,
        PGL,
        SLMREC,
        MMGCN,
        DUALGNN,
        DA_MRS,
        DIFFMM,
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
