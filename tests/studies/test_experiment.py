from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from nbkit import repro
from nbkit.errors import TrainingDivergedError, UserError
from nbkit.evaluation.final import validation_evaluator
from nbkit.evaluation.groups import popularity_groups
from nbkit.evaluation.ranking import scorer
from nbkit.models.bpr import BPR
from nbkit.studies import compare
from nbkit.studies.experiment import Experiment, Noise, load_model, run_experiment
from nbkit.studies.store import RunStore, flatten
from nbkit.training.callbacks import Callback, Stop
from nbkit.training.loop import TrainSettings

QUICK = TrainSettings(epochs=3, batch_size=64, lr=0.02)


def experiment(model="bpr", **changes) -> Experiment:
    return Experiment(model=model, data="planted", training=QUICK, **changes)


@pytest.fixture
def run(world, tmp_path):
    def run(model="bpr", *, test=False, callbacks=(), **changes):
        return run_experiment(experiment(model, **changes), world, root=tmp_path, test=test, callbacks=callbacks)

    return run


class Count(Callback):
    epochs = 0

    def epoch_ended(self, row):
        self.epochs += 1


def test_a_run_keeps_all_that_the_design_promises(run, world):
    done = run("vbpr", test=True)
    names = {p.name for p in done.path.iterdir()} - {".lock"}
    assert names == {
        "settings.json",
        "environment.json",
        "history.parquet",
        "per_user.parquet",
        "places.parquet",
        "metrics.json",
        "model.safetensors",
        "embeddings.npz",
        "test_opened.json",
        "DONE",
    }
    assert set(done.read_arrays("embeddings.npz")) == {"user", "item", "projected"}
    assert len(done.read_table("history.parquet")) == 3
    environment = done.read_json("environment.json")
    assert environment["dataset"]["data"] == world.fingerprint
    assert environment["versions"]["torch"] == torch.__version__
    assert set(done.read_json("metrics.json")["test"]) == {"train", "train+valid"}
    assert done.read_json("metrics.json")["fit"]["peak_mb"] > 0


def test_a_run_of_a_sequential_model_is_kept_tested_and_loaded_as_any_other(run, world):
    done = run("sasrec", test=True)
    assert set(done.read_arrays("embeddings.npz")) == {"item"}
    assert set(done.read_json("metrics.json")["test"]) == {"train", "train+valid"}
    means = validation_evaluator(world, ks=[20])(load_model(done, world))
    assert means["ndcg@20"] == pytest.approx(done.read_json("metrics.json")["valid"]["train"]["ndcg@20"], abs=1e-12)


def test_the_same_experiment_is_computed_once(run):
    count = Count()
    first, second = run(callbacks=[count]), run(callbacks=[count])
    assert first.path == second.path
    assert count.epochs == 3


def test_whatever_decides_a_result_decides_the_run_id(world, make_planted):
    other_data = make_planted(seed=1)
    ids = {
        experiment().run_id(world),
        experiment(seed=1).run_id(world),
        experiment("lightgcn").run_id(world),
        experiment(model_settings={"dim": 32}).run_id(world),
        Experiment(model="bpr", training=TrainSettings(epochs=4)).run_id(world),
        experiment().run_id(other_data),
        experiment(noise=(Noise("drop_edges", 0.1),)).run_id(world),
    }
    assert len(ids) == 7


def test_defaults_spelled_out_and_the_place_of_the_data_do_not_change_the_run_id(world):
    spelled = Experiment(model="bpr", data="elsewhere/planted", training=QUICK, model_settings={"dim": 64, "reg": 0.1})
    assert spelled.run_id(world) == experiment().run_id(world)


def test_a_change_in_the_models_code_changes_the_run_id(world, monkeypatch):
    before = experiment().run_id(world)
    monkeypatch.setattr(repro, "code_version", lambda *modules: "edited")
    assert experiment().run_id(world) != before


def test_settings_survive_a_round_trip_through_the_run_folder(run):
    done = run(noise=(), model_settings={"dim": 8})
    again = Experiment.from_dict(done.read_json("settings.json"))
    assert again == experiment(model_settings={"dim": 8})


def test_a_stopped_run_goes_on_and_ends_as_if_never_stopped(run, world, tmp_path):
    class StopAt(Stop):
        seen = 0

        def stepped(self, step):
            self.seen += 1
            if self.seen == 6:
                self.press()
            super().stepped(step)

    stopped = run(callbacks=[StopAt()])
    assert stopped.status == "stopped"
    assert len(stopped.read_table("history.parquet")) == 1
    with pytest.raises(UserError, match="is stopped; expected a finished run"):
        load_model(stopped, world)
    resumed = run()
    assert resumed.status == "done"
    undisturbed = run_experiment(experiment(), world, root=tmp_path / "other")
    assert resumed.read_json("metrics.json")["valid"] == undisturbed.read_json("metrics.json")["valid"]
    assert (resumed / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()


def test_a_loaded_model_scores_as_its_saved_embeddings_say(run, world):
    done = run("freedom")
    arrays = done.read_arrays("embeddings.npz")
    scores = scorer(load_model(done, world))(torch.arange(world.num_users))
    torch.testing.assert_close(scores, torch.from_numpy(arrays["user"] @ arrays["item"].T))


def test_a_model_is_not_loaded_onto_other_data(run, make_planted):
    with pytest.raises(UserError, match="was trained on 'planted' with another content"):
        load_model(run(), make_planted(seed=1))


def test_a_diverged_run_is_kept_as_failed_with_its_history(run, tmp_path, monkeypatch):
    losses, calls = BPR.losses, []

    def poisoned(self, batch):
        calls.append(0)
        parts = losses(self, batch)
        return {name: part * float("inf") for name, part in parts.items()} if len(calls) > 4 else parts

    monkeypatch.setattr(BPR, "losses", poisoned)
    with pytest.raises(TrainingDivergedError, match="epoch 2: loss part 'bpr'"):
        run()
    (failed,) = RunStore(tmp_path).runs()
    assert failed.status == "failed"
    assert "became inf" in failed.read_json("failed.json")["reason"]
    assert len(failed.read_table("history.parquet")) == 1
    monkeypatch.setattr(BPR, "losses", losses)
    assert run().status == "done"


def test_bad_settings_are_refused_before_anything_is_written(tmp_path, world):
    for wrong, line in (
        (lambda: experiment("bprr"), "unknown model 'bprr'"),
        (lambda: experiment(model_settings={"layers": 2}), "model bpr: unknown setting 'layers'"),
        (
            lambda: Experiment(model="bpr", training=TrainSettings(metric="recall@7")),
            "expected NAME@K with K among",
        ),
        (lambda: Experiment.from_dict({"model": "bpr", "seed": -1}), "seed = -1; expected int in 0"),
        (
            lambda: Experiment.from_dict({"model": "bpr", "training": {"lr": "fast"}}),
            "lr = 'fast'; expected float",
        ),
    ):
        with pytest.raises(UserError, match=line):
            wrong()
    assert list(tmp_path.iterdir()) == []


def test_the_store_lists_finds_and_tells_runs_apart(run, tmp_path):
    one, two = run(seed=0), run("lightgcn", seed=1)
    store = RunStore(tmp_path)
    frame = store.frame().set_index("run")
    assert set(frame.index) == {one.id, two.id}
    assert frame.loc[two.id, "model"] == "lightgcn"
    assert frame.loc[one.id, "valid.train.recall@20"] == one.read_json("metrics.json")["valid"]["train"]["recall@20"]
    assert store.find(one.id[:6]).path == one.path
    with pytest.raises(UserError, match=r"no run in .* begin with 'zz'"):
        store.find("zz")
    different = store.diff(one.id, two.id)
    assert {"model", "seed", "model_settings.layers"} <= set(different.index)
    assert "training.epochs" not in different.index


def test_a_damaged_run_is_listed_as_such_and_hides_no_other(run, tmp_path):
    one, two = run(), run(seed=1)
    (one / "metrics.json").write_text("{")
    frame = RunStore(tmp_path).frame().set_index("run")
    assert frame.loc[one.id, "status"] == "damaged"
    assert frame.loc[two.id, "status"] == "done"


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_the_table_of_runs_can_be_taken_elsewhere(run, tmp_path, suffix):
    run()
    path = RunStore(tmp_path).export(tmp_path / f"all.{suffix}")
    table = {"csv": pd.read_csv, "parquet": pd.read_parquet, "json": pd.read_json}[suffix](path)
    assert table["model"].tolist() == ["bpr"]
    with pytest.raises(UserError, match=r"expected a name ending in \.csv"):
        RunStore(tmp_path).export(tmp_path / "all.xlsx")


def test_runs_are_compared_user_by_user(run, tmp_path):
    runs = [run(model, seed=seed, test=True) for model in ("bpr", "lightgcn") for seed in (0, 1)]
    long = compare.scores(runs, "recall@5")
    assert long.groupby(["model", "seed"]).size().tolist() == [40] * 4
    table = compare.means(long, repro.numpy_generator(0, "bootstrap")).set_index("model")
    expected = sum(r.read_json("metrics.json")["test"]["train"]["recall@5"] for r in runs[:2]) / 2
    assert table.loc["bpr", "mean"] == pytest.approx(expected)
    assert table.loc["bpr", "low"] <= expected <= table.loc["bpr", "high"]
    assert compare.costs(runs)["parameters"].tolist() == [(40 + 32) * 64] * 2


def test_groups_of_items_add_up_to_the_recall_of_the_table(run, world):
    runs = [run(model, seed=seed, test=True) for model in ("bpr", "lightgcn") for seed in (0, 1)]
    generator = repro.numpy_generator(0, "bootstrap")
    labels = popularity_groups(np.bincount(world.train.pairs()[:, 1], minlength=world.num_items), (0.3, 0.6))
    groups = compare.item_groups(runs, labels, 5, generator)
    table = compare.main_table(runs, "recall@5", generator).set_index("model")
    assert groups.groupby("model")["contribution"].sum().to_dict() == pytest.approx(table["mean"].to_dict())
    assert table["mean"].is_monotonic_decreasing
    assert (table["train+valid"] >= table["mean"]).all()
    assert table["paper"].isna().all()


def test_a_sealed_test_split_cannot_be_compared(run):
    with pytest.raises(UserError, match="open the test split of a run first"):
        compare.scores([run()], "recall@5")
    with pytest.raises(UserError, match="metric = 'recal@5'; did you mean 'recall@5'"):
        compare.scores([run()], "recal@5", split="valid")


def test_seeds_make_experiments_of_their_own(world):
    assert len({replace(experiment(), seed=seed).run_id(world) for seed in range(3)}) == 3


def test_nested_settings_flatten_to_dotted_names():
    assert flatten({"a": {"b": {"c": 1}}, "d": 2}) == {"a.b.c": 1, "d": 2}
