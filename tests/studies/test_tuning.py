"""Tuning: the same number of trials for each model, chosen on validation, computed once."""

from __future__ import annotations

import shlex
from dataclasses import replace
from itertools import pairwise

import pytest

from nbkit.data import catalog
from nbkit.errors import UserError
from nbkit.evaluation import final
from nbkit.runs import RunFolder
from nbkit.studies.tuning import command, ranked, trials, tune
from nbkit.training.loop import TrainSettings

TINY = "boutique:tiny"
SHORT = {"epochs": 2, "metric": "ndcg@10"}


@pytest.fixture(scope="module")
def dataset():
    return catalog.load(TINY)


def test_every_model_gets_the_same_number_of_distinct_trials():
    plans = [trials(model, 5, data=TINY, training=SHORT) for model in ("bpr", "lightgcn", "vbpr", "freedom")]
    assert [len(plan) for plan in plans] == [5] * 4
    for plan in plans:
        assert plan[0].label == "start"
        assert len({repr(trial.experiment) for trial in plan}) == 5
        assert {trial.experiment.training.epochs for trial in plan} == {2}


def test_a_larger_budget_begins_with_the_trials_of_a_smaller_one():
    assert trials("lightgcn", 7, data=TINY)[:3] == trials("lightgcn", 3, data=TINY)
    assert trials("lightgcn", 4, data=TINY, seed=1)[1:] != trials("lightgcn", 4, data=TINY, seed=0)[1:]


def test_a_small_grid_is_tried_whole_and_the_defaults_not_twice():
    plan = trials("lightgcn", 1000, data=TINY)
    assert len(plan) == 12  # 3 layers x 4 weights, the defaults among them
    settings = [(t.experiment.model_settings["layers"], t.experiment.model_settings["reg"]) for t in plan]
    assert len(set(settings)) == 12


def test_a_preset_may_be_the_first_trial():
    first, *_ = trials("lightgcn", 3, data=TINY, preset="baby")
    assert first.experiment.model_settings["reg"] == 0.01


def test_what_is_fixed_holds_in_every_trial_and_is_not_varied():
    plan = trials("mgcn", 100, data=TINY, settings={"contrast": 0.5}, training={"lr": 0.01, "epochs": 3})
    assert len(plan) == 2  # what is left of the grid: two weights of reg, the default among them
    assert {t.experiment.model_settings["contrast"] for t in plan} == {0.5}
    assert {(t.experiment.training.lr, t.experiment.training.epochs) for t in plan} == {(0.01, 3)}
    assert [t.label for t in plan] == ["start", "reg=0.001"]


def test_a_preset_is_where_every_trial_starts_from():
    plan = trials("da_mrs", 4, data=TINY, preset="baby")
    assert {t.experiment.training.batch_size for t in plan} == {4096}
    assert {t.experiment.model_settings["alpha"] for t in plan} == {1.5}


def test_the_command_of_a_trial_makes_the_same_experiment():
    from nbkit.config import parse_assignments
    from nbkit.models.base import model_class

    for trial in trials("diffmm", 3, data="my shop", preset="sports", training={"patience": 5, "lr": 0.00123456789}):
        words = shlex.split(command(trial.experiment))
        assert words[:5] == ["nbkit", "train", "diffmm", "--data", "my shop"]
        given = {option: [b for a, b in pairwise(words) if a == option] for option in ("--set", "--train")}
        settings = parse_assignments(model_class("diffmm"), given["--set"], where="--set")
        training = TrainSettings(**parse_assignments(TrainSettings, given["--train"], where="--train"))
        again = replace(trial.experiment, model_settings=settings, training=training)
        assert again == trial.experiment


def test_the_best_is_best_on_validation_and_the_test_split_stays_sealed(dataset, tmp_path):
    plan = trials("bpr", 3, data=TINY, training=SHORT)
    rows = list(tune(plan, dataset, root=tmp_path))
    table = ranked(rows)
    assert table["score"].is_monotonic_decreasing
    for row in rows:
        run = RunFolder(tmp_path / row["run"])
        assert row["score"] == run.read_json("metrics.json")["valid"]["train"]["ndcg@10"]
        assert not (run / final.OPENED).exists()


def test_finished_trials_are_not_computed_again(dataset, tmp_path):
    plan = trials("bpr", 2, data=TINY, training=SHORT)
    first = list(tune(plan, dataset, root=tmp_path))
    trained = []
    assert list(tune(plan, dataset, root=tmp_path, watch=lambda n, t: [Watch(trained)])) == first
    assert trained == []


def test_a_diverged_trial_is_a_row_and_the_others_go_on(dataset, tmp_path):
    tame, other = trials("bpr", 2, data=TINY, training=SHORT)
    wild = replace(tame, experiment=replace(tame.experiment, model_settings={"reg": 1e39}))
    rows = list(tune([wild, other], dataset, root=tmp_path))
    assert rows[0]["score"] != rows[0]["score"]
    assert "became" in rows[0]["note"]
    assert rows[1]["score"] >= 0
    assert ranked(rows).iloc[0]["trial"] == 1


def test_what_cannot_be_tuned_is_one_line():
    with pytest.raises(UserError, match="trials = 0; expected 1 or more"):
        trials("bpr", 0, data=TINY)
    with pytest.raises(UserError, match=r"nothing to vary beside reg=0.1 lr=0.01; expected a model with a grid"):
        trials("bpr", 2, data=TINY, settings={"reg": 0.1}, training={"lr": 0.01})
    with pytest.raises(UserError, match="no such preset; did you mean 'baby'"):
        trials("lightgcn", 2, data=TINY, preset="babi")


class Watch:
    def __init__(self, seen):
        self.seen = seen

    def started(self, *args):
        self.seen.append(args)

    def __getattr__(self, name):
        return lambda *args: None
