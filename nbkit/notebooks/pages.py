"""An executed notebook as a page that opens from disk: figures stay interactive, nothing comes from a network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from nbkit.notebooks.files import read
from nbkit.paths import write_atomic
from nbkit.plots import page
from nbkit.plots.figures import write_plotly_js
from nbkit.plots.theme import CONFIG

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
_MATH = re.compile(r"\$\$.+?\$\$|(?<![\\$])\$[^$\n]*\\[^$\n]*\$", re.DOTALL)

STYLE = """
:root { --word: #7a2aa8; --text: #0a6b3c; --number: #b3401f; --remark: #6a737d; }
@media (prefers-color-scheme: dark) {
  :root { --word: #c792ea; --text: #8fd19e; --number: #f0a07a; --remark: #8b97a3; }
}
main.notebook { max-width: 1000px; }
.notebook .nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: 0 0 1.5rem; }
.notebook h1 { margin: 1.5rem 0 .75rem; } .notebook h2 { margin: 2.25rem 0 .5rem; }
.notebook pre, .notebook code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, monospace; font-size: .84rem; }
.notebook pre { margin: 0; overflow-x: auto; line-height: 1.45; }
.code_cell { margin: .75rem 0; }
.prompt, .anchor-link { display: none; }
.input_area {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; overflow-x: auto;
}
.output_area { margin: .5rem 0; overflow-x: auto; }
.output_area > .output_subarea > pre { padding: 0 .8rem; color: var(--soft); white-space: pre-wrap; }
.output_error pre { border-left: 3px solid var(--number); }
.output_svg svg, .output_png img { max-width: 100%; height: auto; background: #fff; border-radius: 8px; }
.notebook table { border: 0; border-collapse: collapse; font-size: .9rem; display: block; overflow-x: auto; }
.notebook th, .notebook td { border: 0; border-bottom: 1px solid var(--line); padding: .25rem .7rem; }
.notebook th, .notebook td { text-align: right; }
.text_cell_render th, .text_cell_render td { text-align: left; }
.k, .kn, .kc, .kd, .ow { color: var(--word); } .c1, .ch { color: var(--remark); font-style: italic; }
.s1, .s2, .sa, .si, .sd { color: var(--text); } .mi, .mf { color: var(--number); }
"""


def write_page(executed: Path) -> Path:
    """Write ``NAME.html`` beside an executed notebook in ``figures/notebooks`` and return it.

    plotly.js lies once in the folder of figures, as for :func:`nbkit.plots.save_figure`.
    """
    from nbconvert import HTMLExporter

    notebook = read(executed)
    figures, maths = _drawn(notebook), any(_MATH.search(cell.source) for cell in _texts(notebook))
    if figures:
        write_plotly_js(executed.absolute().parents[1])
    exporter = HTMLExporter(template_name="basic", exclude_anchor_links=True)
    body, _ = exporter.from_notebook_node(notebook)
    script = '<script src="../plotly.min.js"></script>' if figures else ""
    note = '<p class="intro">Equations stand here as their source; JupyterLab typesets them.</p>' if maths else ""
    target = executed.with_suffix(".html")
    links = f'<p class="nav"><a href="../index.html">all figures</a><a href="{executed.name}">as .ipynb</a></p>'
    title = next((line[2:] for cell in _texts(notebook) for line in cell.source.splitlines() if line[:2] == "# "), "")
    content = f'<main class="single notebook">{links}{note}{body}</main>'
    write_atomic(target, page.document(title or executed.stem, content, head=f"<style>{STYLE}</style>{script}"))
    return target


def _texts(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def _drawn(notebook: NotebookNode) -> int:
    """Give every plotly figure the HTML that draws it, and drop views of widgets that are no more; the number drawn."""
    count = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data: dict[str, Any] = output.get("data", {})
            data.pop(WIDGET, None)
            if PLOTLY in data:
                count += 1
                data["text/html"] = _plot(f"figure-{count}", data.pop(PLOTLY))
    return count


def _plot(name: str, figure: dict[str, Any]) -> str:
    layout = {**figure.get("layout", {}), "autosize": True}
    height = int(layout.get("height") or 440)
    parts = [json.dumps(part).replace("</", "<\\/") for part in (figure.get("data", []), layout, CONFIG)]
    draw = f'Plotly.newPlot("{name}", {", ".join(parts)})'
    missing = "This figure needs plotly.min.js, which lies in the folder of figures."
    return (
        f'<div class="plot" id="{name}" style="min-height:{height}px"></div>'
        f'<script>if (window.Plotly) {draw}; else document.getElementById("{name}").textContent = "{missing}";</script>'
    )
