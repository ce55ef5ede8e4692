"""``nbkit recovery`` on finished runs: what is printed, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from nbkit import repro
from nbkit.studies.recovery import recovery
from nbkit.studies.store import RunStore

from .conftest import QUICK, Outcome

Cli = Callable[..., Outcome]
NOISE = ("--noise", "add_random_edges:0.3")


def trained(nbkit: Cli, shop: Path, model: str, *more: str) -> list[str]:
    """Ids of the runs that this training adds, in the order of their seeds."""
    before = {run.id for run in RunStore("runs").runs()}
    assert nbkit("train", model, "--data", shop, *QUICK, *more).code == 0
    new = [run for run in RunStore("runs").runs() if run.id not in before]
    return [run.id for run in sorted(new, key=lambda run: run.read_json("settings.json")["seed"])]


def test_seeds_are_measured_together_and_printed_beside_the_cosines(nbkit: Cli, shop: Path) -> None:
    runs = trained(nbkit, shop, "jbm_diff", *NOISE, "--seeds", "0,1,2")
    out = nbkit("recovery", runs[2], runs[0][:9], Path("runs") / runs[1]).out
    assert out.startswith("jbm_diff: seeds 0, 1, 2; 95 % intervals over users or items and seeds\n")
    table = recovery([RunStore("runs").find(run) for run in runs], repro.numpy_generator(0, "recovery"))
    (auc,) = table[(table["measure"] == "noise AUC") & (table["table"] == "credibility")].itertuples()
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    assert lines["credibility"].split()[1:5] == [f"{auc.value:.3f}", f"({auc.low:.3f}", "…", f"{auc.high:.3f})"]
    assert lines["credibility - cosine image"].split()[4][0] in "+-"
    assert "cosine text - cosine image" not in lines
    assert {"cosine image", "cosine text", "caveat: planted in a test"} < set(lines)
    written = nbkit("recovery", *runs, "--out", "all.csv").out.splitlines()
    assert written == [f"{len(table)} rows, 3 seeds, jbm_diff: all.csv", "caveat: planted in a test"]
    pd.testing.assert_frame_equal(pd.read_csv("all.csv"), table)
    nbkit("recovery", *runs, "--out", "all.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("all.parquet"), table)


def test_two_experiments_are_compared_and_one_seed_is_called_too_few(nbkit: Cli, shop: Path) -> None:
    gate = trained(nbkit, shop, "jbm_diff", *NOISE)
    none = trained(nbkit, shop, "jbm_diff", *NOISE, "--set", "conditioning=none")
    heads = [line for line in nbkit("recovery", *gate, *none).out.splitlines() if "intervals" in line]
    names = ["jbm_diff conditioning=gate", "jbm_diff conditioning=none"]
    assert [head.split(":")[0] for head in heads] == [*names, f"{names[1]} - {names[0]}"]
    assert all(head.endswith("over users or items; too few seeds to judge by, run three or more") for head in heads)


def test_what_cannot_be_measured_is_one_line(nbkit: Cli, shop: Path) -> None:
    (clean,), (noisy,), (plain,) = (
        trained(nbkit, shop, *wanted) for wanted in (["jbm_diff"], ["jbm_diff", *NOISE], ["lightgcn", *NOISE])
    )
    assert "has no truth; expected planted or injected noise" in nbkit("recovery", clean).error
    assert "model lightgcn exports no features" in nbkit("recovery", plain).error
    assert "were trained on different data" in nbkit("recovery", clean, noisy).error
    assert "expected each seed once" in nbkit("recovery", noisy, noisy).error
    assert "expected a name ending in .csv or .parquet" in nbkit("recovery", noisy, "--out", "all.xlsx").error
    assert "no run in 'runs' begin with 'zzz'" in nbkit("recovery", "zzz").error


@pytest.mark.parametrize("missing", ["DONE", "environment.json"])
def test_an_unfinished_run_is_one_line(nbkit: Cli, shop: Path, missing: str) -> None:
    (run,) = trained(nbkit, shop, "jbm_diff", *NOISE)
    (Path("runs") / run / missing).unlink()
    assert "expected a finished run" in nbkit("recovery", run).error
