"""``nbkit tune``: what is printed, what it goes on with, what is refused."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest

from nbkit.models.lightgcn import LightGCN
from nbkit.studies.store import RunStore

from .conftest import OFTEN, QUICK, Outcome

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


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_no_test_split_is_opened(nbkit: Cli, shop: Path, sampler: str) -> None:
    options = ("--sampler", sampler, "--prune", "--export", "best.toml")
    assert nbkit("tune", "bpr", "lightgcn", "--data", shop, "--trials", "2", *QUICK, *options).code == 0
    assert len(RunStore("runs").runs()) == 4
    assert not list(Path("runs").rglob("*opened*"))


def test_mistakes_are_one_line(nbkit: Cli, shop: Path) -> None:
    assert "did you mean 'bpr'" in nbkit("tune", "bpt", "--data", shop).error
    assert "trials = 0; expected 1 or more" in nbkit("tune", "bpr", "--data", shop, "--trials", "0").error
    assert "--set, model bpr: unknown setting 'layers'" in nbkit("tune", "bpr", "--set", "layers=2").error
    assert "expected a name ending in" in nbkit("tune", "bpr", "--out", "all.txt").error
    wrong = nbkit("tune", "mgcn", "bpr", "--data", shop, "--preset", "babby").error
    assert "preset 'babby': mgcn, bpr has no such preset; did you mean 'baby'" in wrong
    assert "expected a name ending in .toml" in nbkit("tune", "bpr", "--export", "best.json").error
    assert "nothing to vary beside reg=1 lr=1" in nbkit("tune", "bpr", "--set", "reg=1", "--train", "lr=1").error
    assert "'tpa' is not one of" in nbkit("tune", "bpr", "--sampler", "tpa").error


def test_what_was_finished_is_written_when_a_later_model_is_refused_or_stopped(
    nbkit: Cli, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, batch: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LightGCN, "losses", interrupted)
    stopped = nbkit("tune", "bpr", "lightgcn", "--data", shop, "--trials", "2", *QUICK, "--out", "all.csv")
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    table = pd.read_csv("all.csv")
    assert table[["model", "state"]].to_numpy().tolist() == [["bpr", "done"]] * 2 + [["lightgcn", "stopped"]]
    assert "1 trials, 1 stopped; chosen on validation" in stopped.out


def test_a_grid_with_fewer_points_says_so(nbkit: Cli, shop: Path) -> None:
    shown = nbkit("tune", "bpr", "--data", shop, "--trials", "9", "--set", "reg=0.1", *QUICK).out
    assert shown.startswith("bpr: 2 trials, its grid has no more (9 were asked for); chosen on validation")


def test_the_best_settings_of_each_model_are_exported_and_train_takes_them(nbkit: Cli, shop: Path) -> None:
    options = ("--sampler", "random", "--export", "best.toml", "--out", "all.csv")
    shown = nbkit("tune", "vbpr", "bpr", "--data", shop, "--trials", "2", *QUICK, *options)
    assert shown.code == 0, shown.err
    table = pd.read_csv("all.csv")
    for model in ("vbpr", "bpr"):
        best = table[table["model"] == model].iloc[0]
        line = f"nbkit train {model} --data {shop} --preset best.toml --seeds 0,1,2 --test"
        assert f"best: {line}" in shown.out.splitlines()
        again = nbkit(*line.removeprefix("nbkit ").replace("--seeds 0,1,2 --test", "--seed 0").split())
        assert f"run {best['run']}, already computed" in again.out
    assert nbkit("tune", "vbpr", "--data", shop, "--preset", "best.toml", "--trials", "2", *QUICK).code == 0


def test_pruned_trials_are_told_and_their_runs_are_not_done(
    nbkit: Cli, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: trial.number == 1)
    shown = nbkit("tune", "bpr", "--data", shop, "--trials", "3", *QUICK, "--prune", "--out", "all.csv")
    assert "bpr: 3 trials, 1 pruned; chosen on validation" in shown.out
    table = pd.read_csv("all.csv")
    assert table["state"].tolist() == ["done", "done", "pruned"]
    told = nbkit("runs", "show", table["run"].iloc[-1]).out
    assert "stopped, in" in told
    assert "reason: pruned at epoch 1: valid recall@20" in told


def test_a_killed_search_goes_on_where_it_was_and_loses_nothing(
    start: Callable[..., subprocess.Popen[str]], nbkit: Cli, shop: Path
) -> None:
    long = ("--set", "dim=8", "--train", "epochs=80", "--train", "batch_size=16", "--train", "patience=1000")
    command = ("tune", "bpr", "--data", shop, "--trials", "3", *long)
    child = start(*command, "--runs", "disturbed", before=OFTEN)
    deadline = time.monotonic() + 40
    while len(list(Path("disturbed").glob("*/DONE"))) < 1 or not list(Path("disturbed").glob("*/checkpoint*")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.kill()
    child.communicate()
    kept = {path: path.stat().st_mtime_ns for path in Path("disturbed").glob("*/DONE")}
    resumed = nbkit(*command, "--runs", "disturbed", "--out", "disturbed.csv")
    assert resumed.code == 0, resumed.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert nbkit(*command, "--runs", "undisturbed", "--out", "undisturbed.csv").code == 0
    tables = [pd.read_csv(f"{name}.csv").drop(columns="seconds") for name in ("disturbed", "undisturbed")]
    pd.testing.assert_frame_equal(*tables)


def test_workers_share_a_budget(nbkit: Cli, shop: Path) -> None:
    shown = nbkit("tune", "bpr", "--data", shop, "--trials", "5", *QUICK, "--workers", "2", "--out", "all.csv")
    assert shown.code == 0, shown.err
    table = pd.read_csv("all.csv")
    assert len(table) == table["run"].nunique() == len(RunStore("runs").runs()) == 5
    assert (table["state"] == "done").all()
