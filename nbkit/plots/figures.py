"""Figures on disk: data, pictures and an offline page, with where they come from beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from nbkit.errors import UserError, nearest
from nbkit.paths import figures_dir, writable_folder, write_atomic
from nbkit.plots import page
from nbkit.plots.pictures import HEIGHT, PICTURES, WIDTH, draw
from nbkit.plots.provenance import complete
from nbkit.plots.theme import CONFIG

FORMATS = ("json", "png", "svg", "html")
PLOTLY_JS = "plotly.min.js"


@dataclass(frozen=True)
class SavedFigure:
    """What was written: files by format (only those that could be made) and ``<name>.meta.json``."""

    name: str
    files: Mapping[str, Path]
    meta: Path


def save_figure(
    fig: go.Figure,
    name: str,
    *,
    folder: str | Path | None = None,
    title: str = "",
    caption: str = "",
    provenance: Mapping[str, Any] | None = None,
    formats: Sequence[str] = FORMATS,
) -> SavedFigure:
    """Write ``<name>.{json,png,svg,html}``; last ``<name>.meta.json``: title, caption and provenance.

    ``folder`` is ``figures`` unless given (``NBKIT_FIGURES``). The page opens without a network: plotly.js
    lies once in the folder. Without a browser the pictures are left out, with a line of warning. Pictures
    of an older figure of the same name never stay beside newer data.

    Raises:
        UserError: an unknown format, a name without a letter or digit, a folder that cannot be written to.
    """
    for wanted in formats:
        if wanted not in FORMATS:
            raise UserError(f"figure {name!r}: unknown format {wanted!r}; {nearest(wanted, FORMATS)}")
    name = file_name(name)
    folder = writable_folder(figures_dir() if folder is None else Path(folder), "figure folder")
    title = title or _plain_title(fig) or name
    known = complete(provenance or {}, folder)
    content: dict[str, bytes | str] = {}
    if "json" in formats:
        content["json"] = str(fig.to_json())
    if "html" in formats:
        write_plotly_js(folder)
        content["html"] = _page(fig, name, title, caption, known)
    content |= draw(fig, formats)
    files = {f: folder / f"{name}.{f}" for f in FORMATS if f in content}
    for kind, path in files.items():
        write_atomic(path, content[kind])
    for kind in set(FORMATS) - set(files):
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    meta = {
        "name": name,
        "title": title,
        "caption": caption,
        "files": {kind: path.name for kind, path in files.items()},
        "width": fig.layout.width or WIDTH,
        "height": fig.layout.height or HEIGHT,
        "provenance": known,
    }
    path = folder / f"{name}.meta.json"
    write_atomic(path, json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
    return SavedFigure(name, files, path)


def file_name(name: str) -> str:
    """A name that is a file name on every system: letters, digits, dot, dash and underscore.

    >>> file_name("Recall @ 20 / users")
    'Recall-20-users'
    """
    clean = re.sub(r"[^A-Za-z0-9._-]+", "-", str(name)).strip("-._")[:100]
    if not clean:
        raise UserError(f"figure name {name!r}; expected one with letters or digits")
    return f"figure-{clean}" if clean == "index" else clean  # index.html is the gallery


def missing_pictures(saved: SavedFigure) -> tuple[str, ...]:
    """The picture formats that a saved figure lacks."""
    return tuple(f for f in PICTURES if f not in saved.files)


def _plain_title(fig: go.Figure) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", fig.layout.title.text or "").split())


def write_plotly_js(folder: Path) -> None:
    """Put plotly.js into a folder of figures, unless it is there; pages draw with it without a network."""
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs().encode()
    path = folder / PLOTLY_JS
    if not path.exists() or path.stat().st_size != len(script):
        write_atomic(path, script)


def _page(fig: go.Figure, name: str, title: str, caption: str, provenance: Mapping[str, Any]) -> str:
    if _plain_title(fig) == title:  # the page says it already
        fig = go.Figure(fig).update_layout(title=None)
    plot = fig.to_html(full_html=False, include_plotlyjs=False, div_id=f"figure-{name}", config=CONFIG)
    body = (
        f'<main class="single"><h1>{escape(title)}</h1><div class="plot">{plot}</div>'
        f'<p class="caption">{escape(caption)}</p>{page.provenance(provenance)}'
        '<p><a href="index.html">all figures</a></p></main>'
    )
    return page.document(title, body, head=f'<script src="{PLOTLY_JS}"></script>')
