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
MATERIAL_WORDS = {
    "linen": ("linen", "linen"),
    "wool": ("wool", "woollen"),
    "leather": ("leather", "leather"),
    "wood": ("wood", "wooden"),
    "ceramic": ("ceramic", "ceramic"),
    "steel": ("steel", "steel"),
}
PATTERN_WORDS = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "polka dot"),
    "checked": ("checked", "gingham"),
    "zigzag": ("zigzag", "chevron"),
    "floral": ("floral", "flower print"),
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
OMITTED = 0.12  # share of titles that leave out the pattern, and as many the material


def compose_title(card: Card) -> str:
    """The title of a card; its six wording numbers choose what is left out, synonyms and the order."""
    left_out, *synonym, order = card.wording
    pattern = "" if left_out < OMITTED else PATTERN_WORDS[card.pattern][synonym[0] > 0.6]
    material = "" if left_out > 1 - OMITTED else MATERIAL_WORDS[card.material][synonym[1] > 0.6]
    shape = SHAPE_WORDS[card.shape][synonym[1] < 0.4]
    pitch, delivery = PITCHES[card.pitch][synonym[2] > 0.5], DELIVERIES[card.delivery][synonym[3] > 0.5]
    shade = SHADES[card.colour][card.shade][0]
    if order < 0.4:
        words = f"{pattern} {material} {shape} in {shade} - {pitch}, {delivery}"
    elif order < 0.7:
        words = f"{pitch}: {shade} {pattern} {shape}{material and ', ' + material} - {delivery}"
    else:
        words = f"{shape} {pattern} {material} {shade} | {delivery} | {pitch}"
    words = " ".join(words.split())
    return words[0].upper() + words[1:]
