"""Standings: which runs are one row, who is above whom, and whether seeds agree, on planted scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nbkit import config, repro
from nbkit.errors import UserError
from nbkit.models.base import model_class
from nbkit.runs import RunFolder
from nbkit.studies.standings import entries, standings, verdict
from nbkit.training.loop import TrainSettings

USERS = 200


@pytest.fixture
def make(tmp_path):
    """Finished runs whose users' scores are a level of the run's own beside what all runs share."""
    shared = np.random.default_rng(0).random(USERS)
    count = iter(range(1000))

    def one(model="bpr", seed=0, level=0.0, data="d", noise=0.01, settings=None, training=None, curve=(0.1,)):
        number = next(count)
        run = RunFolder(tmp_path / f"run{number:03}")
        run.create()
        said = {
            "model": model,
            "seed": seed,
            "data": data,
            "model_settings": config.check(model_class(model), settings or {}, where="test"),
            "training": {**vars(TrainSettings()), **(training or {})},
        }
        run.write_json("settings.json", said)
        run.write_json("environment.json", {"dataset": {"data": data, "name": data, "caveat": ""}})
        value = shared + level + noise * np.random.default_rng(number).standard_normal(USERS)
        scores = {"user": range(USERS), "relevant": 1, "recall@20": value}
        tables = [
            pd.DataFrame({"split": split, "masking": masking, **scores})
            for split, masking in (("valid", "train"), ("test", "train"), ("test", "train+valid"))
        ]
        run.write_table("per_user.parquet", pd.concat(tables))
        mean = {"recall@20": float(value.mean())}
        run.write_table("history.parquet", pd.DataFrame({"valid_recall@20": curve}))
        fit = {"epochs": 7 + seed}
        run.write_json("metrics.json", {"valid": {"train": mean}, "test": {"train": mean}, "fit": fit})
        (run / "DONE").touch()
        return run

    return one


def generator():
    return repro.numpy_generator(0, "bootstrap")


def test_runs_that_differ_in_their_seed_only_are_one_row_and_settings_tell_variants_apart(make):
    runs = [make(seed=0), make(seed=1), make("lightgcn"), make("lightgcn", settings={"layers": 1})]
    named = entries(runs)
    assert list(named) == ["bpr", "lightgcn (defaults)", "lightgcn (layers=1)"]
    assert sorted(named["bpr"].runs) == [0, 1]
    faster = entries([make(), make(training={"lr": 0.01})])
    assert list(faster) == ["bpr (defaults)", "bpr (lr=0.01)"]


def test_planted_differences_are_found_and_equal_models_are_not_told_apart(make):
    runs = [make(model, seed, level) for model, level in (("bpr", 0), ("vbpr", 0), ("mgcn", 0.1)) for seed in (0, 1)]
    table, compared = standings(runs, generator())
    assert table["model"].iloc[0] == "mgcn"
    above = dict(zip(table["model"], table["above"], strict=True))
    assert {name: set(filter(None, others.split(", "))) for name, others in above.items()} == {
        "mgcn": {"bpr", "vbpr"},
        "bpr": set(),
        "vbpr": set(),
    }
    assert len(compared) == 3
    first = table.iloc[0]
    assert first["low"] < first["mean"] < first["high"]
    assert first["seeds"] == "0,1"
    assert first["epochs"] == "7, 8"
    assert first["mean"] == pytest.approx(first["valid"])
    assert verdict(compared).startswith("2 of 3 pairs are decided")


def test_two_rows_are_compared_over_the_seeds_that_both_have(make):
    runs = [make("bpr", seed) for seed in (0, 1, 2)] + [make("mgcn", 1, 0.2)]
    _, compared = standings(runs, generator())
    assert compared["seeds"].tolist() == [1]
    apart = [make("bpr", 0), make("mgcn", 1, 0.2)]
    table, none = standings(apart, generator())
    assert none.empty
    assert table["above"].tolist() == ["", ""]


def test_a_pair_whose_seeds_disagree_is_counted_as_turned(make):
    levels = {("bpr", 0): 0.0, ("bpr", 1): 0.1, ("mgcn", 0): 0.1, ("mgcn", 1): 0.0}
    _, compared = standings([make(model, seed, level) for (model, seed), level in levels.items()], generator())
    assert compared["ahead"].tolist() == [1]
    assert verdict(compared) == (
        "0 of 1 pairs are decided (paired per user, Holm-corrected). Of 1 pairs with two seeds or more, 0 have the "
        "same order with every seed; of the 1 others, 0 are decided all the same."
    )
    below = [make("bpr", 0), make("bpr", 1), make("mgcn", 0, 0.1), make("mgcn", 1, 0.1)]
    assert "1 have the same order with every seed" in verdict(standings(below, generator())[1])
    _, single = standings([make("bpr"), make("mgcn", level=0.1)], generator())
    assert "whether seeds agree cannot be said" in verdict(single)


def test_more_pairs_are_corrected_more(make):
    runs = [make("bpr"), make("vbpr", level=0.0018)]
    _, alone = standings(runs, generator())
    crowd = [make(model, level=0.0018) for model in ("mgcn", "freedom", "bm3", "pgl")]
    _, among = standings([*runs, *crowd], generator())
    pair = among[(among["model"] == "bpr") & (among["other"] == "vbpr")]
    assert pair["p"].item() == pytest.approx(alone["p"].item(), abs=0.02)
    assert pair["p_holm"].item() > alone["p_holm"].item()


def test_a_run_that_patience_ended_while_it_was_learning_is_marked(make):
    slow = make("mgcn", curve=(0.04, *np.linspace(0.02, 0.03, 10)))
    spent = make("vbpr", curve=(0.04, *np.linspace(0.02, 0.03, 10)), training={"epochs": 11})
    table, _ = standings([make("bpr"), slow, spent], generator())
    assert dict(zip(table["model"], table["epochs"], strict=True)) == {"bpr": "7", "mgcn": "7↑", "vbpr": "7"}


def test_runs_on_different_data_have_no_standings(make):
    with pytest.raises(UserError, match="runs on different data"):
        standings([make(), make("mgcn", data="other")], generator())
