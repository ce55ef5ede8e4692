"""Tuning: the same number of trials for each model, chosen on validation, told as a command or a preset."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nbkit import repro
from nbkit.data import catalog
from nbkit.errors import UserError
from nbkit.evaluation import final
from nbkit.models.base import model_class
from nbkit.runs import RunFolder
from nbkit.studies import presets
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment
from nbkit.studies.tuning import best, preset_of, ranked, search_for, tune
from nbkit.training.loop import TrainSettings

TINY = "boutique:tiny"
SHORT = {"epochs": 2, "metric": "ndcg@10"}


@pytest.fixture(scope="module")
def datasets():
    return Datasets({TINY: catalog.load(TINY)})


def planned(model, seed=0, **more):
    """The experiments that a grid search will try, in order."""
    space = search_for(model, data=TINY, seed=seed, **more).space
    return [space.experiment(point) for point in space.points(repro.numpy_generator(seed, f"tuning/{model}"))]


def test_a_grid_is_the_start_and_its_points_each_once_in_an_order_of_the_seed():
    found = planned("lightgcn", training=SHORT)
    assert len(found) == 12  # 3 layers x 4 weights, the defaults among them
    assert found[0] == Experiment(model="lightgcn", data=TINY, training=TrainSettings(**SHORT))
    assert len({(e.model_settings["layers"], e.model_settings["reg"]) for e in found}) == 12
    assert found[1:] != [replace(e, seed=0) for e in planned("lightgcn", 1, training=SHORT)[1:]]


def test_a_preset_is_where_every_trial_starts_from():
    assert planned("lightgcn", preset="baby")[0].model_settings["reg"] == 0.01
    found = planned("da_mrs", preset="baby")
    assert {e.training.batch_size for e in found} == {4096}
    assert {e.model_settings["alpha"] for e in found} == {1.5}


def test_what_is_fixed_holds_in_every_trial_and_is_not_varied():
    found = planned("mgcn", settings={"contrast": 0.5}, training={"lr": 0.01, "epochs": 3})
    assert [e.model_settings["reg"] for e in found] == [1e-4, 1e-3]  # what is left of the grid, the default among them
    assert {(e.model_settings["contrast"], e.training.lr, e.training.epochs) for e in found} == {(0.5, 0.01, 3)}


def test_ranges_are_positive_floats_the_start_among_them_and_all_else_are_choices():
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    space = search_for("freedom", data=TINY, training={"lr": 0.5}).space
    assert space.distributions() == {
        "edge_dropout": FloatDistribution(0.8, 0.9, log=True),
        "reg": CategoricalDistribution([0.0, 1e-5, 1e-4, 1e-3]),
    }
    space = search_for("lightgcn", data=TINY, preset="baby", settings={"dim": 8}).space
    assert space.distributions()["layers"] == CategoricalDistribution([2, 3, 4])
    start = model_class("diffcl").presets["baby"]
    space = search_for("diffcl", data=TINY, preset=start, over={"reg": [0.2, 0.5], "lr": [0.1]}).space
    assert space.distributions()["reg"] == FloatDistribution(0.1, 0.5, log=True)
    assert space.distributions()["lr"] == FloatDistribution(5e-4, 0.1, log=True)
    assert space.label(space.origin) == "start"
    assert space.label({"reg": 0.2, "lr": 0.1}) == "reg=0.2 lr=0.1"


def test_the_best_is_best_on_validation_and_the_test_split_stays_sealed(datasets, tmp_path):
    search = search_for("bpr", data=TINY, training=SHORT)
    table = tune(search, 3, root=tmp_path, datasets=datasets)
    assert table["score"].is_monotonic_decreasing
    for row in table.to_dict("records"):
        run = RunFolder(tmp_path / row["run"])
        assert row["score"] == run.read_json("metrics.json")["valid"]["train"]["ndcg@10"]
        assert row["epochs"] == 2
        assert not (run / final.OPENED).exists()
    assert best(table, root=tmp_path) == Experiment.from_dict(
        RunFolder(tmp_path / table["run"][0]).read_json("settings.json")
    )
    assert ranked(table.iloc[::-1]).equals(table)


def test_an_exported_preset_makes_the_best_trial_s_run(datasets, tmp_path):
    search = search_for("bpr", data=TINY, training=SHORT, settings={"dim": 8}, sampler="random")
    table = tune(search, 3, root=tmp_path, datasets=datasets)
    preset = preset_of(search, table, root=tmp_path, datasets=datasets)
    again = presets.starts(["bpr"], str(presets.write({"bpr": preset}, tmp_path / "best.toml")))["bpr"]
    training = TrainSettings(**again.training)
    experiment = Experiment(model="bpr", data=TINY, model_settings=again.settings, training=training)
    assert experiment.run_id(datasets.clean(TINY)) == table["run"][0]
    usual = preset_of(search, table[table["trial"] == 0], root=tmp_path, datasets=datasets)
    assert again.settings.keys() == usual.settings.keys() == {"dim", "reg"}, "what was varied, default or not"
    fingerprint = datasets.clean(TINY).fingerprint[:16]
    said = f"random search of 3 trials (3 done) on boutique:tiny (sha256 {fingerprint}), seed 0: validation ndcg@10 "
    assert again.source.startswith(said)
    assert again.source.endswith(f"{table['score'].max():.4f}; nbkit 0.1.0")


def test_what_cannot_be_tuned_is_one_line(datasets):
    with pytest.raises(UserError, match="trials = 0; expected 1 or more"):
        tune(search_for("bpr", data=TINY), 0, datasets=datasets)
    with pytest.raises(UserError, match=r"nothing to vary beside reg=0.1 lr=0.01; expected a model with a grid"):
        search_for("bpr", data=TINY, settings={"reg": 0.1}, training={"lr": 0.01})
    with pytest.raises(UserError, match="no such preset; did you mean 'baby'"):
        search_for("lightgcn", data=TINY, preset="babi")
    with pytest.raises(UserError, match="sampler = 'tpa'; did you mean 'tpe'"):
        search_for("lightgcn", data=TINY, sampler="tpa")
    with pytest.raises(UserError, match="over, model lightgcn: unknown setting 'layer'; did you mean 'layers'"):
        search_for("lightgcn", data=TINY, over={"layer": [1]})
    with pytest.raises(UserError, match="over: layers = 9; expected int in 0 … 8"):
        search_for("lightgcn", data=TINY, over={"layers": [9]})
