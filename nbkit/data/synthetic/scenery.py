"""What a photographer adds: background, pose, light and filter; none of it bears on preference."""

from __future__ import annotations

POSES: dict[str, tuple[float, float, bool]] = {  # turn in degrees, scale, mirrored
    "upright": (0, 0.98, False),
    "mirrored": (0, 0.98, True),
    "tilted left": (-21, 0.94, False),
    "tilted right": (21, 0.94, False),
    "close-up": (4, 1.28, False),
    "far": (-3, 0.68, False),
}


def _whole(attributes: str) -> str:
    return f'<rect width="160" height="160" {attributes}/>'


def _path(d: str, attributes: str) -> str:
    return f'<path d="{d}" {attributes}/>'


def backdrop(background: str) -> str:
    """The background of a card, 160 × 160."""
    return {
        "studio": _studio,
        "podium": _podium,
        "room": _room,
        "marble": _marble,
        "night": _night,
        "garden": _garden,
    }[background]()


def _studio() -> str:
    return _whole('fill="#f6f4f0"') + '<ellipse cx="80" cy="142" rx="96" ry="26" fill="#e7e3dc"/>'


def _podium() -> str:
    halo = '<circle cx="80" cy="70" r="56" fill="#f9e9d8"/>'
    block = _path("M22,128V160H138V128Z", 'fill="#c79a72"')
    top = '<ellipse cx="80" cy="128" rx="58" ry="14" fill="#e3bd97"/>'
    return _whole('fill="#f3d9bf"') + halo + block + top


def _room() -> str:
    wall = _whole('fill="#a9c4cf"') + '<rect y="112" width="160" height="48" fill="#b98d62"/>'
    frame = _path("M10,14H42V54H10Z", 'fill="#f5efe2" stroke="#5d4a3a" stroke-width="3"')
    sun = '<circle cx="26" cy="32" r="8" fill="#dd9c5b"/>'
    boards = "M0,128H160M0,144H160M30,112V128M110,112V128M70,128V144M134,144V160"
    skirting = '<rect y="108" width="160" height="5" fill="#f5efe2"/>'
    return wall + frame + sun + _path(boards, 'stroke="#8f6a45" stroke-width="1.6"') + skirting


def _marble() -> str:
    veins = (
        "M-5,30C40,18 60,60 170,36M-5,96C50,70 90,128 170,88M20,170C50,120 120,150 170,128M96,-5C84,40 140,80 128,170"
    )
    return _whole('fill="#e9ebee"') + _path(veins, 'fill="none" stroke="#b3bac4" stroke-width="2.6"')


def _night() -> str:
    stars = "".join(
        f'<circle cx="{x}" cy="{y}" r="1.5" fill="#f4e9b8"/>'
        for x, y in ((18, 22), (44, 52), (132, 26), (146, 74), (20, 92), (104, 14))
    )
    return _whole('fill="#232a45"') + _path("M0,160V130Q80,108 160,130V160Z", 'fill="#151a2e"') + stars


def _garden() -> str:
    places = (
        (8, 60, -30),
        (150, 58, 24),
        (26, 24, 40),
        (128, 20, -38),
        (4, 136, 10),
        (156, 140, -14),
        (78, 16, 84),
    )
    leaves = "".join(
        _path("M0,0C10,-16 10,-34 0,-48C-10,-34-10,-16 0,0", f'transform="translate({x} {y}) rotate({a})"')
        for x, y, a in places
    )
    lawn = _path("M0,160V132Q80,120 160,132V160Z", 'fill="#88b06b"')
    return _whole('fill="#bfd9a0"') + f'<g fill="#4f8a4c">{leaves}</g>' + lawn


def posed(product: str, pose: str, jitter: tuple[float, ...]) -> str:
    """The product in the scene, on its shadow; ``jitter`` (four in [-1, 1]) loosens turn, scale and place."""
    turn, scale, mirrored = POSES[pose]
    turn, scale = turn + 6 * jitter[0], scale * (1 + 0.07 * jitter[1])
    x, y = 80 + 9 * jitter[2], 82 + 6 * jitter[3]
    shadow = (
        f'<ellipse cx="{x:.1f}" cy="{y + 54 * scale:.1f}" rx="{46 * scale:.1f}" ry="{7 * scale:.1f}" '
        'fill="#1a1420" fill-opacity=".24"/>'
    )
    place = f"translate({x:.1f} {y:.1f}) rotate({turn:.1f})"
    size = f"scale({-scale if mirrored else scale:.3f} {scale:.3f})"
    return f'{shadow}<g transform="{place} {size}">{product}</g>'


def light_layer(lighting: str, key: str) -> str:
    """A gradient over the whole scene; nothing for even light."""
    if lighting == "even":
        return ""
    stops = (
        '<stop offset="0" stop-color="#fff6dc" stop-opacity=".5"/>'
        '<stop offset=".5" stop-color="#fff6dc" stop-opacity="0"/>'
        '<stop offset="1" stop-color="#140f24" stop-opacity=".55"/>'
    )
    if lighting == "spot":
        gradient = f'<radialGradient id="{key}l" cx=".5" cy=".48" r=".68">{stops}</radialGradient>'
    else:
        ways = {"left": 'x1="0" x2="1"', "right": 'x1="1" x2="0"', "above": 'x1="0" x2="0" y2="1"'}
        course = ways[lighting]
        gradient = f'<linearGradient id="{key}l" y1="0" {course}>{stops}</linearGradient>'
    return gradient + _whole(f'fill="url(#{key}l)"')


def filter_layer(scene: str, name: str, key: str) -> str:
    """The scene as the photographer's filter leaves it."""
    tints = {"warm": ("#ff8c2b", 0.24), "cold": ("#2f6dff", 0.26), "faded": ("#efe9e2", 0.42)}
    if name in tints:
        colour, strength = tints[name]
        return scene + _whole(f'fill="{colour}" fill-opacity="{strength}"')
    if name == "noir":
        matrix = '<feColorMatrix type="saturate" values=".45"/>'
        return (
            f'<filter id="{key}f" x="0" y="0" width="1" height="1">{matrix}</filter>'
            f'<g filter="url(#{key}f)">{scene}</g>' + _whole('fill="#000" fill-opacity=".16"')
        )
    return scene
