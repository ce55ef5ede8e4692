"""Product cards: every value is drawn, seen where it should be and nowhere else."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from nbkit.data.synthetic import contact_sheet
from nbkit.data.synthetic.attributes import NUISANCE, RELEVANT, draw_attributes
from nbkit.data.synthetic.cards import Card, card_table, draw_cards, vary
from nbkit.data.synthetic.features import render
from nbkit.data.synthetic.shapes import SHAPES
from nbkit.data.synthetic.wording import PATTERN_WORDS, SHADES, SHAPE_WORDS

VISIBLE = (*RELEVANT, "background", "lighting", "pose", "filter")
TOLD = (*RELEVANT, "pitch", "delivery")
BASE = Card(shape="bag", material="linen", pattern="dotted", colour="green")


@pytest.fixture(scope="module")
def cards() -> list[Card]:
    generator = np.random.default_rng(3)
    return draw_cards(draw_attributes(RELEVANT, 60, generator), draw_attributes(NUISANCE, 60, generator), generator)


@pytest.mark.parametrize("attribute", VISIBLE)
def test_each_value_of_a_visible_attribute_gives_another_picture(attribute):
    pictures = [render(card.svg, 48).astype(int) for card in vary(BASE, attribute)]
    for k, first in enumerate(pictures):
        for second in pictures[:k]:
            assert np.abs(first - second).mean() > 0.3


@pytest.mark.parametrize("attribute", TOLD)
def test_each_value_of_a_told_attribute_gives_another_title(attribute):
    titles = [card.title for card in vary(BASE, attribute)]
    assert len(set(titles)) == len(titles)


def test_what_the_camera_does_is_not_told_and_what_the_seller_says_is_not_seen():
    for attribute in set(VISIBLE) - set(TOLD):
        assert len({card.title for card in vary(BASE, attribute)}) == 1
    for attribute in set(TOLD) - set(VISIBLE):
        first, *others = (render(card.svg, 48) for card in vary(BASE, attribute))
        assert all((first == other).all() for other in others)


def test_pictures_are_wellformed_and_refer_only_to_their_own_ids(cards):
    for card in cards:
        root = ET.fromstring(card.svg)
        own = [node.get("id") for node in root.iter() if node.get("id")]
        used = re.findall(r"url\(#([^)]+)\)", card.svg)
        assert len(own) == len(set(own))
        assert set(used) <= set(own)
        assert root.get("aria-label") == card.title


def test_many_cards_can_share_a_page_without_sharing_ids(cards):
    ids = re.findall(r' id="([^"]+)"', contact_sheet(card_table(cards), n=60))
    assert len(ids) > 60
    assert len(ids) == len(set(ids))


def test_a_contact_sheet_shows_the_asked_number_of_cards_and_can_be_rendered(cards):
    sheet = contact_sheet(card_table(cards), n=7, columns=3)
    assert sheet.count('role="img"') == 7
    assert contact_sheet(card_table(cards[:2]), n=24).count('role="img"') == 2
    assert render(sheet, 200).std() > 10


def test_titles_always_name_the_shape_and_the_colour_and_mostly_the_rest(cards):
    for card in cards:
        title = card.title.lower()
        assert any(word in title for word in SHAPE_WORDS[card.shape])
        assert SHADES[card.colour][card.shade][0] in title
    named = [any(w in c.title.lower() for w in PATTERN_WORDS[c.pattern]) for c in cards]
    assert 0.7 < np.mean(named) < 1


def test_the_product_stays_inside_the_picture_in_every_pose():
    # Against a plain background, the rim of the picture shows no product when the pose is not a close-up.
    for shape in SHAPES:
        for pose in ("upright", "mirrored", "tilted left", "tilted right", "far"):
            for jitter in ((1.0, 1.0, 1.0, 1.0), (-1.0, 1.0, -1.0, -1.0)):
                card = Card(shape=shape, colour="red", pose=pose, background="night", jitter=jitter)
                rim = render(card.svg, 80).astype(int)
                rim[1:-1, 1:-1] = 0
                assert (rim[..., 0] - rim[..., 2]).max() < 40, (shape, pose)


def test_equal_cards_are_equal_to_the_letter(cards):
    generator = np.random.default_rng(3)
    again = draw_cards(draw_attributes(RELEVANT, 60, generator), draw_attributes(NUISANCE, 60, generator), generator)
    assert [c.svg for c in again] == [c.svg for c in cards]
    assert [c.title for c in again] == [c.title for c in cards]
