"""The products of the boutique as flat drawings, one function a shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def mix(first: str, second: str, share: float) -> str:
    """The colour that lies ``share`` of the way from the first ``#rrggbb`` to the second."""
    channels = [(int(first[k : k + 2], 16), int(second[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in channels)


@dataclass(frozen=True)
class Dye:
    """The tones of one product, all derived from its base colour."""

    base: str

    @property
    def dark(self) -> str:
        return mix(self.base, "#1c1626", 0.42)

    @property
    def deep(self) -> str:
        return mix(self.base, "#1c1626", 0.68)

    @property
    def light(self) -> str:
        return mix(self.base, "#ffffff", 0.45)

    @property
    def accent(self) -> str:
        """The tone of a printed pattern: pale on a dark base, deep on a pale one."""
        red, green, blue = (int(self.base[k : k + 2], 16) for k in (1, 3, 5))
        return mix(self.base, "#fffaf0", 0.78) if 0.3 * red + 0.6 * green + 0.1 * blue < 150 else mix(self.base, "#2a1c28", 0.62)


@dataclass(frozen=True)
class Drawing:
    """SVG around the origin, within ±56: what lies behind, the body that takes colour and print, what lies on top."""

    behind: str
    body: str
    front: str


def _stroke(path: str, colour: str, width: float) -> str:
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round" stroke-linejoin="round"/>'


def _fill(path: str, colour: str) -> str:
    return f'<path d="{path}" fill="{colour}"/>'


def mug(dye: Dye) -> Drawing:
    handle = _stroke("M28,-18 C60,-24 60,26 26,22", dye.dark, 10)
    body = '<path d="M-36,-36 L34,-36 L30,36 Q29,46 19,46 L-21,46 Q-31,46 -32,36 Z"/>'
    rim = f'<ellipse cx="-1" cy="-36" rx="35" ry="8" fill="{dye.light}"/><ellipse cx="-1" cy="-35" rx="29" ry="5.5" fill="{dye.deep}"/>'
    return Drawing(handle, body, rim)


def vase(dye: Dye) -> Drawing:
    leaves = "".join(
        f'<path d="M0,-62 C-7,-70 -7,-80 0,-88 C7,-80 7,-70 0,-62" transform="rotate({a} 0 -40)" fill="#54705a"/>' for a in (-32, 0, 32)
    )
    stems = _stroke("M0,-44 L0,-68 M0,-44 L-13,-62 M0,-44 L13,-62", "#54705a", 2.5)
    twig = f'<g transform="translate(0 8) scale(1 .85)">{stems}{leaves}</g>'
    body = (
        '<path d="M-15,-36 L15,-36 C15,-24 12,-20 20,-12 C46,8 40,50 18,52 L-18,52 C-40,50 -46,8 -20,-12 C-12,-20 -15,-24 -15,-36 Z"/>'
    )
    rim = f'<ellipse cx="0" cy="-36" rx="16" ry="4.5" fill="{dye.deep}"/>' + _stroke("M-19,-13 Q0,-6 19,-13", dye.dark, 2.5)
    return Drawing(twig, body, rim)


def lamp(dye: Dye) -> Drawing:
    stand = _fill("M-3.5,0 L3.5,0 L4,44 L-4,44 Z", dye.deep) + _fill("M-26,52 C-26,42 26,42 26,52 Z", dye.dark)
    glow = '<ellipse cx="0" cy="6" rx="34" ry="7" fill="#fff1b8"/>'
    body = '<path d="M-22,-52 Q0,-57 22,-52 L46,4 Q0,14 -46,4 Z"/>'
    trim = _stroke("M-22,-52 Q0,-47 22,-52", dye.dark, 2.5) + _stroke("M-46,4 Q0,14 46,4", dye.dark, 2.5)
    chain = _stroke("M30,8 L30,24", dye.deep, 1.8) + f'<circle cx="30" cy="27" r="3" fill="{dye.deep}"/>'
    return Drawing(stand + glow + chain, body, trim)


def bag(dye: Dye) -> Drawing:
    handles = _stroke("M-20,-16 C-20,-62 20,-62 20,-16", dye.deep, 5)
    body = '<path d="M-40,-18 L40,-18 L46,46 Q46,52 40,52 L-40,52 Q-46,52 -46,46 Z"/>'
    seam = _stroke("M-40,-18 L40,-18", dye.dark, 4) + _stroke("M-20,-18 L-20,-4 M20,-18 L20,-4", dye.deep, 5)
    label = f'<rect x="-9" y="30" width="18" height="11" rx="2" fill="{dye.deep}"/><rect x="-5" y="34.5" width="10" height="2" fill="{dye.light}"/>'
    return Drawing(handles, body, seam + label)


def boot(dye: Dye) -> Drawing:
    sole = _fill("M-30,40 L53,40 Q55,51 47,51 L4,51 L2,47 L-4,47 L-6,53 L-29,53 Z", dye.deep)
    body = '<path d="M-28,-52 Q-8,-47 12,-52 L12,0 C14,10 28,10 40,16 Q53,23 52,41 L-29,41 Q-25,-6 -28,-52 Z"/>'
    laces = _stroke("M-2,-26 L13,-31 M-2,-14 L13,-19 M-1,-2 L14,-7 M6,9 L18,0", dye.light, 3)
    cuff = _stroke("M-28,-52 Q-8,-47 12,-52", dye.dark, 4) + _stroke("M34,40 Q33,22 46,21", dye.dark, 2.2)
    return Drawing(sole, body, cuff + laces)


def hat(dye: Dye) -> Drawing:
    brim_under = f'<ellipse cx="0" cy="29" rx="57" ry="15" fill="{dye.deep}"/>'
    body = (
        '<path d="M-57,25 C-57,15 -36,13 -31,12 C-33,-18 -27,-42 -12,-42 Q0,-34 12,-42 C27,-42 33,-18 31,12 C36,13 57,15 57,25 C57,44 -57,44 -57,25 Z"/>'
    )
    band = _fill("M-32,2 Q0,14 32,2 L32,13 Q0,26 -32,13 Z", dye.deep)
    feather = _fill("M22,6 C24,-12 34,-26 42,-30 C42,-16 36,0 27,9 Z", dye.light)
    return Drawing(brim_under, body, band + feather)


def chair(dye: Dye) -> Drawing:
    legs = _stroke("M-28,18 L-35,54 M28,18 L35,54", dye.deep, 6) + _stroke("M-18,18 L-20,44 M18,18 L20,44", dye.dark, 5)
    posts = _stroke("M-20,-8 L-20,8 M20,-8 L20,8", dye.deep, 6)
    body = (
        '<path d="M-32,-44 Q-32,-56 -20,-56 L20,-56 Q32,-56 32,-44 L30,-10 Q29,-4 22,-4 L-22,-4 Q-29,-4 -30,-10 Z"/>'
        '<path d="M-34,4 L34,4 Q40,4 41,10 L43,16 Q43,23 36,23 L-36,23 Q-43,23 -43,16 L-41,10 Q-40,4 -34,4 Z"/>'
    )
    edge = _stroke("M-42,17 Q0,22 42,17", dye.dark, 2.2)
    return Drawing(legs + posts, body, edge)


def scarf(dye: Dye) -> Drawing:
    inside = f'<ellipse cx="0" cy="-32" rx="27" ry="15" fill="{dye.deep}"/>'
    tails = (
        '<path d="M2,-14 L34,-6 L40,40 L14,44 Z"/><path d="M-24,-10 L10,-12 L-8,48 L-36,42 Z"/>'
        '<path d="M-40,-32 C-44,-58 44,-58 40,-32 C40,-4 -40,-4 -40,-32 Z M-24,-35 C-20,-24 20,-24 24,-35 C20,-48 -20,-48 -24,-35 Z" fill-rule="evenodd" clip-rule="evenodd"/>'
    )
    fringe = "".join(_stroke(f"M{-35 + 5.2 * k:.1f},{43 + 1.1 * k:.1f} l-2.6,9", dye.dark, 2.4) for k in range(6))
    fringe += "".join(_stroke(f"M{15 + 5 * k:.1f},{44 - 0.8 * k:.1f} l1.2,9", dye.dark, 2.4) for k in range(6))
    folds = _stroke("M-37,-22 C-24,-6 24,-6 37,-22", dye.dark, 2) + _stroke("M3,-11 L-3,8 M14,-11 L19,10", dye.dark, 2.2)
    return Drawing(fringe + inside, tails, folds)


SHAPES: dict[str, Callable[[Dye], Drawing]] = {f.__name__: f for f in (mug, vase, lamp, bag, boot, hat, chair, scarf)}
