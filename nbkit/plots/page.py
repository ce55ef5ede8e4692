"""Plain HTML pages that open from disk: one style for the gallery and for the page of a single figure."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

STYLE = """
:root {
  --ground: #f6f7f9; --card: #fff; --ink: #1f2328; --soft: #59636e; --line: #d9dee4;
  --link: #0062a3; --bad: #b42318; --old: #8a5a00; color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #0f1317; --card: #181d23; --ink: #e2e7ec; --soft: #9aa5b1; --line: #2c343d;
    --link: #6cb6ee; --bad: #ff8a7a; --old: #e5b567;
  }
  .card .look:not(.none) { filter: brightness(.92); }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1440px; margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3rem) 4rem; }
main.single { max-width: 1100px; }
h1 { font-size: clamp(1.5rem, 3vw, 2.1rem); line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 0; }
h3 { font-size: 1.02rem; line-height: 1.3; margin: 0 0 .35rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
a:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px; border-radius: 4px;
}
.intro { max-width: 46rem; color: var(--soft); margin: 0 0 1.75rem; }
.strip {
  display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; padding: 1rem 1.25rem; margin: 0 0 2.5rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.strip div { min-width: 5rem; }
.strip dt { color: var(--soft); font-size: .8rem; }
.strip dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.strip dd.small { font-weight: 400; font-size: .85rem; line-height: 1.7; }
nav { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1.5rem; }
nav a {
  padding: .3rem .75rem; border: 1px solid var(--line); border-radius: 999px; background: var(--card);
  font-size: .9rem;
}
section { scroll-margin-top: 1rem; }
.group { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem 1rem; margin: 3rem 0 .35rem; }
.group span, .about { color: var(--soft); font-size: .9rem; }
.about { max-width: 60rem; margin: 0 0 .35rem; font-size: .95rem; }
.parameters { margin: 0 0 1rem; }
.mark {
  margin: .5rem 0 1rem; padding: .6rem 1rem; border: 1px solid var(--line); border-left: 4px solid var(--mark);
  border-radius: 8px; background: var(--card); font-size: .92rem; overflow-wrap: anywhere;
}
.badge {
  display: inline-block; margin: 0 0 .35rem; padding: 0 .5rem; border: 1px solid var(--mark); border-radius: 999px;
  color: var(--mark); font-size: .8rem;
}
.failed { --mark: var(--bad); }
.outdated { --mark: var(--old); }
nav a.failed, nav a.outdated { border-color: var(--mark); color: var(--mark); }
.grid {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr));
  gap: 1.25rem;
}
.card {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden;
  transition: box-shadow .15s, transform .15s;
}
@media (prefers-reduced-motion: reduce) { .card { transition: none; } }
.card:hover, .card:focus-within { box-shadow: 0 6px 22px rgb(0 0 0 / .13); transform: translateY(-2px); }
.card .look {
  position: relative; display: grid; place-items: center; background: #fff;
  border-bottom: 1px solid var(--line);
}
.card .look.none { background: var(--ground); color: var(--link); font-size: .95rem; }
.card img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; padding: .4rem; }
.card .text { padding: .9rem 1.1rem 1rem; }
.caption { color: var(--soft); font-size: .92rem; margin: 0 0 .6rem; }
.links { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .9rem; margin: 0 0 .5rem; }
details { font-size: .85rem; color: var(--soft); }
summary { cursor: pointer; width: fit-content; }
details dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: .5rem 0 0; }
details dt { overflow-wrap: anywhere; }
details dd {
  margin: 0; overflow-wrap: anywhere;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .8rem;
}
.plot {
  background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: .5rem;
  margin: 1rem 0;
}
footer { color: var(--soft); font-size: .85rem; margin-top: 3rem; }
"""


def document(title: str, body: str, *, head: str = "") -> str:
    """A whole page; ``body`` and ``head`` are HTML already, ``title`` is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f"{head}\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


# How provenance is called on a page, in the order in which it is told; the rest follows under its own name.
LABELS = {
    "dataset": "data",
    "fingerprints": "data by content",
    "runs": "runs",
    "seeds": "seeds",
    "settings": "hash of settings",
    "seconds": "training time",
    "notebook": "notebook",
    "git": "commit",
    "created": "made",
    "versions": "versions",
}
_MANY = 6  # of a list, so many are shown


def provenance(known: Mapping[str, Any]) -> str:
    """A fold-out list of where a figure comes from."""
    names = [name for name in LABELS if name in known] + [name for name in known if name not in LABELS]
    rows = "".join(
        f"<dt>{escape(LABELS.get(name, str(name)))}</dt><dd>{escape(_words(name, known[name]))}</dd>" for name in names
    )
    return f"<details><summary>where it comes from</summary><dl>{rows}</dl></details>"


def _words(name: str, value: Any) -> str:
    if name == "seconds" and isinstance(value, int | float):
        return duration(value)
    if name == "created":
        return str(value).replace("T", " ").replace("Z", " UTC")
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_words('', v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        shown = ", ".join(_words("", v) for v in value[:_MANY])
        return shown if len(value) <= _MANY else f"{shown} and {len(value) - _MANY} more"
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds in words.

    >>> duration(75)
    '1 min 15 s'
    """
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
