"""Trials really trained: pruned, failed, shared by processes of which one is killed; no test split is opened."""

from __future__ import annotations

import os
import signal

import pandas as pd
import pytest

from nbkit import repro
from nbkit.data import catalog
from nbkit.evaluation import final
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment, run_experiment
from nbkit.studies.running import State
from nbkit.studies.search import Journal, Search
from nbkit.studies.tuning import search_for, tune

TINY = "boutique:tiny"


@pytest.fixture(scope="module")
def datasets() -> Datasets:
    return Datasets({TINY: catalog.load(TINY)})


def tried_last(search: Search, lr: float) -> bool:
    """Whether the median is taken of the others when this one is tried."""
    generator = repro.numpy_generator(search.space.start.seed, "tuning/bpr")
    return search.space.points(generator)[-1]["lr"] == lr


def test_a_real_training_is_pruned_and_a_later_full_one_goes_on(datasets, tmp_path):
    training = {"epochs": 12, "batch_size": 256}
    over = {"lr": [0.05, 0.04, 0.03, 0.02, 1e-7]}
    given = {"data": TINY, "over": over, "training": training, "settings": {"dim": 16}, "prune": True}
    search = next(s for s in (search_for("bpr", **given, seed=seed) for seed in range(99)) if tried_last(s, 1e-7))
    found = tune(search, 6, root=tmp_path, datasets=datasets)
    assert found.iloc[-1][["values.lr", "state"]].tolist() == [1e-7, "pruned"]
    assert found["state"].iloc[0] == "done"
    lost = found["run"].iloc[-1]
    run = RunFolder(tmp_path / lost)
    assert run.status == "stopped"
    assert not (run / "metrics.json").exists()
    assert 10 <= len(run.read_table("history.parquet")) < 12
    experiment = Experiment.from_dict(run.read_json("settings.json"))
    done = run_experiment(experiment, datasets.clean(TINY), root=tmp_path)
    assert (done.id, done.status, done.reason) == (lost, "done", "")
    assert not list(tmp_path.rglob(final.OPENED)), "nobody opened a test split"


def test_a_failed_trial_is_a_row_counts_and_is_tried_again_in_the_next_call(datasets, tmp_path):
    training = {"epochs": 2}
    search = search_for("bpr", data=TINY, over={"reg": [0.1, 1e39]}, training=training, settings={"dim": 8})
    found = tune(search, 2, root=tmp_path, datasets=datasets)
    assert found["state"].tolist() == ["done", "failed"]
    assert "became" in found["note"].iloc[1]
    journal = Journal(search, tmp_path, datasets.fingerprint(search.space.start))
    before = journal.length
    again = tune(search, 2, root=tmp_path, datasets=datasets)
    pd.testing.assert_frame_equal(again, found)
    assert journal.length == before + 1


def test_two_processes_share_the_budget_and_what_a_killed_one_had_goes_on(datasets, tmp_path):
    long = {"epochs": 600, "batch_size": 256, "patience": 1000, "eval_every": 20}
    search = search_for("bpr", data=TINY, over={"reg": [0.1, 0.2, 0.3]}, training=long, settings={"dim": 8})
    killed: list[RunFolder] = []

    def kill(state: State) -> None:
        for file in [] if killed else tmp_path.glob("*/checkpoint.safetensors"):
            if RunFolder(file.parent).status == "running" and not killed:
                killed.append(RunFolder(file.parent))
                os.kill(int((file.parent / ".lock").read_text()), signal.SIGKILL)

    found = tune(search, 3, root=tmp_path, datasets=datasets, workers=2, watch=kill)
    assert killed
    assert sorted(found["state"]) == ["done", "done", "stopped"]
    assert found[found["state"] == "stopped"]["run"].item() == killed[0].id
    assert killed[0].status == "stopped"
    whole = tune(search, 3, root=tmp_path, datasets=datasets)
    assert (whole["state"] == "done").all()
    assert sorted(whole["values.reg"]) == [0.1, 0.2, 0.3]
    journal = Journal(search, tmp_path, datasets.fingerprint(search.space.start))
    processes = {trial.user_attrs["process"] for trial in journal.study().get_trials()}
    assert os.getpid() in processes
    assert len(processes) >= 3
    assert journal.length == 4
