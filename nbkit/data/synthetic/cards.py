"""The product card: a drawn picture and a title, both of relevant attributes and nuisance mixed."""

from __future__ import annotations

import dataclasses
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from nbkit.data.synthetic.attributes import NUISANCE, RELEVANT
from nbkit.data.synthetic.scenery import backdrop, filter_layer, light_layer, posed
from nbkit.data.synthetic.shapes import SHAPES, Dye
from nbkit.data.synthetic.surfaces import print_layer, texture_layer
from nbkit.data.synthetic.wording import SHADES, compose_title

_XMLNS = 'xmlns="http://www.w3.org/2000/svg"'


@dataclass(frozen=True)
class Card:
    """All that decides a card.

    ``jitter`` loosens the pose (four numbers in [-1, 1]), ``wording`` chooses the words (six in [0, 1)).
    """

    shape: str = "mug"
    material: str = "ceramic"
    pattern: str = "plain"
    colour: str = "blue"
    background: str = "studio"
    lighting: str = "even"
    pose: str = "upright"
    filter: str = "none"
    pitch: str = "limited"
    delivery: str = "fast"
    shade: int = 0
    jitter: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
    wording: tuple[float, ...] = (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def title(self) -> str:
        """What the shop writes below the picture."""
        return compose_title(self)

    @property
    def svg(self) -> str:
        """The picture as a self-contained SVG with a view box of 160 × 160."""
        return draw(self)


def draw_cards(relevant: pd.DataFrame, nuisance: pd.DataFrame, generator: np.random.Generator) -> list[Card]:
    """A card for each item, with the shade of the colour, the exact pose and the wording drawn at random."""
    shades = generator.integers(3, size=len(relevant))
    jitter = np.round(generator.uniform(-1, 1, size=(len(relevant), 4)), 3)
    wording = np.round(generator.random((len(relevant), 6)) * 0.999, 3)
    rows: list[Any] = relevant.astype(str).join(nuisance.astype(str)).to_dict("records")
    return [
        Card(**row, shade=int(s), jitter=tuple(map(float, j)), wording=tuple(map(float, w)))
        for row, s, j, w in zip(rows, shades, jitter, wording, strict=True)
    ]


def draw(card: Card) -> str:
    """The picture of a card: background, shadow, product, light, filter, from back to front."""
    dye = Dye(SHADES[card.colour][card.shade][1])
    drawing = SHAPES[card.shape](dye)
    # Ids come from the card's content: many cards stand in one page without borrowing each other's clips.
    key = f"k{zlib.crc32(repr(dataclasses.astuple(card)).encode()):08x}"
    surface = print_layer(card.pattern, dye) + texture_layer(card.material, key)
    product = (
        f'{drawing.behind}<g fill="{dye.base}">{drawing.body}</g>'
        f'<g clip-path="url(#{key}b)">{surface}</g>{drawing.front}'
    )
    scene = backdrop(card.background) + posed(product, card.pose, card.jitter) + light_layer(card.lighting, key)
    return (
        f'<svg {_XMLNS} viewBox="0 0 160 160" role="img" aria-label="{escape(card.title)}">'
        f'<clipPath id="{key}b">{drawing.body}</clipPath>{filter_layer(scene, card.filter, key)}</svg>'
    )


def card_table(cards: Sequence[Card]) -> pd.DataFrame:
    """The item table of some cards: ``title``, ``category`` (the shape) and ``image`` (SVG text)."""
    return pd.DataFrame(
        {
            "title": [card.title for card in cards],
            "category": [card.shape for card in cards],
            "image": [card.svg for card in cards],
        }
    )


def vary(card: Card, attribute: str) -> list[Card]:
    """The same card with each value of one attribute in turn, everything else held."""
    changes: list[dict[str, Any]] = [{attribute: value} for value in {**RELEVANT, **NUISANCE}[attribute]]
    return [dataclasses.replace(card, **change) for change in changes]


def contact_sheet(table: pd.DataFrame, n: int = 24, columns: int = 6) -> str:
    """The first ``n`` rows of an item table (``title``, ``image``) as one SVG, titles below the pictures."""
    cell, caption, gap = 126, 68, 12  # six fit a notebook beside its file list
    parts = []
    for k, (title, image) in enumerate(zip(table["title"][:n], table["image"][:n], strict=True)):
        x, y = gap + (k % columns) * (cell + gap), gap + (k // columns) * (cell + caption)
        parts.append(str(image).replace("<svg ", f'<svg x="{x}" y="{y}" width="{cell}" height="{cell}" ', 1))
        lines = textwrap.wrap(str(title), 23)[:4]
        spans = "".join(f'<tspan x="{x}" dy="13">{escape(line)}</tspan>' for line in lines)
        parts.append(f'<text x="{x}" y="{y + cell + 3}">{spans}</text>')
    width = gap + columns * (cell + gap)
    height = gap + -(-min(n, len(table)) // columns) * (cell + caption)
    paper = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return (
        f'<svg {_XMLNS} viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="10.5" fill="#333">{paper}{"".join(parts)}</svg>'
    )
