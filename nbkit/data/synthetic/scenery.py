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


def _full(attributes: str) -> str:
    return f'<rect width="160" height="160" {attributes}/>'


def backdrop(background: str) -> str:
    """The background of a card, 160 × 160."""
    if background == "studio":
        return _full('fill="#f6f4f0"') + '<ellipse cx="80" cy="142" rx="96" ry="26" fill="#e7e3dc"/>'
    if background == "podium":
        block = '<path d="M22,128 V160 H138 V128 Z" fill="#c79a72"/><ellipse cx="80" cy="128" rx="58" ry="14" fill="#e3bd97"/>'
        return _full('fill="#f3d9bf"') + '<circle cx="80" cy="70" r="56" fill="#f9e9d8"/>' + block
    if background == "room":
        wall = '<rect width="160" height="112" fill="#a9c4cf"/><rect y="112" width="160" height="48" fill="#b98d62"/>'
        frame = '<rect x="10" y="14" width="32" height="40" fill="#f5efe2" stroke="#5d4a3a" stroke-width="3"/><circle cx="26" cy="32" r="8" fill="#dd9c5b"/>'
        boards = '<path d="M0,128 H160 M0,144 H160 M30,112 V128 M110,112 V128 M70,128 V144 M134,144 V160" stroke="#8f6a45" stroke-width="1.6"/>'
        return wall + frame + boards + '<rect y="108" width="160" height="5" fill="#f5efe2"/>'
    if background == "marble":
        veins = "M-5,30 C40,18 60,60 170,36 M-5,96 C50,70 90,128 170,88 M20,170 C50,120 120,150 170,128 M96,-5 C84,40 140,80 128,170"
        return _full('fill="#e9ebee"') + f'<path d="{veins}" fill="none" stroke="#b3bac4" stroke-width="2.6"/>'
    if background == "night":
        stars = "".join(f'<circle cx="{x}" cy="{y}" r="1.5" fill="#f4e9b8"/>' for x, y in ((18, 22), (44, 52), (132, 26), (146, 74), (20, 92), (104, 14)))
        return _full('fill="#232a45"') + '<path d="M0,160 V130 Q80,108 160,130 V160 Z" fill="#151a2e"/>' + stars
    leaf = "M0,0 C10,-16 10,-34 0,-48 C-10,-34 -10,-16 0,0"
    spots = ((8, 60, -30), (150, 58, 24), (26, 24, 40), (128, 20, -38), (4, 136, 10), (156, 140, -14), (78, 16, 84))
    leaves = "".join(f'<path d="{leaf}" transform="translate({x} {y}) rotate({a})" fill="#4f8a4c"/>' for x, y, a in spots)
    return _full('fill="#bfd9a0"') + leaves + '<path d="M0,160 V132 Q80,120 160,132 V160 Z" fill="#88b06b"/>'


def posed(product: str, pose: str, jitter: tuple[float, ...]) -> str:
    """The product set into the scene with its shadow; ``jitter`` (four numbers in [-1, 1]) loosens turn, scale and place."""
    turn, scale, mirrored = POSES[pose]
    turn, scale = turn + 6 * jitter[0], scale * (1 + 0.07 * jitter[1])
    x, y = 80 + 9 * jitter[2], 82 + 6 * jitter[3]
    shadow = f'<ellipse cx="{x:.1f}" cy="{y + 54 * scale:.1f}" rx="{46 * scale:.1f}" ry="{7 * scale:.1f}" fill="#1a1420" opacity=".24"/>'
    flip = -scale if mirrored else scale
    return f'{shadow}<g transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f}) scale({flip:.3f} {scale:.3f})">{product}</g>'


def light_layer(lighting: str, key: str) -> str:
    """A gradient over the whole scene; nothing for even light."""
    if lighting == "even":
        return ""
    bright, shade = '<stop offset="0" stop-color="#fff6dc" stop-opacity=".5"/>', '<stop offset="1" stop-color="#140f24" stop-opacity=".55"/>'
    middle = '<stop offset=".5" stop-color="#fff6dc" stop-opacity="0"/>'
    if lighting == "spot":
        gradient = f'<radialGradient id="{key}l" cx=".5" cy=".48" r=".68">{bright}{middle}{shade}</radialGradient>'
    else:
        ends = {"left": 'x1="0" x2="1"', "right": 'x1="1" x2="0"', "above": 'x1="0" x2="0" y1="0" y2="1"'}[lighting]
        gradient = f'<linearGradient id="{key}l" {ends}>{bright}{middle}{shade}</linearGradient>'
    return gradient + _full(f'fill="url(#{key}l)"')


def filter_layer(scene: str, name: str, key: str) -> str:
    """The scene as the photographer's filter leaves it."""
    tints = {"warm": ("#ff8c2b", 0.24), "cold": ("#2f6dff", 0.26), "faded": ("#efe9e2", 0.42)}
    if name in tints:
        colour, strength = tints[name]
        return scene + _full(f'fill="{colour}" opacity="{strength}"')
    if name == "noir":
        matrix = f'<filter id="{key}f" x="0" y="0" width="1" height="1"><feColorMatrix type="saturate" values=".36"/></filter>'
        return f'{matrix}<g filter="url(#{key}f)">{scene}</g>' + _full('fill="#000" opacity=".16"')
    return scene
