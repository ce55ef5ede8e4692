"""The products of the boutique as flat drawings, one function a shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

_SHADE, _LEAF = "#1c1626", "#54705a"


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
        return mix(self.base, _SHADE, 0.42)

    @property
    def deep(self) -> str:
        return mix(self.base, _SHADE, 0.68)

    @property
    def light(self) -> str:
        return mix(self.base, "#ffffff", 0.45)

    @property
    def accent(self) -> str:
        """The tone of a printed pattern: pale on a dark base, deep on a pale one."""
        red, green, blue = (int(self.base[k : k + 2], 16) for k in (1, 3, 5))
        pale = 0.3 * red + 0.6 * green + 0.1 * blue >= 150
        return mix(self.base, "#2a1c28", 0.62) if pale else mix(self.base, "#fffaf0", 0.78)


@dataclass(frozen=True)
class Drawing:
    """SVG round the origin, within ±57: what lies behind, the body to be dyed, what lies on top."""

    behind: str
    body: str
    front: str


def _line(path: str, colour: str, width: float) -> str:
    ends = 'stroke-linecap="round" stroke-linejoin="round"'
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" {ends}/>'


def _area(path: str, colour: str) -> str:
    return f'<path d="{path}" fill="{colour}"/>'


def _oval(x: float, y: float, rx: float, ry: float, colour: str) -> str:
    return f'<ellipse cx="{x}" cy="{y}" rx="{rx}" ry="{ry}" fill="{colour}"/>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="1.5" fill="{colour}"/>'


def mug(dye: Dye) -> Drawing:
    return Drawing(
        behind=_line("M28,-18C60,-24 60,26 26,22", dye.dark, 10),
        body='<path d="M-36,-36L34,-36L30,36Q29,46 19,46L-21,46Q-31,46-32,36Z"/>',
        front=_oval(-1, -36, 35, 8, dye.light) + _oval(-1, -35, 29, 5.5, dye.deep),
    )


def vase(dye: Dye) -> Drawing:
    leaf = "M0,-62C-7,-70-7,-80 0,-88C7,-80 7,-70 0,-62"
    leaves = "".join(f'<path d="{leaf}" transform="rotate({a} 0 -40)"/>' for a in (-32, 0, 32))
    stems = _line("M0,-44L0,-68M0,-44L-13,-62M0,-44L13,-62", _LEAF, 2.5)
    half = "C15,-24 12,-20 20,-12C46,8 40,50 18,52L-18,52C-40,50-46,8-20,-12C-12,-20-15,-24-15,-36Z"
    return Drawing(
        behind=f'<g transform="translate(0 8) scale(1 .85)" fill="{_LEAF}">{stems}{leaves}</g>',
        body=f'<path d="M-15,-36L15,-36{half}"/>',
        front=_oval(0, -36, 16, 4.5, dye.deep) + _line("M-19,-13Q0,-6 19,-13", dye.dark, 2.5),
    )


def lamp(dye: Dye) -> Drawing:
    stand = _area("M-3.5,0L3.5,0L4,44L-4,44Z", dye.deep) + _area("M-26,52C-26,42 26,42 26,52Z", dye.dark)
    chain = _line("M30,8L30,24", dye.deep, 1.8) + _oval(30, 27, 3, 3, dye.deep)
    return Drawing(
        behind=stand + _oval(0, 6, 34, 7, "#fff1b8") + chain,
        body='<path d="M-22,-52Q0,-57 22,-52L46,4Q0,14-46,4Z"/>',
        front=_line("M-22,-52Q0,-47 22,-52M-46,4Q0,14 46,4", dye.dark, 2.5),
    )


def bag(dye: Dye) -> Drawing:
    seam = _line("M-40,-18L40,-18", dye.dark, 4) + _line("M-20,-18L-20,-4M20,-18L20,-4", dye.deep, 5)
    return Drawing(
        behind=_line("M-20,-16C-20,-62 20,-62 20,-16", dye.deep, 5),
        body='<path d="M-40,-18L40,-18L46,46Q46,52 40,52L-40,52Q-46,52-46,46Z"/>',
        front=seam + _box(-9, 30, 18, 11, dye.deep) + _box(-5, 34.5, 10, 2, dye.light),
    )


def boot(dye: Dye) -> Drawing:
    cuff = _line("M-28,-52Q-8,-47 12,-52", dye.dark, 4) + _line("M34,40Q33,22 46,21", dye.dark, 2.2)
    return Drawing(
        behind=_area("M-30,40L53,40Q55,51 47,51L4,51L2,47L-4,47L-6,53L-29,53Z", dye.deep),
        body='<path d="M-28,-52Q-8,-47 12,-52L12,0C14,10 28,10 40,16Q53,23 52,41L-29,41Q-25,-6-28,-52Z"/>',
        front=cuff + _line("M-2,-26L13,-31M-2,-14L13,-19M-1,-2L14,-7M6,9L18,0", dye.light, 3),
    )


def hat(dye: Dye) -> Drawing:
    crown = "C-33,-18-27,-42-12,-42Q0,-34 12,-42C27,-42 33,-18 31,12"
    band = _area("M-32,2Q0,14 32,2L32,13Q0,26-32,13Z", dye.deep)
    return Drawing(
        behind=_oval(0, 29, 57, 15, dye.deep),
        body=f'<path d="M-57,25C-57,15-36,13-31,12{crown}C36,13 57,15 57,25C57,44-57,44-57,25Z"/>',
        front=band + _area("M22,6C24,-12 34,-26 42,-30C42,-16 36,0 27,9Z", dye.light),
    )


def chair(dye: Dye) -> Drawing:
    legs = _line("M-28,18L-35,54M28,18L35,54", dye.deep, 6) + _line("M-18,18L-20,44M18,18L20,44", dye.dark, 5)
    back = "M-32,-44Q-32,-56-20,-56L20,-56Q32,-56 32,-44L30,-10Q29,-4 22,-4L-22,-4Q-29,-4-30,-10Z"
    seat = "M-34,4L34,4Q40,4 41,10L43,16Q43,23 36,23L-36,23Q-43,23-43,16L-41,10Q-40,4-34,4Z"
    return Drawing(
        behind=legs + _line("M-20,-8L-20,8M20,-8L20,8", dye.deep, 6),
        body=f'<path d="{back}{seat}"/>',
        front=_line("M-42,17Q0,22 42,17", dye.dark, 2.2),
    )


def scarf(dye: Dye) -> Drawing:
    fringe = "".join(f"M{-35 + 5.2 * k:.1f},{43 + 1.1 * k:.1f}l-2.6,9" for k in range(6))
    fringe += "".join(f"M{15 + 5 * k},{44 - 0.8 * k:.1f}l1.2,9" for k in range(6))
    loop = "M-40,-32C-44,-58 44,-58 40,-32C40,-4-40,-4-40,-32Z"
    hole = "M-24,-35C-20,-24 20,-24 24,-35C20,-48-20,-48-24,-35Z"
    folds = _line("M-37,-22C-24,-6 24,-6 37,-22M3,-11L-3,8M14,-11L19,10", dye.dark, 2.1)
    return Drawing(
        behind=_line(fringe, dye.dark, 2.4) + _oval(0, -32, 27, 15, dye.deep),
        body=(
            '<path d="M2,-14L34,-6L40,40L14,44Z"/><path d="M-24,-10L10,-12L-8,48L-36,42Z"/>'
            f'<path d="{loop}{hole}" fill-rule="evenodd" clip-rule="evenodd"/>'
        ),
        front=folds,
    )


SHAPES: dict[str, Callable[[Dye], Drawing]] = {
    "mug": mug,
    "vase": vase,
    "lamp": lamp,
    "bag": bag,
    "boot": boot,
    "hat": hat,
    "chair": chair,
    "scarf": scarf,
}
