"""``nbkit train`` as its user sees it: progress, a table, runs kept, and every mistake told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nbkit.studies.store import RunStore

from .conftest import QUICK, Outcome

Cli = Callable[..., Outcome]


def test_a_training_ends_with_its_run_id_its_scores_and_the_caveat_of_the_data(nbkit: Cli, shop: Path) -> None:
    done = nbkit("train", "lightgcn", "--data", shop, *QUICK)
    (run,) = RunStore("runs").runs()
    assert done.code == 0, done.err
    assert run.status == "done"
    assert run.id in done.out
    recall = run.read_json("metrics.json")["valid"]["train"]["recall@20"]
    assert f"{recall:.4f}" in next(line for line in done.out.splitlines() if line.startswith("validation"))
    assert "caveat: planted in a test" in done.out
    assert "test," not in done.out


def test_the_same_command_again_computes_nothing(nbkit: Cli, shop: Path) -> None:
    nbkit("train", "lightgcn", "--data", shop, *QUICK)
    (run,) = RunStore("runs").runs()
    before = (run / "model.safetensors").stat().st_mtime_ns
    again = nbkit("train", "lightgcn", "--data", shop, *QUICK)
    assert "already computed" in again.out
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    assert len(RunStore("runs").runs()) == 1


def test_seeds_make_a_run_each_and_a_table_of_means_and_deviations(nbkit: Cli, shop: Path) -> None:
    done = nbkit("train", "bpr", "--data", shop, "--seeds", "0,1,2", "--test", *QUICK)
    runs = RunStore("runs").runs()
    assert sorted(run.read_json("settings.json")["seed"] for run in runs) == [0, 1, 2]
    assert all((run / "test_opened.json").exists() for run in runs)
    labels = [line for line in done.out.splitlines() if "±" in line]
    assert [line.split("  ")[0] for line in labels] == [
        "validation",
        "test, training items masked (as MMRec)",
        "test, validation items masked too",
    ]


def test_the_test_split_stays_closed_without_being_asked_for(nbkit: Cli, shop: Path) -> None:
    nbkit("train", "bpr", "--data", shop, *QUICK)
    (run,) = RunStore("runs").runs()
    assert not (run / "test_opened.json").exists()


def test_settings_noise_and_training_settings_reach_the_run(nbkit: Cli, shop: Path) -> None:
    from nbkit.data import corrupt

    operator = sorted(corrupt.operators())[0]
    done = nbkit(
        "train",
        "lightgcn",
        "--data",
        shop,
        *QUICK,
        "--set",
        "layers=1",
        "--train",
        "lr=0.01",
        "--noise",
        f"{operator}:0.1:7",
    )
    assert done.code == 0, done.err
    (run,) = RunStore("runs").runs()
    settings = run.read_json("settings.json")
    assert settings["model_settings"]["layers"] == 1
    assert settings["training"]["lr"] == 0.01
    assert settings["noise"] == [{"operator": operator, "rate": 0.1, "seed": 7}]


def test_a_diverging_seed_is_told_and_the_others_are_kept(
    nbkit: Cli, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbkit.studies.experiment as experiment
    from nbkit.errors import TrainingDivergedError

    fit = experiment.fit

    def diverges(*args: object, seed: int, **options: object) -> object:
        if seed == 0:
            raise TrainingDivergedError("epoch 1: loss part 'bpr' became nan in batch 0")
        return fit(*args, seed=seed, **options)

    monkeypatch.setattr(experiment, "fit", diverges)
    done = nbkit("train", "bpr", "--data", shop, "--seeds", "0,1", *QUICK)
    assert done.code == 2
    assert "seed 0: epoch 1: loss part 'bpr' became nan" in done.err
    assert sorted(run.status for run in RunStore("runs").runs()) == ["done", "failed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lightgnc"], "unknown model 'lightgnc'; did you mean 'lightgcn'?"),
        (["lightgcn", "--set", "layer=2"], "--set: unknown setting 'layer'; did you mean 'layers'?"),
        (["lightgcn", "--set", "layers=two"], "--set: layers = 'two'; expected int"),
        (["lightgcn", "--set", "layers=9"], "--set: layers = 9; expected int in 0 … 8"),
        (["lightgcn", "--set", "layers"], "--set: 'layers'; expected name=value"),
        (["lightgcn", "--train", "epoch=2"], "--train: unknown setting 'epoch'; did you mean 'epochs'?"),
        (["lightgcn", "--train", "metric=recall@7"], "metric = 'recall@7'; expected NAME@K"),
        (["lightgcn", "--data", "no/such/folder"], "no/such/folder"),
        (["lightgcn", "--noise", "no_such_noise:0.1"], "--noise: unknown operator 'no_such_noise'"),
        (["lightgcn", "--noise", "0.1"], "expected OPERATOR:RATE"),
        (["lightgcn", "--seed", "-1"], "--seed: seed = -1; expected int in 0 …"),
        (["lightgcn", "--seeds", "0,x"], "--seeds: seed = 'x'; expected int"),
        (["lightgcn", "--device", "gpu9"], "device 'gpu9'; expected auto, cpu, cuda"),
        (["lightgcn", "--epochs", "3"], "No such option: --epochs"),
        ([], "Missing argument"),
    ],
)
def test_a_mistake_costs_one_line_and_leaves_no_run(nbkit: Cli, arguments: list[str], words: str) -> None:
    assert words in nbkit("train", *arguments).error
    assert not RunStore("runs").runs()


def test_a_noise_rate_that_is_no_rate_is_refused(nbkit: Cli, shop: Path) -> None:
    from nbkit.data import corrupt

    operator = sorted(corrupt.operators())[0]
    assert "rate" in nbkit("train", "bpr", "--data", shop, *QUICK, "--noise", f"{operator}:often").error
    assert "rate" in nbkit("train", "bpr", "--data", shop, *QUICK, "--noise", f"{operator}:1e9").error


def test_a_model_that_needs_features_says_so_on_data_without(nbkit: Cli, shop: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "interactions.parquet").write_bytes((shop / "interactions.parquet").read_bytes())
    assert "model vbpr needs item features" in nbkit("train", "vbpr", "--data", bare, *QUICK).error


def test_a_run_folder_that_cannot_be_made_is_one_line_before_anything_is_read(
    nbkit: Cli, shop: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    for place in (tmp_path / "file" / "runs", Path("/proc/runs")):
        assert "expected a writable folder" in nbkit("train", "bpr", "--data", shop, "--runs", place, *QUICK).error


def test_metrics_are_json_that_anybody_can_read(nbkit: Cli, shop: Path) -> None:
    nbkit("train", "bpr", "--data", shop, "--runs", "elsewhere", *QUICK)
    (run,) = RunStore("elsewhere").runs()
    assert json.loads((run / "metrics.json").read_text())["fit"]["epochs"] == 3


def test_a_preset_gives_settings_that_set_and_train_may_change(nbkit: Cli, shop: Path) -> None:
    nbkit("train", "diffcl", "--data", shop, "--preset", "baby", "--set", "reg=0.3", *QUICK)
    (run,) = RunStore("runs").runs()
    told = run.read_json("settings.json")
    assert (told["model_settings"]["contrast"], told["model_settings"]["reg"]) == (0.02, 0.3)
    assert told["training"]["lr"] == 5e-4
    wrong = nbkit("train", "diffcl", "--data", shop, "--preset", "bady")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "no such preset; did you mean 'baby'" in wrong.err
    assert "bpr has no such preset; there are none" in nbkit("train", "bpr", "--data", shop, "--preset", "baby").err
    assert "contrast=0.02" in nbkit("models", "diffcl").out


def test_a_fit_that_was_stopped_while_it_was_learning_is_told(nbkit: Cli, shop: Path) -> None:
    assert "rising again" not in nbkit("train", "bpr", "--data", shop, *QUICK).err
    run = RunStore("runs").runs()[0]
    history = run.read_table("history.parquet")
    curve = [0.5, *(0.1 + 0.01 * n for n in range(10))]
    run.write_table("history.parquet", history.iloc[:1].loc[[0] * 11].assign(**{"valid_recall@20": curve}))
    settings = run.read_json("settings.json")
    run.write_json("settings.json", {**settings, "training": {**settings["training"], "epochs": 1000}})
    assert "rising again when patience ended it" in nbkit("train", "bpr", "--data", shop, *QUICK).err
