"""Studies: what a short declaration means, what a plan knows, and that a study is complete or says what is missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.config import canonical_json
from nbkit.data import corrupt
from nbkit.errors import UserError
from nbkit.models.base import model_class
from nbkit.models.bpr import BPR
from nbkit.studies import declaration
from nbkit.studies.costs import Cost, Costs
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Inline
from nbkit.studies.experiment import Noise
from nbkit.studies.planning import missing, plan, results, time_left
from nbkit.studies.running import Progress, execute
from nbkit.studies.study import Study, ablation, grid, robustness, sweep
from nbkit.training.callbacks import Callback

TINY = "boutique:tiny"
SHORT = {"epochs": 2, "batch_size": 256}
NOISES = ["add_random_edges", "drop_edges", "row_shuffle"]


def small(models=("bpr", "lightgcn"), seeds=(0,), rates=(0, 0.2), **more) -> Study:
    return robustness(models, TINY, operators="drop_edges", rates=rates, seeds=seeds, training=SHORT, **more)


# --- what a declaration means ---


@settings(max_examples=25, deadline=None)
@given(
    models=st.lists(st.sampled_from(["bpr", "lightgcn", "vbpr"]), min_size=1, max_size=4),
    operators=st.lists(st.sampled_from(NOISES), min_size=1, max_size=4),
    rates=st.lists(st.sampled_from([0, 0.1, 0.3]), min_size=1, max_size=4),
    seeds=st.lists(st.integers(0, 3), min_size=1, max_size=4),
)
def test_every_model_sees_the_same_noise_and_clean_data_come_once(models, operators, rates, seeds):
    study = robustness(models, TINY, operators=operators, rates=rates, seeds=seeds)
    noisy = len(set(operators)) * len(set(rates) - {0})
    assert len(study) == len(set(models)) * len(set(seeds)) * (noisy + (0 in rates))
    assert len({canonical_json(experiment) for experiment in study}) == len(study)
    data = {model: [(e.seed, e.noise) for e in study if e.model == model] for model in models}
    assert all(seen == data[models[0]] for seen in data.values())
    assert all(noise.seed == e.seed for e in study for noise in e.noise)
    assert not any(noise.rate == 0 for e in study for noise in e.noise)


def test_rates_are_shares_or_decibels_but_not_both():
    by_operator = {"gaussian": [float("inf"), 10], "drop_edges": [0, 0.2]}
    study = robustness("vbpr", TINY, operators=["gaussian", "drop_edges"], rates=by_operator, seeds=[0])
    assert [str(e.noise[0]) if e.noise else "clean" for e in study] == ["clean", "gaussian:10", "drop_edges:0.2"]
    with pytest.raises(UserError, match="expected rates by operator"):
        robustness("vbpr", TINY, operators=["gaussian", "drop_edges"], rates=[0, 0.2])
    with pytest.raises(UserError, match="expected a share in 0 … 1"):
        robustness("vbpr", TINY, operators="drop_edges", rates=[2])


def test_noise_of_a_grid_has_the_runs_seed_or_its_own():
    study = grid("bpr", TINY, seeds=[3, 4], noise=["drop_edges:0.1", "row_shuffle:0.2:7"])
    assert [[noise.seed for noise in e.noise] for e in study] == [[3, 7], [4, 7]]


def test_an_ablation_is_the_whole_model_and_one_run_without_each_part():
    parts = model_class("diffcl").parts
    whole, *others = ablation("diffcl", TINY, seeds=[0])
    assert [replace(whole, model_settings={**whole.model_settings, **off}) for off in parts.values()] == others
    assert ablation("diffcl", TINY, seeds=[0], parts=["diff"]).labels() == ["start", "contrast=0"]
    with pytest.raises(UserError, match="model bpr declares no parts"):
        ablation("bpr", TINY)
    with pytest.raises(UserError, match="unknown part 'dif'; did you mean 'diff'"):
        ablation("diffcl", TINY, parts=["dif"])


def test_combinations_take_out_every_set_of_parts_fewest_first():
    out = [set(text.split()) - {"start"} for text in ablation("diffcl", TINY, seeds=[0], combinations=True).labels()]
    assert len(out) == len(set(map(frozenset, out))) == 8
    assert [len(some) for some in out] == [0, 1, 1, 1, 2, 2, 2, 3]
    two = ablation("diffcl", TINY, seeds=[0], parts=["diff", "h"], combinations=True)
    assert two.labels() == ["start", "contrast=0", "item_layers=0", "item_layers=0 contrast=0"]


def test_a_sweep_departs_one_setting_at_a_time_or_takes_every_combination():
    over = {"layers": [1, 3], "lr": [0.01, 0.02]}
    one = sweep("lightgcn", TINY, over=over, seeds=[0])
    assert one.labels() == ["start", "layers=1", "lr=0.01", "lr=0.02"]  # three layers are the start
    every = sweep("lightgcn", TINY, over=over, seeds=[0], product=True)
    assert len(every) == 1 + 4
    with pytest.raises(UserError, match="unknown setting 'layer'; did you mean 'layers'"):
        sweep("lightgcn", TINY, over={"layer": [1]})


def test_settings_are_of_all_models_or_of_the_one_that_is_named():
    study = grid(["bpr", "lightgcn"], TINY, seeds=[0], settings={"dim": 8, "lightgcn": {"layers": 1}}, preset="baby")
    bpr, lightgcn = study
    assert (bpr.model_settings["dim"], lightgcn.model_settings["dim"], lightgcn.model_settings["layers"]) == (8, 8, 1)
    assert lightgcn.model_settings["reg"] == model_class("lightgcn").presets["baby"].settings["reg"]


def test_a_study_comes_back_from_its_file_as_it_was_written(tmp_path):
    study = small(name="noise on the shop")
    study += robustness("vbpr", TINY, operators="gaussian", rates=[float("inf"), 5.0])
    study += ablation("diffcl", TINY, noise="drop_edges:0.1", combinations=True)
    study += sweep("lightgcn", TINY, over={"layers": [1], "lr": [1e-05]}, settings={"dim": 8}, product=True)
    again = declaration.read(declaration.write(study, tmp_path / "s.toml"))
    assert again == study
    assert again.name == "noise on the shop"
    with pytest.raises(UserError, match="was not made by a builder"):
        declaration.write(Study("own", study.experiments), tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[robustnes]\nmodels = "bpr"', "unknown key 'robustnes'; did you mean 'robustness'"),
        ('[grid]\nmodel = "bpr"', "grid: unknown key 'model'; did you mean 'models'"),
        ("[grid]\nseeds = [0]", "grid: key 'models' is missing"),
        ('[grid]\nmodels = "bpr"\nseeds = 3', "seeds = 3; expected Sequence"),
        ('[grid]\nmodels = ["bpt"]', "unknown model 'bpt'; did you mean 'bpr'"),
        (
            '[grid]\nmodels = "bpr"\ntraining = { epoch = 3 }',
            "training: unknown setting 'epoch'; did you mean 'epochs'",
        ),
        ('[grid]\nmodels = "bpr"\nsettings = { layers = 3 }', "model bpr: unknown setting 'layers'"),
        ('[grid]\nmodels = "bpr"\nnoise = "drop_edge:0.1"', "unknown operator 'drop_edge'; did you mean 'drop_edges'"),
        ("[grid]\nmodels = []", "is empty; expected at least one model"),
        ("grid = 3", "grid = 3; expected a table"),
        ('name = "x"', "declares no runs"),
        ("[grid", "expected TOML"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(tmp_path, text, line):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(UserError) as refused:
        declaration.read(tmp_path / "s.toml")
    assert line in str(refused.value)
    with pytest.raises(UserError, match="no such file"):
        declaration.read(tmp_path / "t.toml")


# --- what a plan knows ---


def test_known_fingerprints_are_looked_up_and_are_those_of_the_data(monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    study = small(models=("bpr", "lightgcn"))
    damaged = []
    damage = corrupt.corrupt
    monkeypatch.setattr(corrupt, "corrupt", lambda *args: damaged.append(args) or damage(*args))
    first = plan(study, tmp_path / "runs")
    assert len(damaged) == 1  # one kind of noise, two models
    assert {p.run.id for p in first.runs} == {e.run_id(e.load_data()) for e in study}
    damaged.clear()
    assert plan(study, tmp_path / "runs").frame().equals(first.frame())
    assert damaged == []
    (tmp_path / "fingerprints.json").write_text("{")
    assert plan(study, tmp_path / "runs").frame().equals(first.frame())


def test_other_noise_has_another_fingerprint():
    data = Datasets()
    noises = [(), (Noise("drop_edges", 0.1),), (Noise("drop_edges", 0.2),), (Noise("drop_edges", 0.1, 1),)]
    noises.append((Noise("drop_edges", 0.1), Noise("row_shuffle", 0.1)))
    base = next(iter(small()))
    assert len({data.fingerprint(replace(base, noise=noise)) for noise in noises}) == len(noises)


def test_estimates_are_of_the_same_data_else_of_the_same_model_else_unknown():
    bpr, lightgcn = grid(["bpr", "lightgcn"], "here", seeds=[0], training={"epochs": 100})
    costs = Costs("cpu")
    assert costs.seconds(bpr) is None
    costs.known.append(Cost("bpr", "there", "cpu", 50.0, 100, 100, 10.0))
    costs.known.append(Cost("bpr", "here", "cuda", 1.0, 100, 100, 10.0))
    assert Costs("cpu", costs.known).seconds(bpr) == 50
    costs.add(bpr, {"wall_seconds": 2.0, "train_seconds": 7.0, "epochs": 100, "peak_mb": None})
    assert costs.seconds(bpr) == 7
    assert costs.peak_mb(bpr) == 0
    assert costs.seconds(lightgcn) is None


def test_a_run_that_used_up_its_epochs_says_more_epochs_take_longer_and_one_that_stopped_does_not():
    assert Cost("m", "d", "cpu", 20.0, 10, 10, None).seconds_for(1000) == 2000
    assert Cost("m", "d", "cpu", 20.0, 10, 50, None).seconds_for(1000) == 20
    assert Cost("m", "d", "cpu", 20.0, 10, 50, None).seconds_for(5) == 10


def test_time_is_told_in_words_and_what_is_unknown_as_such():
    assert [time_left(s) for s in (75, 5400, 9000, 200_000)] == [
        "about 75 s",
        "about 90 min",
        "about 2.5 h",
        "about 2.3 days",
    ]
    assert time_left(60, 2) == "at least 60 s (2 runs of unknown length)"
    assert time_left(0, 3) == "an unknown time (3 runs)"


# --- what becomes of a study ---


def test_a_study_is_complete_or_says_what_is_missing(tmp_path):
    study = small()
    assert plan(study, tmp_path).counts == {"new": 4}
    with pytest.raises(UserError, match=r"4 runs \(4 new\); an unknown time \(4 runs\) left"):
        results(study, tmp_path)
    list(execute(Study("half", study.experiments[:2]), root=tmp_path))
    assert plan(study, tmp_path).counts == {"done": 2, "new": 2}
    assert missing(study, tmp_path)["noise"].tolist() == ["drop_edges:0.2"] * 2
    assert plan(study, tmp_path).unknown == 0
    seen = []
    outcomes = list(execute(study, root=tmp_path, test=True, watch=seen.append))
    assert [o.fresh for o in outcomes] == [True] * 4  # those that are done lack their test
    table = results(study, tmp_path)
    assert table["test.train.recall@20"].notna().all()
    assert table["run"].tolist() == [e.run_id(e.load_data()) for e in study]
    assert [state.done for state in seen][-1] == 4
    assert not any(o.fresh for o in execute(study, root=tmp_path, test=True))


def test_the_order_of_runs_changes_no_number(tmp_path):
    study = small("bpr")
    for name, experiments in (("one", study.experiments), ("two", study.experiments[::-1])):
        list(execute(Study(name, experiments), root=tmp_path / name))
    columns = ["run", "valid.train.recall@20", "valid.train.ndcg@10", "fit.best_epoch"]
    one, two = (results(study, tmp_path / name)[columns] for name in ("one", "two"))
    assert one.equals(two)


def test_a_failed_run_is_kept_stops_no_other_and_is_tried_again_on_request(tmp_path, monkeypatch):
    study, losses = small(rates=[0]), BPR.losses

    def broken(self, batch):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(BPR, "losses", broken)
    assert [o.status for o in execute(study, root=tmp_path)] == ["failed", "done"]
    failed = missing(study, tmp_path)
    assert failed["reason"].tolist()[0].startswith("RuntimeError: no luck (test_study.py:")
    monkeypatch.setattr(BPR, "losses", losses)
    assert {o.experiment.model: (o.status, o.fresh) for o in execute(study, root=tmp_path)} == {
        "bpr": ("failed", False),
        "lightgcn": ("done", False),
    }
    assert [o.status for o in execute(study, root=tmp_path, retry_failed=True)] == ["done", "done"]
    assert missing(study, tmp_path).empty


def test_a_diverged_run_tells_its_loss(tmp_path):
    study = grid("bpr", TINY, seeds=[0], settings={"reg": 1e39}, training=SHORT)
    (outcome,) = execute(study, root=tmp_path)
    assert outcome.status == "failed"
    assert "became" in outcome.reason
    assert outcome.run.read_json("failed.json")["reason"] == outcome.reason


def test_a_run_that_another_process_computes_is_left_to_it(tmp_path):
    study = small(rates=[0])
    first = plan(study, tmp_path).runs[0].run
    with first.hold():
        first.write_json("settings.json", {})
        assert [o.status for o in execute(study, root=tmp_path)] == ["running", "done"]
    assert not (first / "failed.json").exists()


def test_ctrl_c_keeps_what_is_finished_and_ends_the_study(tmp_path):
    class Interrupt(Callback):
        def stepped(self, step):
            raise KeyboardInterrupt

    study = small("bpr", seeds=[0, 1])
    impatient = Inline(callbacks=lambda experiment: [Interrupt()] if experiment.noise else [])
    assert [o.status for o in execute(study, impatient, root=tmp_path)] == ["done", "done", "stopped"]
    assert plan(study, tmp_path).counts == {"done": 2, "stopped": 1, "new": 1}
    assert [o.status for o in execute(study, root=tmp_path)] == ["done"] * 4


def test_a_log_gets_a_line_every_few_seconds(tmp_path, capsys):
    study = small(rates=[0])
    with Progress("often", every=0.0) as progress:
        list(execute(study, root=tmp_path, watch=progress))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "often: 0 of 2 runs done; an unknown time (2 runs) left (bpr seed 0)"
    assert lines[-1] == "often: 2 of 2 runs done"
