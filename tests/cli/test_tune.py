"""``nbkit tune``: what is printed, what it goes on with, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nbkit.models.lightgcn import LightGCN
from nbkit.studies.store import RunStore

from .conftest import QUICK, Outcome

Cli = Callable[..., Outcome]


def test_the_best_settings_come_as_a_command_that_trains_them(nbkit: Cli, shop: Path) -> None:
    shown = nbkit("tune", "vbpr", "--data", shop, "--trials", "3", *QUICK, "--set", "dim=4", "--out", "all.csv")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0] == "vbpr: 3 trials; chosen on validation"
    table = pd.read_csv("all.csv")
    assert lines[2].split()[-1] == table.iloc[0]["run"]
    (best,) = [line.removeprefix("best: nbkit ") for line in lines if line.startswith("best: ")]
    again = nbkit(*best.replace("--seeds 0,1,2", "--seed 0").split())
    assert f"run {table.iloc[0]['run']}, already computed" in again.out


def test_a_larger_budget_keeps_what_the_smaller_one_computed(nbkit: Cli, shop: Path) -> None:
    nbkit("tune", "bpr", "--data", shop, "--trials", "2", *QUICK)
    first = {run.id for run in RunStore("runs").runs()}
    nbkit("tune", "bpr", "--data", shop, "--trials", "3", *QUICK)
    second = {run.id for run in RunStore("runs").runs()}
    assert first < second
    assert len(second) == 3


def test_no_test_split_is_opened(nbkit: Cli, shop: Path) -> None:
    nbkit("tune", "bpr", "lightgcn", "--data", shop, "--trials", "2", *QUICK)
    assert len(RunStore("runs").runs()) == 4
    assert not list(Path("runs").rglob("*opened*"))


def test_mistakes_are_one_line(nbkit: Cli, shop: Path) -> None:
    assert "did you mean 'bpr'" in nbkit("tune", "bpt", "--data", shop).error
    assert "trials = 0; expected 1 or more" in nbkit("tune", "bpr", "--data", shop, "--trials", "0").error
    assert "--set, model bpr: unknown setting 'layers'" in nbkit("tune", "bpr", "--set", "layers=2").error
    assert "expected a name ending in" in nbkit("tune", "bpr", "--out", "all.txt").error
    wrong = nbkit("tune", "mgcn", "bpr", "--data", shop, "--preset", "babby").error
    assert "none of these models has such a preset; did you mean 'baby'" in wrong


def test_what_was_finished_is_written_when_a_later_model_is_refused_or_stopped(
    nbkit: Cli, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, batch: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LightGCN, "losses", interrupted)
    stopped = nbkit("tune", "bpr", "lightgcn", "--data", shop, "--trials", "2", *QUICK, "--out", "all.csv")
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    assert pd.read_csv("all.csv")["model"].tolist() == ["bpr", "bpr"]


def test_a_grid_with_fewer_points_says_so(nbkit: Cli, shop: Path) -> None:
    shown = nbkit("tune", "bpr", "--data", shop, "--trials", "9", "--set", "reg=0.1", *QUICK).out
    assert shown.startswith("bpr: 2 trials, its grid has no more (9 were asked for); chosen on validation")
