"""The index page: everything that was saved, grouped by notebook, with links that lead somewhere."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nbformat
import plotly.graph_objects as go
import pytest

from nbkit.errors import UserError
from nbkit.plots import Mark, save_figure, write_gallery
from nbkit.plots.page import duration

TEXT = "**What you will see.** A `shop`, drawn\nby [code](x.ipynb). Its items."
FIG = go.Figure(go.Scatter(x=[1], y=[1]))


class Page(HTMLParser):
    """Targets, headings and balance of a page."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str | None] = set()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if name in ("href", "src") and value]
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two notebooks' figures, one of them with a picture, and one figure of no notebook."""
    figures = tmp_path / "figures"
    executed = figures / "notebooks"
    executed.mkdir(parents=True)
    for name, title in (("20_train.ipynb", "Train & watch"), ("10 data.ipynb", "The <data>")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(f"# {title}\n\n{TEXT}")])
        notebook.metadata["nbkit"] = {"parameters": {"data": "'<path>'"}}
        notebook.metadata["papermill"] = {"duration": 65.0}
        nbformat.write(notebook, executed / name)
    (executed / "20_train.html").write_text("<p>")
    known = {"runs": ["r1"], "dataset": "boutique"}
    for name, notebook in (
        ("curves", "20_train.ipynb"),
        ("degrees", "10 data.ipynb"),
        ("time", "10 data.ipynb"),
    ):
        source = {"notebook": executed / notebook}
        save_figure(
            FIG,
            name,
            folder=figures,
            caption=f"About {name}",
            provenance=known | source,
            formats=("json", "html"),
        )
    save_figure(FIG, "alone", folder=figures, provenance={"notebook": executed / "gone.ipynb"}, formats=("json",))
    save_figure(FIG, "loose", folder=figures, formats=("json", "html"))
    (figures / "curves.png").write_bytes(b"png")
    meta = json.loads((figures / "curves.meta.json").read_text())
    meta["files"]["png"] = "curves.png"
    (figures / "curves.meta.json").write_text(json.dumps(meta))
    return figures


def test_every_figure_is_there_in_the_group_of_its_notebook(folder: Path) -> None:
    page = Page(write_gallery(folder, "Figures", "An introduction"))
    assert page.headings == ["The <data>", "Train & watch", "gone", "Other figures"]
    for text in (
        "About curves",
        "About degrees",
        "About time",
        "An introduction",
        "boutique",
        "2 min 10 s",
        "10 data · 2 figures · 1 min 5 s",
        "A shop, drawn by code.",
        "'<path>'",
    ):
        assert text in page.text


def test_every_link_leads_to_a_file_and_none_to_the_network(folder: Path) -> None:
    (folder / "time.json").unlink()
    page = Page(write_gallery(folder, "Figures"))
    assert "degrees.json" in page.targets
    for target in page.targets:
        place, _, anchor = target.partition("#")
        assert (folder / unquote(place)).exists(), target
        assert not anchor or anchor in page.ids, target
    assert "#of-10%20data" in page.targets
    assert "notebooks/10%20data.ipynb" in page.targets
    assert "notebooks/20_train.html" in page.targets
    assert "http" not in " ".join(page.targets)


def test_a_figure_without_a_picture_gets_a_link_in_its_place(folder: Path) -> None:
    html = write_gallery(folder, "Figures").read_text()
    assert html.count("<img ") == 1
    assert html.count("open the interactive figure") == 4


def test_figures_not_to_be_believed_are_marked_and_a_failed_notebook_without_any_is_there(folder: Path) -> None:
    (folder / "notebooks" / "30.failed.html").touch()
    marks = {
        "notebooks/20_train.ipynb": Mark("outdated", "It changed since."),
        "notebooks/30_new.ipynb": Mark("failed", "Failed: <ZeroDivisionError>", "notebooks/30.failed.html"),
    }
    path = write_gallery(folder, "Figures", marks=marks)
    page = Page(path)
    assert page.headings == ["The <data>", "Train & watch", "30_new", "gone", "Other figures"]
    assert "It changed since." in page.text
    assert "Failed: <ZeroDivisionError> where it stopped" in page.text
    assert page.text.count("out of date") == 1, "one card of one marked notebook"
    assert "notebooks/30.failed.html" in page.targets


def test_provenance_is_told_in_words(folder: Path) -> None:
    known = {"runs": [f"r{n}" for n in range(9)], "seeds": [0, 1], "seconds": 75.0, "fingerprints": ["b6ea"]}
    save_figure(FIG, "curves", folder=folder, provenance=known, formats=("json",))
    text = Page(write_gallery(folder, "Figures")).text
    for words in ("r4, r5 and 3 more", "seeds0, 1", "training time1 min 15 s", "data by contentb6ea"):
        assert words in text


def test_the_page_follows_dark_mode_and_narrow_screens(folder: Path) -> None:
    html = write_gallery(folder, "Figures").read_text()
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html


def test_an_empty_folder_gives_a_page_that_says_so(tmp_path: Path) -> None:
    assert "No figures yet" in Page(write_gallery(tmp_path / "new", "Figures")).text


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"name": "a"}', '{"name": "a", "title": "", "caption": "", "files": 3, "provenance": {}}'],
)
def test_a_damaged_record_is_named_and_the_old_page_stays(folder: Path, content: str) -> None:
    before = write_gallery(folder, "Figures").read_text()
    (folder / "bad.meta.json").write_text(content)
    with pytest.raises(UserError, match=r"bad\.meta\.json' is damaged"):
        write_gallery(folder, "Figures")
    assert (folder / "index.html").read_text() == before


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3700, "1 h 1 min")],
)
def test_durations_are_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_data_of_several_figures_are_named_once(tmp_path: Path) -> None:
    for name, dataset in (("one", "shop"), ("two", "shop, baby")):
        save_figure(FIG, name, folder=tmp_path, provenance={"dataset": dataset}, formats=("json", "html"))
    assert "<dt>data</dt><dd>baby, shop</dd>" in write_gallery(tmp_path, "Title").read_text(encoding="utf-8")
