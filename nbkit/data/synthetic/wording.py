"""The words of a title: some name what the product is, the rest only sells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbkit.data.synthetic.cards import Card

SHADES: dict[str, tuple[tuple[str, str], ...]] = {  # name in titles, base colour in pictures
    "red": (("cherry red", "#c92a3a"), ("brick red", "#b13c32"), ("scarlet red", "#dd2d2d")),
    "orange": (("pumpkin orange", "#e8772e"), ("apricot orange", "#f29650"), ("rust orange", "#cc6322")),
    "yellow": (("lemon yellow", "#f2d43d"), ("mustard yellow", "#d9b02c"), ("honey yellow", "#eebf3a")),
    "green": (("moss green", "#6c8b3c"), ("forest green", "#2f7045"), ("fern green", "#4c9a51")),
    "blue": (("sky blue", "#4c9bd6"), ("navy blue", "#2b4a8b"), ("cobalt blue", "#2e66c4")),
    "purple": (("plum purple", "#6e3a7c"), ("violet purple", "#7d52b8"), ("grape purple", "#5c3d96")),
    "pink": (("rose pink", "#ea8fae"), ("blush pink", "#f1b0bf"), ("raspberry pink", "#dc5c93")),
    "grey": (("slate grey", "#717a84"), ("ash grey", "#a3a6a9"), ("charcoal grey", "#4b4f56")),
}
PATTERN_WORDS = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "polka dot"),
    "checked": ("checked", "gingham"),
    "zigzag": ("zigzag", "chevron"),
    "floral": ("floral", "flower print"),
}
SHAPE_WORDS = {
    "mug": ("mug", "coffee mug"),
    "vase": ("vase", "flower vase"),
    "lamp": ("lamp", "table lamp"),
    "bag": ("bag", "tote bag"),
    "boot": ("boots", "ankle boots"),
    "hat": ("hat", "brimmed hat"),
    "chair": ("chair", "dining chair"),
    "scarf": ("scarf", "wrap scarf"),
}
PITCHES = {
    "limited": ("limited edition", "strictly limited"),
    "new": ("new in this season", "brand new arrival"),
    "bestseller": ("our bestseller", "customers' bestseller"),
    "gift": ("perfect gift idea", "lovely gift"),
    "vintage": ("vintage inspired find", "retro vintage look"),
    "sale": ("sale price today", "mid season sale"),
}
DELIVERIES = {
    "fast": ("ships fast", "fast shipping worldwide"),
    "returns": ("free returns", "free 30 day returns"),
    "stock": ("only a few left in stock", "back in stock"),
    "order": ("made to order", "made to order by hand"),
    "wrapped": ("gift wrapped on request", "comes wrapped in a box"),
    "green": ("climate neutral delivery", "climate friendly packaging"),
}
OMITTED = 0.12  # share of titles that leave out the material, and as many the pattern


def compose_title(card: Card) -> str:
    """The title of a card; its six wording numbers choose synonyms, order and what is left out."""
    a, b, c, d, e, f = card.wording
    pattern = "" if a < OMITTED else PATTERN_WORDS[card.pattern][b > 0.6]
    material = "" if a > 1 - OMITTED else {"wood": "wooden", "wool": "woollen"}.get(card.material, card.material) if c > 0.6 else card.material
    shape = SHAPE_WORDS[card.shape][c < 0.4]
    shade = SHADES[card.colour][card.shade][0]
    pitch, delivery = PITCHES[card.pitch][d > 0.5], DELIVERIES[card.delivery][e > 0.5]
    if f < 0.4:
        words = f"{pattern} {material} {shape} in {shade} - {pitch}, {delivery}"
    elif f < 0.7:
        words = f"{pitch}: {shade} {pattern} {shape}{', ' + material if material else ''} - {delivery}"
    else:
        words = f"{shape} {pattern} {material} {shade} | {delivery} | {pitch}"
    words = " ".join(words.split())
    return words[0].upper() + words[1:]
