"""Figures on disk: whole, with where they come from, and never a study lost for want of a browser."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from nbkit.errors import UserError
from nbkit.plots import pictures, provenance_of, save_figure, write_gallery
from nbkit.plots.figures import file_name
from nbkit.runs import RunFolder

FIG = go.Figure(go.Scatter(x=[1, 2], y=np.array([3.0, 4.0]))).update_layout(title="A <b>title</b>")


@pytest.fixture(autouse=True)
def untried_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_proven", [])


@pytest.fixture
def no_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "browser_path", lambda: None)


needs_browser = pytest.mark.skipif(pictures.browser_path() is None, reason="no browser for kaleido")


@needs_browser
def test_with_a_browser_all_four_files_are_written_and_a_second_figure_is_quick(tmp_path: Path) -> None:
    saved = save_figure(FIG, "first", folder=tmp_path)
    assert {path.name for path in saved.files.values()} == {
        "first.json",
        "first.png",
        "first.svg",
        "first.html",
    }
    assert saved.files["png"].read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in saved.files["svg"].read_bytes()[:200]
    assert pio.from_json(saved.files["json"].read_text()).data[0].x == (1, 2)
    again = save_figure(FIG, "second", folder=tmp_path, formats=("png",))
    assert [path.name for path in again.files.values()] == ["second.png"]
    assert json.loads(again.meta.read_text())["files"] == {"png": "second.png"}


@pytest.mark.usefixtures("no_browser")
def test_without_a_browser_one_line_warns_and_the_rest_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        saved = [save_figure(FIG, name, folder=tmp_path) for name in ("a", "b")]
    assert [r.getMessage() for r in caplog.records] == [
        "figures are saved without PNG and SVG: no Chrome or Chromium found for kaleido"
    ]
    assert [sorted(s.files) for s in saved] == [["html", "json"]] * 2


def test_a_browser_that_breaks_is_tried_once_and_costs_no_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def broken(*_: object, **__: object) -> None:
        tries.append(1)
        raise RuntimeError("it\nfell over")

    monkeypatch.setattr(pictures, "browser_path", lambda: "/usr/bin/false")
    monkeypatch.setattr("kaleido.write_fig_from_object_sync", broken)
    for name in ("a", "b"):
        assert sorted(save_figure(FIG, name, folder=tmp_path).files) == ["html", "json"]
    assert len(tries) == 1
    assert [r.getMessage() for r in caplog.records] == [
        "figures are saved without PNG and SVG: RuntimeError: it fell over"
    ]


@pytest.mark.usefixtures("no_browser")
def test_pictures_of_an_older_figure_do_not_stay_beside_newer_data(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    (tmp_path / "other.png").write_bytes(b"mine")
    saved = save_figure(FIG, "a", folder=tmp_path)
    assert not (tmp_path / "a.png").exists()
    assert (tmp_path / "other.png").exists()
    assert json.loads(saved.meta.read_text())["files"] == {"json": "a.json", "html": "a.html"}


QUIET = ("json", "html")


def test_where_a_figure_comes_from_stands_beside_and_inside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBKIT_NOTEBOOK", str(tmp_path / "figures" / "notebooks" / "20_train.ipynb"))
    given = {
        "runs": ["abc123"],
        "settings": {"lr": 0.1, "layers": 2},
        "dataset": "boutique",
        "seconds": np.float64(2.5),
        "extra": Path("x"),
    }
    saved = save_figure(FIG, "a", folder=tmp_path / "figures", caption="What it shows", provenance=given, formats=QUIET)
    meta = json.loads(saved.meta.read_text())
    known = meta["provenance"]
    assert meta["title"] == "A title"
    assert known["runs"] == ["abc123"]
    assert len(known["settings"]) == 16
    assert known["notebook"] == "notebooks/20_train.ipynb"
    assert known["seconds"] == 2.5
    assert {"plotly", "pandas", "nbkit"} <= set(known["versions"])
    assert known["created"].endswith("Z")
    page = saved.files["html"].read_text()
    assert all(text in page for text in ("abc123", known["settings"], "What it shows", "boutique"))
    other = save_figure(
        FIG,
        "b",
        folder=tmp_path / "figures",
        provenance=given | {"settings": {"layers": 2, "lr": 0.1}},
        formats=QUIET,
    )
    assert json.loads(other.meta.read_text())["provenance"]["settings"] == known["settings"], (
        "the order of settings is no difference"
    )


def test_the_page_opens_without_a_network(tmp_path: Path) -> None:
    pages = [save_figure(FIG, name, folder=tmp_path, formats=QUIET).files["html"].read_text() for name in ("a", "b")]
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
    for page in pages:
        assert 'src="plotly.min.js"' in page
        assert "https://cdn" not in page
        assert len(page) < 60_000
        assert '"showSendToCloud": false' in page


def test_text_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>"
    fig = go.Figure(go.Scatter(x=[evil], y=[1], name=evil)).update_layout(title=evil)
    saved = save_figure(
        fig,
        "a",
        folder=tmp_path,
        title=evil,
        caption=evil,
        provenance={evil: evil, "runs": [evil]},
        formats=QUIET,
    )
    assert "<script>alert" not in saved.files["html"].read_text()
    assert "<script>alert" not in write_gallery(tmp_path, evil, evil).read_text()


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Recall @ 20 / ü", "Recall-20"),
        ("../../etc/passwd", "etc-passwd"),
        ("index", "figure-index"),
        ("a" * 200, "a" * 100),
    ],
)
def test_a_name_is_a_file_name_inside_the_folder(name: str, clean: str) -> None:
    assert file_name(name) == clean


def test_bad_names_formats_and_folders_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected one with letters or digits"):
        save_figure(FIG, "///", folder=tmp_path)
    with pytest.raises(UserError, match="unknown format 'pgn'; did you mean 'png'"):
        save_figure(FIG, "a", folder=tmp_path, formats=("pgn",))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a writable folder"):
        save_figure(FIG, "a", folder=tmp_path / "file")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_fills_up_leaves_no_half_file_and_no_new_meta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save_figure(FIG, "a", folder=tmp_path, formats=("json",))
    before = saved.meta.read_text(), saved.files["json"].read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        save_figure(go.Figure(), "a", folder=tmp_path, formats=("json",))
    assert before == (saved.meta.read_text(), saved.files["json"].read_text())
    assert not list(tmp_path.glob(".a*"))


def test_provenance_of_runs_names_their_data_settings_and_time(tmp_path: Path) -> None:
    runs = []
    for seed, name in enumerate(("run1", "run2"), start=1):
        run = RunFolder(tmp_path / name).create()
        run.write_json("settings.json", {"model": name, "seed": seed})
        run.write_json("environment.json", {"dataset": {"name": "boutique", "data": "f" * 64}})
        run.write_json("metrics.json", {"fit": {"wall_seconds": 2.0}})
        run.finish()
        runs.append(run)
    known = provenance_of(*runs, note="x")
    assert (known["runs"], known["dataset"], known["seconds"], known["note"]) == (
        ["run1", "run2"],
        "boutique",
        4.0,
        "x",
    )
    assert known["settings"] == [{"model": "run1", "seed": 1}, {"model": "run2", "seed": 2}]
    assert known["seeds"] == [1, 2]
    assert known["fingerprints"] == ["f" * 16], "the same data once"
