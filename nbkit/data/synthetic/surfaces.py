"""What covers a product: the printed pattern and the texture of its material.

Repetition is drawn by dashed strokes: SVG patterns take a renderer five times as long once they are turned.
"""

from __future__ import annotations

import itertools
import math

from nbkit.data.synthetic.shapes import Dye

_COVER = '<rect x="-66" y="-66" width="132" height="132" '  # hides every body; the card clips it


def _dashes(path: str, colour: str, width: float, dash: str, *, opacity: float = 1.0, cap: str = "butt") -> str:
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-dasharray="{dash}" '
        f'stroke-linecap="{cap}" stroke-opacity="{opacity}"/>'
    )


def _lines(path: str, colour: str, width: float, opacity: float = 1.0) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"/>'


def _rows(first: int, step: int) -> str:
    return "".join(f"M-66,{y}H66" for y in range(first, 66, step))


def _columns(first: int, step: int, reach: int = 66) -> str:
    return "".join(f"M{x},-{reach}V{reach}" for x in range(first, 66, step))


def _stops(*stops: tuple[float, str, float]) -> str:
    return "".join(f'<stop offset="{o}" stop-color="{c}" stop-opacity="{a}"/>' for o, c, a in stops)


def _blossom(size: float) -> str:
    """A relative path round five petals."""
    corners = [(size * math.sin(math.tau * k / 5), -size * math.cos(math.tau * k / 5)) for k in range(6)]
    radius = f"{0.68 * size:.1f}"
    arcs = [
        f"a{radius} {radius} 0 1 1 {x1 - x0:.1f} {y1 - y0:.1f}" for (x0, y0), (x1, y1) in itertools.pairwise(corners)
    ]
    return f"m0 {-size:g}{''.join(arcs)}z"


def print_layer(pattern: str, dye: Dye) -> str:
    """The pattern printed on a body, in the accent tone of its dye; nothing for a plain one."""
    ink = dye.accent
    if pattern == "striped":
        return _dashes("M-66,0H66", ink, 132, "6.5 8.5")
    if pattern == "dotted":  # strokes of no length with round ends, on a staggered grid
        shifted = "".join(f"M-57.5,{y}H66" for y in range(-52, 66, 17))
        return _dashes(_rows(-60, 17) + shifted, ink, 8, "0 17", cap="round")
    if pattern == "checked":
        return "".join(_dashes(d, ink, 132, "10 10", opacity=0.55) for d in ("M-66,0H66", "M0,-66V66"))
    if pattern == "zigzag":
        return _lines("".join(f"M-68,{y}" + "l8-9l8 9" * 9 for y in range(-60, 76, 16)), ink, 4)
    if pattern == "floral":
        places = [(x + 10 * (y // 18 % 2), y) for y in range(-54, 60, 18) for x in range(-60, 60, 21)]
        petals = "".join(f"M{x},{y}{_blossom(4.2)}" for x, y in places)
        hearts = "".join(f"M{x},{y}h0" for x, y in places)
        return f'<path d="{petals}" fill="{ink}"/>' + _dashes(hearts, dye.dark, 4.6, "none", cap="round")
    return ""


def texture_layer(material: str, key: str) -> str:
    """The surface of a material; ``key`` names the gradients it needs."""
    return {
        "linen": _linen,
        "wool": _wool,
        "leather": _leather,
        "wood": _wood,
        "ceramic": _ceramic,
        "steel": _steel,
    }[material](f"{key}m")


def _linen(key: str) -> str:
    weft = _dashes(_rows(-64, 3), "#ffffff", 1.1, "5 2", opacity=0.42)
    return weft + _dashes(_columns(-64, 3), "#222211", 1.1, "4 2", opacity=0.3)


def _wool(key: str) -> str:
    # Slanted dashes lean against each other in pairs, which reads as the plain side of a knit.
    legs = [
        f'<g transform="skewY({skew})">'
        + _dashes(_columns(first, 11, 114), "#ffffff", 3.8, "6.5 2", opacity=0.36)
        + "</g>"
        for skew, first in ((38, -64), (-38, -59))
    ]
    return (
        f'{_COVER}fill="#1d1420" fill-opacity=".2"/>' + "".join(legs) + _lines(_columns(-67, 11), "#1d1420", 1.8, 0.42)
    )


def _leather(key: str) -> str:
    sheen = _stops((0, "#ffe9d2", 0.5), (0.4, "#7a4526", 0.1), (1, "#2b1208", 0.72))
    gradient = f'<radialGradient id="{key}" cx=".36" cy=".3" r=".8">{sheen}</radialGradient>'
    seams = _lines("M-66,-24.6H66M-66,33.4H66", "#2b1208", 1.6, 0.5)
    seams += _dashes("M-66,-27H66M-66,31H66", "#f6e3c4", 2, "5 3.5")
    return f'{gradient}{_COVER}fill="url(#{key})"/>{seams}'


def _wood(key: str) -> str:
    rows = [f"M{-70 - 4 * (k % 3)},{-64 + 7 * k}q11 {4 + k % 2} 22 0" + "t22 0" * 6 for k in range(19)]
    places = ((-30, -29), (12, -41), (-6, -5), (22, 7), (-34, 25), (8, 37))
    knots = [f"M{x},{y}a5 2.2 0 1 0 10 0a5 2.2 0 1 0-10 0" for x, y in places]
    return f'{_COVER}fill="#b0763c" fill-opacity=".32"/>' + _lines("".join(rows + knots), "#4a2a12", 1.6, 0.55)


def _ceramic(key: str) -> str:
    shade = _stops((0.55, "#000000", 0), (1, "#000000", 0.34))
    glints = "M-27,-46C-33,-10-31,20-22,40C-17,20-18,-14-14,-46ZM14,-23a4 9 0 1 0 .1 0ZM15,1a2.6 2.6 0 1 0 .1 0Z"
    return (
        f'<linearGradient id="{key}">{shade}</linearGradient>{_COVER}fill="url(#{key})"/>'
        f'<path d="{glints}" fill="#fff" fill-opacity=".66"/>'
    )


def _steel(key: str) -> str:
    bands = _stops(
        (0, "#20262e", 0.62),
        (0.2, "#ffffff", 0.75),
        (0.36, "#39424d", 0.5),
        (0.55, "#ffffff", 0.62),
        (0.8, "#20262e", 0.6),
        (1, "#cfd8e2", 0.5),
    )
    rivets = [
        _dashes(_rows(-44, 38), tone, width, "0 26", cap="round") for tone, width in (("#2a3038", 5), ("#e8edf2", 3.4))
    ]
    brushed = f'<linearGradient id="{key}" x1="0" y1="0" x2="1" y2=".12">{bands}</linearGradient>'
    return f'{brushed}{_COVER}fill="url(#{key})"/>{"".join(rivets)}'
