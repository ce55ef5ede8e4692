"""The run browser without a page: listing, looking into one, comparing two, and runs that are gone or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nbkit import Experiment
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies.experiment import run_experiment
from nbkit.widgets.browser import RunBrowser, command_of, provenance
from tests.conftest import planted


@pytest.fixture
def world() -> MultimodalDataset:
    return planted()


@pytest.fixture
def runs(world: MultimodalDataset, tmp_path: Path) -> list[RunFolder]:
    return [
        run_experiment(
            Experiment.from_dict({"model": model, "seed": seed, "training": {"epochs": 2}}), world, root=tmp_path
        )
        for model, seed in (("bpr", 0), ("bpr", 1), ("lightgcn", 0))
    ]


@pytest.fixture
def browser(runs: list[RunFolder], tmp_path: Path) -> RunBrowser:
    made = RunBrowser(tmp_path)
    assert made.view is not None
    assert made.error == ""
    return made


def click(browser: RunBrowser, *runs: RunFolder) -> None:
    browser._table.selected_rows = [browser._rows.index(run.id) for run in runs]


def test_every_run_is_listed_once(browser: RunBrowser, runs: list[RunFolder]) -> None:
    assert sorted(browser._rows) == sorted(run.id for run in runs)
    assert browser.listed()["model"].tolist() == ["bpr", "bpr", "lightgcn"]


def test_a_click_looks_into_a_run(browser: RunBrowser, runs: list[RunFolder]) -> None:
    click(browser, runs[1])
    assert browser.state.selected == (runs[1].id,)
    told = browser._told.value
    assert f"<b>{runs[1].id}</b> is done" in told
    assert "valid.train.recall@20" in told
    assert dict(provenance(runs[1]).to_numpy().tolist())["data"] == "planted"
    assert browser._copy.text == command_of(runs[1])
    assert "--seeds 1 --test" in browser._copy.text
    assert {trace.name for trace in browser._curves.widget.data if trace.name} >= {
        "loss"
    } or browser._curves.widget.data


def test_two_runs_are_compared(browser: RunBrowser, runs: list[RunFolder]) -> None:
    click(browser, runs[0], runs[1])
    table = browser._told.value.partition("Metrics")[0]
    assert "<td>seed</td>" in table
    assert "<td>model</td>" not in table
    click(browser, runs[0], runs[2])
    assert "<td>model</td>" in browser._told.value.partition("Metrics")[0]
    click(browser)
    assert "No run is selected" in browser._told.value


def test_a_run_that_is_gone_is_said_until_the_list_is_refreshed(browser: RunBrowser, runs: list[RunFolder]) -> None:
    shutil.rmtree(runs[0].path)
    click(browser, runs[0])
    assert f"run {runs[0].id} is no longer in" in browser.error
    browser.guarded(browser.refresh)()
    assert browser.error == ""
    assert runs[0].id not in browser._rows
    assert browser.state.selected == ()


def test_a_damaged_run_is_listed_and_said(browser: RunBrowser, runs: list[RunFolder]) -> None:
    (runs[2] / "metrics.json").write_text("{")
    browser.guarded(browser.refresh)()
    assert browser.listed()["status"].tolist().count("damaged") == 1
    click(browser, runs[2])
    assert "is damaged" in browser.error


def test_a_run_that_stands_in_the_middle_has_curves_or_says_so(browser: RunBrowser, runs: list[RunFolder]) -> None:
    for name in ("DONE", "metrics.json", "history.parquet"):
        (runs[0] / name).unlink()
    click(browser, runs[0])
    assert browser.error == ""
    assert "is stopped" in browser._told.value


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`nbkit train lightgcn` makes one"):
        RunBrowser(tmp_path / "none").listed()
    empty = RunBrowser(tmp_path / "none")
    assert empty.view is not None
    assert "makes one" in empty.error
