"""An executed notebook as a page: figures drawn without a network, everything else as in the notebook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from nbkit.notebooks.pages import PLOTLY, WIDGET, write_page

Make = Callable[..., Path]


@pytest.fixture
def executed(make: Make) -> Path:
    """A notebook with a figure, a widget that is no more, and an equation."""
    path = make("figures/notebooks/n.ipynb", "# A <title>\n\nCosts 5 $ and 6 $.", ("fig",), ("form",), ("'<b>'",))
    notebook = nbformat.read(path, 4)
    figure = {"data": [{"type": "bar", "y": [1], "name": "</script>"}], "layout": {"height": 300}}
    for cell, data in zip(
        notebook.cells[1:],
        [{PLOTLY: figure, "text/plain": "Figure"}, {WIDGET: {"model_id": "m"}, "text/plain": "a form"}],
        strict=False,
    ):
        cell["outputs"] = [nbformat.v4.new_output("display_data", data)]
    nbformat.write(notebook, path)
    return path


def test_a_figure_is_drawn_by_the_script_that_lies_beside_and_nothing_is_fetched(executed: Path) -> None:
    page = write_page(executed)
    text = page.read_text()
    assert "<title>A &lt;title&gt;</title>" in text
    drawn = re.search(r'Plotly\.newPlot\("figure-1", (\[.*?\]), (\{.*?\}), \{"responsive"', text)
    assert drawn
    assert "</script>" not in drawn[1], "a name must not end the script"
    assert json.loads(drawn[1]) == [{"type": "bar", "y": [1], "name": "</script>"}]
    assert json.loads(drawn[2]) == {"height": 300, "autosize": True}
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert sources == ["../plotly.min.js", "../index.html", "n.ipynb"]
    assert (page.parent / "../plotly.min.js").stat().st_size > 10**6
    assert not re.search(r"(?:@import|url\(|import ).{0,20}//", text)
    assert "a form" in text
    assert "widget-view" not in text


def test_a_page_says_where_equations_stay_source_and_only_there(executed: Path, make: Make) -> None:
    said = "JupyterLab typesets"
    assert said not in write_page(executed).read_text(), "two prices are no equation"
    assert said in write_page(make("figures/notebooks/m.ipynb", r"# M" "\n\n" r"$\alpha$ grows")).read_text()


def test_the_page_leaves_the_notebook_as_it_was(executed: Path) -> None:
    before = executed.read_bytes()
    write_page(executed)
    assert executed.read_bytes() == before
