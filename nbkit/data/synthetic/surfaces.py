"""What covers a product: the printed pattern and the texture of its material."""

from __future__ import annotations

from nbkit.data.synthetic.shapes import Dye

AREA = '<rect x="-64" y="-64" width="128" height="128" '  # covers every body; the card clips it


def _tiles(key: str, width: float, height: float, content: str, turn: float = 0) -> str:
    rotation = f' patternTransform="rotate({turn})"' if turn else ""
    return (
        f'<pattern id="{key}" width="{width}" height="{height}" patternUnits="userSpaceOnUse"{rotation}>{content}</pattern>'
        f'{AREA}fill="url(#{key})"/>'
    )


def print_layer(pattern: str, dye: Dye, key: str) -> str:
    """The pattern printed on a body, in the accent tone of its dye."""
    ink = f'fill="{dye.accent}"'
    if pattern == "striped":
        return _tiles(f"{key}p", 15, 15, f'<rect width="6.5" height="15" {ink}/>')
    if pattern == "dotted":
        return _tiles(f"{key}p", 17, 17, f'<circle cx="5" cy="5" r="3.9" {ink}/><circle cx="13.5" cy="13.5" r="3.9" {ink}/>')
    if pattern == "checked":
        bands = f'<rect width="10" height="20" {ink} opacity=".55"/><rect width="20" height="10" {ink} opacity=".55"/>'
        return _tiles(f"{key}p", 20, 20, bands)
    if pattern == "zigzag":
        line = f'<path d="M-2,12 L8,3 L18,12" fill="none" stroke="{dye.accent}" stroke-width="4"/>'
        return _tiles(f"{key}p", 16, 16, line)
    if pattern == "floral":
        petals = "".join(f'<circle cx="9" cy="4.6" r="3.1" transform="rotate({a} 9 9)" {ink}/>' for a in range(0, 360, 72))
        bloom = f'{petals}<circle cx="9" cy="9" r="2.3" fill="{dye.dark}"/>'
        return _tiles(f"{key}p", 26, 26, f'{bloom}<g transform="translate(13 13) scale(.8)">{bloom}</g>')
    return ""


def texture_layer(material: str, dye: Dye, key: str) -> str:
    """The surface of a material: weave, knit, seams, grain, glaze or brushed metal."""
    if material == "linen":
        weave = '<path d="M0,1 H6 M0,4 H3" stroke="#fff" stroke-opacity=".5" stroke-width="1"/>'
        weave += '<path d="M1.5,0 V6 M4.5,2 V6" stroke="#221" stroke-opacity=".33" stroke-width="1"/>'
        return _tiles(f"{key}m", 6, 6, weave)
    if material == "wool":
        leg = '<ellipse cx="2" cy="3.5" rx="1.7" ry="3.9" transform="rotate(-24 2 3.5)"/>'
        stitch = f'<g fill="#fff" fill-opacity=".3">{leg}<g transform="translate(8 0) scale(-1 1)">{leg}</g></g>'
        stitch += '<path d="M0,0 V7 M8,0 V7" stroke="#1d1420" stroke-opacity=".5" stroke-width="1.6"/>'
        return _tiles(f"{key}m", 8, 7, f'<rect width="8" height="7" fill="#1d1420" opacity=".16"/>{stitch}')
    if material == "leather":
        sheen = (
            f'<radialGradient id="{key}m" cx=".36" cy=".3" r=".8"><stop offset="0" stop-color="#ffe9d2" stop-opacity=".5"/>'
            '<stop offset=".4" stop-color="#7a4526" stop-opacity=".1"/><stop offset="1" stop-color="#2b1208" stop-opacity=".72"/></radialGradient>'
        )
        seams = '<path d="M-64,-27 H64 M-64,31 H64" stroke="#f6e3c4" stroke-width="2" stroke-dasharray="5 3.5"/>'
        groove = '<path d="M-64,-24.6 H64 M-64,33.4 H64" stroke="#2b1208" stroke-opacity=".5" stroke-width="1.6"/>'
        return f'{sheen}{AREA}fill="url(#{key}m)"/>{groove}{seams}'
    if material == "wood":
        grain = "M0,4 C14,0 22,9 44,4 M0,11 C10,15 30,8 44,11 M0,18 C16,14 26,22 44,18 M0,24.5 C12,28 30,22 44,24.5"
        knot = '<ellipse cx="28" cy="14.5" rx="5" ry="2.2" fill="none" stroke="#4a2a12" stroke-opacity=".6" stroke-width="1.3"/>'
        lines = f'<path d="{grain}" fill="none" stroke="#4a2a12" stroke-opacity=".55" stroke-width="1.7"/>'
        return f'{AREA}fill="#b0763c" opacity=".3"/>' + _tiles(f"{key}m", 44, 28, lines + knot)
    if material == "ceramic":
        shade = f'<linearGradient id="{key}m"><stop offset=".55" stop-color="#000" stop-opacity="0"/><stop offset="1" stop-color="#000" stop-opacity=".34"/></linearGradient>'
        gloss = '<path d="M-27,-46 C-33,-10 -31,20 -22,40 C-17,20 -18,-14 -14,-46 Z" fill="#fff" opacity=".68"/>'
        spots = '<ellipse cx="14" cy="-14" rx="4" ry="9" fill="#fff" opacity=".6"/><circle cx="15" cy="3" r="2.6" fill="#fff" opacity=".6"/>'
        return f'{shade}{AREA}fill="url(#{key}m)"/>{gloss}{spots}'
    stops = (("0", "#20262e", ".62"), (".2", "#fff", ".75"), (".36", "#39424d", ".5"), (".55", "#fff", ".62"), (".8", "#20262e", ".6"), ("1", "#cfd8e2", ".5"))
    metal = "".join(f'<stop offset="{o}" stop-color="{c}" stop-opacity="{a}"/>' for o, c, a in stops)
    rivets = _tiles(f"{key}r", 26, 38, '<circle cx="13" cy="19" r="2" fill="#e8edf2" stroke="#2a3038" stroke-width=".9"/>')
    return f'<linearGradient id="{key}m" x1="0" y1="0" x2="1" y2=".12">{metal}</linearGradient>{AREA}fill="url(#{key}m)"/>{rivets}'
