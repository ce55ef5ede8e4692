"""The index page of a figure folder: cards grouped by notebook, opened straight from disk."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbkit.errors import UserError
from nbkit.paths import writable_folder, write_atomic
from nbkit.plots import page


@dataclass(frozen=True)
class _Notebook:
    """What the page tells about an executed notebook."""

    title: str
    seconds: float
    link: str
    page: str  # the same as HTML, where somebody made it


def write_gallery(folder: str | Path, title: str, intro: str = "") -> Path:
    """Write ``<folder>/index.html`` from every ``*.meta.json`` in the folder; all text is escaped.

    Raises:
        UserError: a folder that cannot be written to, or a damaged ``*.meta.json``.
    """
    folder = writable_folder(Path(folder), "figure folder")
    figures = [_read(path) for path in sorted(folder.glob("*.meta.json"), key=lambda p: p.stat().st_mtime_ns)]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figure in sorted(figures, key=lambda f: f["provenance"].get("created", "")):
        groups[figure["provenance"].get("notebook", "")].append(figure)
    notebooks = {path: _notebook(folder, path) for path in groups}
    sections = [
        _section(folder, notebooks[path], groups[path]) for path in sorted(groups, key=lambda p: (not p, Path(p).name))
    ]
    body = (
        f"<main><h1>{escape(title)}</h1>"
        + (f'<p class="intro">{escape(intro)}</p>' if intro else "")
        + _strip(figures, list(notebooks.values()))
        + ("".join(sections) or '<p class="intro">No figures yet.</p>')
        + "<footer>Every figure opens as an interactive page; nothing here needs a network.</footer></main>"
    )
    path = folder / "index.html"
    write_atomic(path, page.document(title, body))
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        return {
            "name": str(meta["name"]),
            "provenance": dict(meta["provenance"]),
            "files": dict(meta["files"]),
        } | {key: str(meta[key]) for key in ("title", "caption")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error!r}); delete it or save the figure again") from None


def _notebook(folder: Path, relative: str) -> _Notebook:
    """Title, seconds and link of an executed notebook; only the file's name where it cannot be read."""
    if not relative:
        return _Notebook("Other figures", 0.0, "", "")
    path = folder / relative
    page_of_it = path.with_suffix(".html")
    html = quote(os.path.relpath(page_of_it, folder)) if page_of_it.exists() else ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first = "".join(next(cell["source"] for cell in content["cells"] if cell["cell_type"] == "markdown"))
        heading = next((line.lstrip("# ") for line in first.splitlines() if line.startswith("#")), path.stem)
        seconds = float(content["metadata"].get("papermill", {}).get("duration") or 0.0)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError):
        return _Notebook(path.stem, 0.0, quote(relative) if path.exists() else "", html)
    return _Notebook(heading, seconds, quote(relative), html)


def _section(folder: Path, notebook: _Notebook, figures: Sequence[dict[str, Any]]) -> str:
    facts = [f"{len(figures)} figure{'s' * (len(figures) != 1)}"]
    if notebook.seconds:
        facts.append(page.duration(notebook.seconds))
    named = (("executed notebook", notebook.link), ("as a page", notebook.page))
    link = "".join(f'<span><a href="{target}">{name}</a></span>' for name, target in named if target)
    cards = "".join(_card(folder, figure, notebook) for figure in figures)
    return (
        f'<section><div class="group"><h2>{escape(notebook.title)}</h2>'
        f"<span>{' · '.join(facts)}</span>{link}</div>"
        f'<div class="grid">{cards}</div></section>'
    )


def _card(folder: Path, figure: dict[str, Any], notebook: _Notebook) -> str:
    files = {kind: quote(name) for kind, name in figure["files"].items() if (folder / name).exists()}
    picture = files.get("png") or files.get("svg")
    title, target = escape(figure["title"]), files.get("html") or picture or files.get("json", "#")
    if picture:
        look = f'<a class="look" href="{target}"><img loading="lazy" src="{picture}" alt="{title}"></a>'
    else:
        look = f'<a class="look none" href="{target}">open the interactive figure</a>'
    names = {"html": "interactive", "svg": "SVG", "png": "PNG", "json": "data"}
    links = "".join(f'<a href="{files[kind]}">{word}</a>' for kind, word in names.items() if kind in files)
    if notebook.link:
        links += f'<a href="{notebook.link}">notebook</a>'
    caption = f'<p class="caption">{escape(figure["caption"])}</p>' if figure["caption"] else ""
    return (
        f'<article class="card" id="{escape(figure["name"])}">{look}'
        f'<div class="text"><h3><a href="{target}">{title}</a></h3>'
        f'{caption}<p class="links">{links}</p>{page.provenance(figure["provenance"])}</div></article>'
    )


def _strip(figures: Sequence[dict[str, Any]], notebooks: Sequence[_Notebook]) -> str:
    """How many figures, from which data and runs, how long it took, with which versions."""
    known = [figure["provenance"] for figure in figures]
    if not known:
        return ""
    latest = max(known, key=lambda p: p.get("created", ""))
    runs = {run for p in known for run in p.get("runs", [])}
    seconds = sum(n.seconds for n in notebooks) or sum(
        {tuple(p.get("runs", [])): p.get("seconds", 0.0) for p in known}.values()
    )
    facts = {
        "figures": str(len(figures)),
        "data": ", ".join(sorted({str(p["dataset"]) for p in known if p.get("dataset")})),
        "runs": str(len(runs)) if runs else "",
        "total time": page.duration(seconds) if seconds else "",
        "made": str(latest.get("created", "")).replace("T", " ").replace("Z", " UTC"),
        "commit": _short(str(latest.get("git", ""))),
    }
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items() if v)
    versions = " · ".join(f"{name} {version}" for name, version in latest.get("versions", {}).items())
    return f'<dl class="strip">{cells}<div><dt>versions</dt><dd class="small">{escape(versions)}</dd></div></dl>'


def _short(commit: str) -> str:
    """A commit as people quote it; the + of changed files stays."""
    return commit[:10] + "+" * (commit.endswith("+") and len(commit) > 10)
