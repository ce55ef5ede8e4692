"""The index page of a figure folder: cards grouped by notebook, opened straight from disk."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from nbkit.errors import UserError
from nbkit.paths import writable_folder, write_atomic
from nbkit.plots import page


@dataclass(frozen=True)
class Mark:
    """What a reader has to know before believing the figures of a notebook; ``link`` leads to where it says more."""

    kind: Literal["failed", "outdated"]
    text: str
    link: str = ""  # a path below the folder of figures

    @property
    def badge(self) -> str:
        return {"failed": "from an earlier run", "outdated": "out of date"}[self.kind]


@dataclass(frozen=True)
class _Notebook:
    """What the page tells about an executed notebook."""

    title: str
    name: str = ""
    about: str = ""
    seconds: float = 0.0
    link: str = ""
    page: str = ""  # the same as HTML, where somebody made it
    parameters: Mapping[str, str] = field(default_factory=dict)
    mark: Mark | None = None

    @property
    def anchor(self) -> str:
        return f"of-{quote(self.name)}"

    @property
    def shade(self) -> str:
        return f" {self.mark.kind}" if self.mark else ""


def write_gallery(folder: str | Path, title: str, intro: str = "", marks: Mapping[str, Mark] | None = None) -> Path:
    """Write ``<folder>/index.html`` from every ``*.meta.json`` in the folder; all text is escaped.

    ``marks`` are by path of the executed notebook below the folder; one without figures is shown for its mark.

    Raises:
        UserError: a folder that cannot be written to, or a damaged ``*.meta.json``.
    """
    folder, marks = writable_folder(Path(folder), "figure folder"), marks or {}
    figures = [_read(path) for path in sorted(folder.glob("*.meta.json"), key=lambda p: p.stat().st_mtime_ns)]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list, {path: [] for path in marks})
    for figure in sorted(figures, key=lambda f: f["provenance"].get("created", "")):
        groups[figure["provenance"].get("notebook", "")].append(figure)
    order = sorted(groups, key=lambda p: (not p, Path(p).name))
    notebooks = {path: _notebook(folder, path, marks.get(path)) for path in order}
    sections = [_section(folder, notebooks[path], groups[path]) for path in order]
    body = (
        f"<main><h1>{escape(title)}</h1>"
        + (f'<p class="intro">{escape(intro)}</p>' if intro else "")
        + _strip(figures, list(notebooks.values()))
        + _nav(list(notebooks.values()))
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
            "shape": (float(meta.get("width", 960)), float(meta.get("height", 440))),
        } | {key: str(meta[key]) for key in ("title", "caption")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error!r}); delete it or save the figure again") from None


def _notebook(folder: Path, relative: str, mark: Mark | None) -> _Notebook:
    """What an executed notebook tells of itself; only the file's name where it cannot be read."""
    if not relative:
        return _Notebook("Other figures")
    path = folder / relative
    paper = path.with_suffix(".html")
    known: dict[str, Any] = {
        "name": path.stem,
        "link": quote(relative) if path.exists() else "",
        "page": quote(os.path.relpath(paper, folder)) if paper.exists() else "",
        "mark": mark,
    }
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first = "".join(next(cell["source"] for cell in content["cells"] if cell["cell_type"] == "markdown"))
        own = content["metadata"].get("nbkit", {}).get("parameters", {})
        return _Notebook(
            title=next((line.lstrip("# ") for line in first.splitlines() if line.startswith("#")), path.stem),
            about=_about(first),
            seconds=float(content["metadata"].get("papermill", {}).get("duration") or 0.0),
            parameters={str(name): str(value) for name, value in own.items()},
            **known,
        )
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError):
        return _Notebook(path.stem, **known)


def _about(text: str) -> str:
    """The first sentence of a notebook, without its marks and without what the paragraph is called.

    >>> _about("# Title\\n\\n**What you will see.** A *shop*, `drawn` by code. More.")
    'A shop, drawn by code.'
    """
    paragraphs = [part for part in re.split(r"\n\s*\n", text) if not part.lstrip().startswith("#")]
    words = re.sub(r"^\*\*[^*]+\*\*\s*", "", " ".join(paragraphs[0].split()) if paragraphs else "")
    plain = re.sub(r"\[([^\]]+)\]\([^)]*\)|[*`]", r"\1", words)
    return re.split(r"(?<=[.!?])\s", plain, maxsplit=1)[0]


def _nav(notebooks: Sequence[_Notebook]) -> str:
    """Jumps to the notebooks, where there are several."""
    links = "".join(
        f'<a class="jump{n.shade}" href="#{n.anchor}">{escape(n.title.partition(":")[0])}</a>' for n in notebooks
    )
    return f'<nav aria-label="Notebooks">{links}</nav>' if len(notebooks) > 1 else ""


def _section(folder: Path, notebook: _Notebook, figures: Sequence[dict[str, Any]]) -> str:
    facts = [escape(notebook.name)] if notebook.name else []
    facts.append(f"{len(figures)} figure{'s' * (len(figures) != 1)}")
    if notebook.seconds:
        facts.append(page.duration(notebook.seconds))
    named = (("executed notebook", notebook.page), (".ipynb", notebook.link))
    link = "".join(f'<span><a href="{target}">{name}</a></span>' for name, target in named if target)
    cards = "".join(_card(folder, figure, notebook) for figure in figures)
    return (
        f'<section id="{notebook.anchor}"><div class="group"><h2>{escape(notebook.title)}</h2>'
        f"<span>{' · '.join(facts)}</span>{link}</div>"
        + (f'<p class="about">{escape(notebook.about)}</p>' if notebook.about else "")
        + _parameters(notebook.parameters)
        + _mark(notebook.mark)
        + f'<div class="grid">{cards}</div></section>'
    )


def _parameters(values: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in values.items())
    return f'<details class="parameters"><summary>its parameters</summary><dl>{rows}</dl></details>' if rows else ""


def _mark(mark: Mark | None) -> str:
    if mark is None:
        return ""
    link = f' <a href="{quote(mark.link)}">where it stopped</a>' if mark.link else ""
    return f'<p class="mark {mark.kind}">{escape(mark.text)}{link}</p>'


def _card(folder: Path, figure: dict[str, Any], notebook: _Notebook) -> str:
    files = {kind: quote(name) for kind, name in figure["files"].items() if (folder / name).exists()}
    picture = files.get("png") or files.get("svg")
    title, target = escape(figure["title"]), files.get("html") or picture or files.get("json", "#")
    width, height = figure["shape"]
    shape = f'style="aspect-ratio: {min(max(width / max(height, 1), 1.2), 2.4):.3f}"'
    # The title below is the same link: one stop for the keyboard is enough.
    look = f'href="{target}" {shape} tabindex="-1" aria-hidden="true"'
    if picture:
        shown = f'<a class="look" {look}><img loading="lazy" src="{picture}" alt=""></a>'
    else:
        shown = f'<a class="look none" {look}>open the interactive figure</a>'
    names = {"html": "interactive", "svg": "SVG", "png": "PNG", "json": "data"}
    links = "".join(f'<a href="{files[kind]}">{word}</a>' for kind, word in names.items() if kind in files)
    if notebook.page or notebook.link:
        links += f'<a href="{notebook.page or notebook.link}">notebook</a>'
    badge = f'<span class="badge">{notebook.mark.badge}</span>' if notebook.mark else ""
    caption = f'<p class="caption">{escape(figure["caption"])}</p>' if figure["caption"] else ""
    return (
        f'<article class="card{notebook.shade}" id="{escape(figure["name"])}">{shown}'
        f'<div class="text">{badge}<h3><a href="{target}">{title}</a></h3>'
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
        "data": ", ".join(sorted({name for p in known for name in str(p.get("dataset", "")).split(", ")} - {""})),
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
