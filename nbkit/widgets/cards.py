"""Product cards: an item's picture and title, with what there is to say about it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from nbkit.data.dataset import TrainingView

_STYLE = """<style>
.nbkit-cards{display:flex;flex-wrap:wrap;gap:10px;font:13px/1.35 Inter,"Segoe UI",sans-serif}
.nbkit-card{width:var(--card,112px);margin:0}
.nbkit-card .at{width:var(--card,112px);height:var(--card,112px);border-radius:6px;background:#8882;
 display:flex;align-items:center;justify-content:center;overflow:hidden;color:#888}
.nbkit-card img{width:100%;height:100%;object-fit:cover;display:block}
.nbkit-card figcaption{overflow-wrap:anywhere}
.nbkit-card .title{display:-webkit-box;-webkit-line-clamp:3;-webkit-box-orient:vertical;overflow:hidden}
.nbkit-card .note{opacity:.75}
.nbkit-card.hit .at{outline:3px solid #0072B2}
.nbkit-card.bad .at{outline:3px solid #D55E00}
</style>"""


class Card(NamedTuple):
    """An item by its row, what is said below it, and whether it is marked as ``hit`` or ``bad``."""

    item: int
    note: str = ""
    mark: str = ""


def cards_html(data: TrainingView, cards: Iterable[Card], *, width: int = 112) -> str:
    """Cards in a row that wraps, ``width`` pixels each; an item without a picture shows its id instead."""
    body = "".join(_card(data, card) for card in cards)
    return f'{_STYLE}<div class="nbkit-cards" style="--card:{width}px">{body}</div>'


def title_of(data: TrainingView, item: int) -> str:
    """An item's title, or its id where there is none."""
    return _cell(data, item, "title") or str(data.item_ids[item])


def _card(data: TrainingView, card: Card) -> str:
    title, picture = escape(title_of(data, card.item)), _source(_cell(data, card.item, "image"))
    shown = f'<img alt="" src="{picture}">' if picture else escape(str(data.item_ids[card.item]))
    note = f'<div class="note">{escape(card.note)}</div>' if card.note else ""
    return (
        f'<figure class="nbkit-card {escape(card.mark)}" data-item="{card.item}"><div class="at">{shown}</div>'
        f'<figcaption><div class="title" title="{title}">{title}</div>{note}</figcaption></figure>'
    )


def _cell(data: TrainingView, item: int, column: str) -> str:
    table = data.item_table
    if table is None or column not in table:
        return ""
    value = table[column].iat[item]
    return value if isinstance(value, str) else ""


def _source(picture: str) -> str:
    """The address of a picture: a drawing goes into the page, in a form that cannot run scripts; links stay links."""
    if picture.lstrip().startswith("<svg"):
        return "data:image/svg+xml;base64," + base64.b64encode(picture.encode()).decode()
    return quote(picture, safe=":/?&=%#.,-_~+@") if picture.startswith(("https://", "http://")) else ""
