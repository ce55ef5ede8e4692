"""A search: the same points by the same seed, exactly the budget whoever dies, what is bad ended early."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from nbkit.data import catalog
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment
from nbkit.studies.search import FileLock, Search
from nbkit.studies.space import key
from nbkit.studies.trials import Pruning
from nbkit.studies.tuning import importance, search_for, slices, table, tune

TINY = "boutique:tiny"
EPOCHS = 20  # of a planted trial
OVER = {"contrast": [0.001, 1.0], "align": [0.01, 1.0]}
every_sampler = pytest.mark.parametrize("sampler", ["grid", "random", "tpe"])


@pytest.fixture(scope="module")
def datasets() -> Datasets:
    return Datasets({TINY: catalog.load(TINY)})


def hill(experiment: Experiment) -> float:
    """Highest where λ_cl is .1; the other settings do nothing."""
    return 0.5 - 0.1 * (math.log10(experiment.model_settings["contrast"]) + 1) ** 2


def declared(sampler: Any, **more: Any) -> Search:
    over = {"contrast": [0.001, 0.01, 0.1, 1.0], "align": [0.01, 0.1, 1.0]}
    return search_for("diffcl", **{"data": TINY, "over": over, "sampler": sampler, **more})


@every_sampler
def test_the_same_seed_proposes_the_same_points_and_another_one_others(sampler, datasets, tmp_path, plant):
    plant(hill)
    found = [
        tune(declared(sampler, seed=seed), 9, root=tmp_path / str(n), datasets=datasets)
        for n, seed in enumerate((0, 0, 1))
    ]
    pd.testing.assert_frame_equal(found[0], found[1])
    assert set(found[0]["settings"]) != set(found[2]["settings"])
    assert found[0].loc[found[0]["trial"] == 0, "settings"].item() == "start"


@every_sampler
def test_a_budget_in_two_calls_is_the_budget_in_one_and_nothing_is_computed_twice(sampler, datasets, tmp_path, plant):
    search = declared(sampler, prune=True)
    computed = plant(hill)
    whole = tune(search, 10, root=tmp_path / "whole", datasets=datasets)
    assert len(computed) == len(whole) == 10
    computed.clear()
    assert len(tune(search, 4, root=tmp_path / "parts", datasets=datasets)) == 4
    in_parts = tune(search, 10, root=tmp_path / "parts", datasets=datasets)
    pd.testing.assert_frame_equal(in_parts, whole)
    assert len(computed) == 10
    smaller = table(search, 4, root=tmp_path / "parts", datasets=datasets)
    assert set(smaller["trial"]) == {0, 1, 2, 3}


@every_sampler
def test_an_interrupted_trial_goes_on_and_changes_nothing(sampler, datasets, tmp_path, plant):
    search = declared(sampler, prune=True)
    plant(hill)
    whole = tune(search, 8, root=tmp_path / "whole", datasets=datasets)
    plant(hill, interrupt_at=5)
    with pytest.raises(KeyboardInterrupt):
        tune(search, 8, root=tmp_path / "disturbed", datasets=datasets)
    left = table(search, 8, root=tmp_path / "disturbed", datasets=datasets)
    assert left["state"].value_counts()["stopped"] == 1
    assert len(left) == 6
    plant(hill)
    pd.testing.assert_frame_equal(tune(search, 8, root=tmp_path / "disturbed", datasets=datasets), whole)


def test_samplers_seeds_spaces_starts_and_pruning_never_mix(datasets):
    fingerprint = datasets.fingerprint(declared("tpe").space.start)
    searches = [
        declared("grid"),
        declared("random"),
        declared("tpe"),
        declared("tpe", prune=True),
        declared("tpe", seed=1),
        declared("tpe", settings={"dim": 8}),
        declared("tpe", training={"lr": 0.01}),
        declared("tpe", over=OVER),
    ]
    assert len({search.name(fingerprint) for search in searches}) == len(searches)
    assert declared("tpe").name(fingerprint) == declared("tpe").name(fingerprint)
    assert declared("tpe").name(fingerprint) != declared("tpe").name("other data")


def test_a_small_space_is_tried_whole_and_no_point_twice(datasets, tmp_path, plant):
    computed = plant(lambda e: e.model_settings["layers"] / 10)
    for sampler in ("grid", "random", "tpe"):
        search = search_for("lightgcn", data=TINY, over={"layers": [1, 2, 3, 4]}, sampler=sampler)
        found = tune(search, 50, root=tmp_path, datasets=datasets)
        assert sorted(found["values.layers"]) == [1, 2, 3, 4]
    assert len(computed) == 4, "the other samplers take the runs from the store"


def test_draws_are_readable_and_within_what_is_declared(datasets, tmp_path, plant):
    plant(hill)
    found = tune(declared("random", over=OVER), 30, root=tmp_path, datasets=datasets)
    for name, (low, high) in OVER.items():
        values = found[f"values.{name}"]
        assert values.between(low, high).all()
        assert values.nunique() > 20
        assert 0.2 < (values < math.sqrt(low * high)).mean() < 0.8, "logarithmic"
        assert all(float(f"{value:.3g}") == value for value in values)


def test_tpe_finds_a_planted_hill_and_importance_ranks_its_setting_first(datasets, tmp_path, plant):
    plant(hill)
    found = {}
    for sampler in ("tpe", "random"):
        search = declared(sampler, over={**OVER, "reg": [0.01, 1.0]})
        found[sampler] = tune(search, 30, root=tmp_path, datasets=datasets)
        share = importance([search], [found[sampler]])
        assert share["setting"].iloc[0] == "contrast"
        assert share["mean"].iloc[0] > 0.6
        assert share["mean"].sum() == pytest.approx(1)
    assert 0.05 < found["tpe"].iloc[0]["values.contrast"] < 0.2
    late = {name: t[t["trial"] >= 15]["score"].mean() for name, t in found.items()}
    assert late["tpe"] > late["random"] + 0.01, "it learns"


def test_importance_has_an_interval_over_seeds_and_none_without_trials(datasets, tmp_path, plant):
    plant(hill)
    searches = [declared("random", over=OVER, seed=seed) for seed in range(3)]
    tables = [tune(search, 12, root=tmp_path, datasets=datasets) for search in searches]
    share = importance(searches, tables).set_index("setting")
    assert (share["seeds"] == 3).all()
    assert share.loc["contrast", "low"] < share.loc["contrast", "mean"] < share.loc["contrast", "high"]
    assert importance(searches, [t.head(3) for t in tables]).empty


def test_slices_hold_every_setting_of_every_trial(datasets, tmp_path, plant):
    plant(hill)
    found = tune(declared("random", over=OVER), 6, root=tmp_path, datasets=datasets)
    long = slices(found)
    assert long.groupby("setting")["trial"].agg(sorted).to_dict() == {"contrast": [*range(6)], "align": [*range(6)]}
    wide = long.pivot(index="trial", columns="setting", values="value")
    assert wide["contrast"].tolist() == found.sort_values("trial")["values.contrast"].tolist()


def test_a_bad_trial_is_pruned_counts_and_is_not_done(datasets, tmp_path, plant):
    computed = plant(lambda e: 0.0 if e.model_settings["align"] == 0.01 else 0.3)
    search = declared("grid", prune=True)
    found = tune(search, 11, root=tmp_path, datasets=datasets)
    assert len(found) == 11
    pruned = found[found["state"] == "pruned"]
    assert len(pruned) >= 1
    assert (pruned["values.align"] == 0.01).all()
    assert pruned["score"].isna().all()
    assert found[found["trial"] < 5]["state"].eq("done").all(), "a median of fewer is none"
    for run_id, note in zip(pruned["run"], pruned["note"], strict=True):
        run = RunFolder(tmp_path / run_id)
        assert run.status == "stopped"
        assert "is below the median" in note
        assert run.reason == note
        assert len(run.read_table("history.parquet")) < EPOCHS
    computed.clear()
    tune(search, 11, root=tmp_path, datasets=datasets)
    assert computed == []
    unpruned = tune(declared("grid"), 11, root=tmp_path, datasets=datasets)
    assert (unpruned["state"] == "done").all(), "a search without pruning goes on with them"
    assert len(computed) == len(pruned)


def test_runs_of_the_store_tell_the_pruner_what_they_were_at_each_epoch(datasets, tmp_path, plant):
    plant(lambda e: 0.0 if e.model_settings["align"] == 0.01 else 0.3)
    alone = tune(declared("grid", prune=True), 11, root=tmp_path / "alone", datasets=datasets)
    tune(declared("grid"), 6, root=tmp_path / "after", datasets=datasets)
    assert (alone["state"] == "pruned").any()
    after = tune(declared("grid", prune=True), 11, root=tmp_path / "after", datasets=datasets)
    pd.testing.assert_frame_equal(after, alone)


def test_an_incomplete_last_line_is_cut_off(datasets, tmp_path, plant):
    computed = plant(hill)
    search = declared("tpe")
    before = tune(search, 5, root=tmp_path, datasets=datasets)
    (log,) = tmp_path.glob("searches/*/journal.log")
    log.write_bytes(log.read_bytes() + b'{"op_code": 4, "wor')
    pd.testing.assert_frame_equal(tune(search, 5, root=tmp_path, datasets=datasets), before)
    assert len(tune(search, 6, root=tmp_path, datasets=datasets)) == 6
    assert len(computed) == 6


def test_a_lock_keeps_others_out_until_its_holder_is_gone(tmp_path: Path):
    lock = tmp_path / "lock"
    with FileLock(lock):
        child = os.fork()
        if child == 0:
            FileLock(lock).acquire()
            (tmp_path / "mine").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        assert not (tmp_path / "mine").exists()
    os.waitpid(child, 0)
    assert (tmp_path / "mine").exists()
    with FileLock(lock):
        pass


def test_points_are_equal_by_value():
    assert key({"a": 0.1, "b": 2}) == key({"b": 2, "a": 0.1})
    assert key({"a": 0.1}) != key({"a": 0.2})


def test_a_fit_that_goes_on_tells_the_pruner_what_was_before_and_nothing_twice():
    told = []
    trial = SimpleNamespace(report=lambda score, epoch: told.append((epoch, score)), should_prune=lambda: len(told) > 3)
    pruning = Pruning(trial, "recall@20", {1: 0.1, 2: 0.4, 3: 0.2})
    pruning.started(2, 10, 1)
    pruning.epoch_ended({"epoch": 3, "valid_recall@20": 0.3})
    pruning.epoch_ended({"epoch": 4})
    with pytest.raises(KeyboardInterrupt):
        pruning.epoch_ended({"epoch": 5, "valid_recall@20": 0.2})
    assert told == [(1, 0.1), (2, 0.4), (3, 0.3), (5, 0.2)]
    assert pruning.reason == "pruned at epoch 5: valid recall@20 0.4000 is below the median"


def test_those_that_stopped_early_leave_no_median_to_the_few_best(datasets, tmp_path, plant):
    def score(experiment: Experiment) -> float:
        return 0.3 + 0.01 * math.log10(experiment.model_settings["contrast"])

    plant(score, stop_at=lambda e: 20 if e.model_settings["contrast"] == 1 else 12)
    found = tune(declared("grid", prune=True), 13, root=tmp_path, datasets=datasets)
    ends = found[found["state"] == "pruned"]["note"].str.extract(r"epoch (\d+)")[0].astype(int)
    assert (ends <= 12).all()
    assert (found[found["values.contrast"] == 1]["state"] == "done").all()
