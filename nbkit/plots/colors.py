"""Colours that survive colour blindness, and one look per model in every figure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

# Okabe and Ito's palette (without black and with a yellow that shows on white) first, then fillers of Paul
# Tol's muted set lightened or darkened until they stand out from a white and from a near-black ground
# alike.
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, GOLD, GREY = "#CC79A7", "#56B4E9", "#B8A000", "#7F7F7F"
PALETTE = (
    BLUE,
    VERMILLION,
    GREEN,
    PINK,
    ORANGE,
    SKY,
    GOLD,
    "#6A5ACD",
    "#A14A76",
    "#44AA99",
    "#8C6D46",
    "#CC6677",
    "#4C8C2B",
    "#AA6FE0",
    "#3D7FA6",
    GREY,
)
GOOD, BAD, NEUTRAL = BLUE, VERMILLION, "#9A9A9A"

# The subjects get the strongest colours; what is compared with them follows, in a fixed order for ever.
_MODELS = (
    "jbmdiff",
    "m3bsr",
    "diffcl",
    "freedom",
    "lightgcn",
    "bpr",
    "vbpr",
    "bm3",
    "mgcn",
    "slmrec",
    "pgl",
    "dualgnn",
    "diffmm",
    "mmgcn",
)
_ALIASES = {
    "jbm": "jbmdiff",
    "jbmr": "jbmdiff",
    "m3bsrr": "m3bsr",
    "diffclr": "diffcl",
}  # our reconstructions of them
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "x",
    "star",
    "pentagon",
    "cross",
    "hexagon",
    "triangle-down",
)


class ModelStyle(NamedTuple):
    """How a model is drawn in every figure."""

    color: str
    dash: str
    symbol: str


def model_style(name: str) -> ModelStyle:
    """Colour, dash and marker of a model, by its name alone, so that figures can be read side by side.

    Models known here all differ in colour; any other name is spread over colours and markers by its hash.
    """
    key = re.sub(r"[^a-z0-9]", "", str(name).lower())
    key = _ALIASES.get(key, key)
    if key in _MODELS:
        place = _MODELS.index(key)
        return ModelStyle(PALETTE[place], "solid", _SYMBOLS[place % len(_SYMBOLS)])
    digest = hashlib.sha256(key.encode()).digest()
    return ModelStyle(
        PALETTE[digest[0] % len(PALETTE)], _DASHES[1 + digest[1] % 4], _SYMBOLS[digest[2] % len(_SYMBOLS)]
    )


def model_color(name: str) -> str:
    """The colour of a model, the same in every figure."""
    return model_style(name).color


def rgba(color: str, alpha: float) -> str:
    """A ``#rrggbb`` colour made translucent, for bands and fills."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"
