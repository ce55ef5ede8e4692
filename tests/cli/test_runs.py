"""``nbkit runs``, ``evaluate`` and ``recommend`` on finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nbkit.data.readers import read_parquet
from nbkit.runs import RunFolder
from nbkit.studies.experiment import load_model
from nbkit.studies.store import RunStore

from .conftest import QUICK, Outcome

Cli = Callable[..., Outcome]


@pytest.fixture
def run(nbkit: Cli, shop: Path) -> RunFolder:
    assert nbkit("train", "lightgcn", "--data", shop, *QUICK).code == 0
    return RunStore("runs").runs()[0]


def test_the_list_has_a_line_for_each_run_with_its_scores(nbkit: Cli, run: RunFolder, shop: Path) -> None:
    nbkit("train", "bpr", "--data", shop, *QUICK)
    lines = nbkit("runs", "list").out.splitlines()
    assert [line.split()[2] for line in lines] == ["model", "bpr", "lightgcn"]
    assert f"{run.read_json('metrics.json')['valid']['train']['recall@20']:.4f}" in lines[2]
    assert len(nbkit("runs", "list", "--model", "bpr").out.splitlines()) == 2
    assert "no such run" in nbkit("runs", "list", "--status", "failed").out


def test_an_empty_folder_of_runs_is_told_and_not_made(nbkit: Cli) -> None:
    assert "no such run in 'nowhere'" in nbkit("runs", "list", "--runs", "nowhere").out
    assert not Path("nowhere").exists()


def test_a_damaged_run_is_listed_as_such_and_hides_no_other(nbkit: Cli, run: RunFolder) -> None:
    broken = Path("runs/broken")
    broken.mkdir()
    (broken / "settings.json").write_text("{")
    out = nbkit("runs", "list").out
    assert "damaged" in out
    assert run.id in out
    assert "settings.json is damaged" in nbkit("runs", "show", "broken").error


def test_counts_stay_whole_numbers_beside_a_run_without_any(nbkit: Cli, run: RunFolder, shop: Path) -> None:
    assert nbkit("train", "bpr", "--data", shop, *QUICK, "--train", "epochs=1").code == 0
    (run / "DONE").unlink()
    lines = [line.split() for line in nbkit("runs", "list").out.splitlines()]
    at = lines[0].index("epochs")
    assert lines[1][at - 1 : at + 1] == ["0", "1"]
    assert lines[2][at - 1] == "0"


def test_a_run_is_shown_with_settings_machine_and_metrics(nbkit: Cli, run: RunFolder) -> None:
    out = nbkit("runs", "show", run.id[:6]).out
    assert run.id in out
    assert "model_settings.layers" in out
    assert "validation" in out
    assert "caveat: planted in a test" in out


def test_the_standings_rank_finished_runs_and_can_be_written(nbkit: Cli, shop: Path) -> None:
    assert "no finished run on any data in 'runs' whose test split is open" in nbkit("runs", "table").error
    for model in ("bpr", "lightgcn"):
        assert nbkit("train", model, "--data", shop, *QUICK, "--seeds", "0,1").code == 0
    assert "no finished run on any data" in nbkit("runs", "table").error  # the test split is still sealed
    out = nbkit("runs", "table", "--split", "valid").out
    assert {line.split()[0] for line in out.splitlines()[1:3]} == {"bpr", "lightgcn"}
    assert "0,1" in out
    assert "Of 1 pairs with two seeds or more" in out
    assert "2 rows: runs.md" in nbkit("runs", "table", "--split", "valid", "--out", "runs.md").out
    assert Path("runs.md").read_text().startswith("| model | ")
    assert nbkit("runs", "table", "--split", "valid", "--out", "runs.csv").code == 0
    assert pd.read_csv("runs.csv")["valid"].between(0, 1).all()
    assert "expected a name ending in" in nbkit("runs", "table", "--split", "valid", "--out", "runs.xlsx").error
    assert "no finished run on baby" in nbkit("runs", "table", "--split", "valid", "--data", "baby").error


def test_comparing_shows_only_settings_that_differ(nbkit: Cli, run: RunFolder, shop: Path) -> None:
    nbkit("train", "lightgcn", "--data", shop, *QUICK, "--set", "layers=1")
    ids = [r.id for r in RunStore("runs").runs()]
    out = nbkit("runs", "compare", *ids).out
    differs = out[: out.index("metric")]
    assert "model_settings.layers" in differs
    assert "model_settings.dim" not in differs
    assert "valid.train.recall@20" in out
    assert "the same settings and data" in nbkit("runs", "compare", run.id, run.id).out
    assert "expected two or more" in nbkit("runs", "compare", run.id).error


def test_the_table_of_runs_can_be_exported(nbkit: Cli, run: RunFolder) -> None:
    for name in ("runs.csv", "runs.parquet", "runs.json"):
        assert nbkit("runs", "export", name).code == 0
    assert pd.read_csv("runs.csv")["run"].tolist() == [run.id]
    assert pd.read_parquet("runs.parquet")["run"].tolist() == [run.id]
    assert json.loads(Path("runs.json").read_text())[0]["run"] == run.id
    assert "expected a name ending in .csv" in nbkit("runs", "export", "runs.xlsx").error


def test_the_path_of_a_run_is_all_that_is_printed(nbkit: Cli, run: RunFolder) -> None:
    assert nbkit("runs", "path", run.id[:5]).out == f"{run.path}\n"
    assert "no run in 'runs' begin with 'zzz'" in nbkit("runs", "path", "zzz").error


def test_evaluation_opens_the_test_split_once_and_then_repeats_the_record(
    nbkit: Cli, run: RunFolder, shop: Path
) -> None:
    first = nbkit("evaluate", run.id)
    metrics = run.read_json("metrics.json")["test"]
    opened = (run / "test_opened.json").read_bytes()
    for masking in ("train", "train+valid"):
        assert f"{metrics[masking]['ndcg@20']:.4f}" in first.out
    again = nbkit("evaluate", run.path)
    assert "recorded numbers" in again.out
    assert again.out.splitlines()[1:] == first.out.splitlines()[1:]
    assert (run / "test_opened.json").read_bytes() == opened


def test_a_run_that_is_not_finished_keeps_the_test_split_closed(nbkit: Cli, run: RunFolder) -> None:
    (run / "DONE").unlink()
    assert "is stopped; expected a finished run" in nbkit("evaluate", run.id).error
    assert not (run / "test_opened.json").exists()


def test_data_that_moved_is_found_by_its_new_place_and_other_data_is_refused(
    nbkit: Cli, run: RunFolder, shop: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(shop, tmp_path / "moved" / shop.name)
    assert nbkit("evaluate", run.id, "--data", tmp_path / "moved" / shop.name).code == 0
    other = shutil.copytree(shop, tmp_path / "other")
    np.save(other / "image.npy", np.ones((24, 6), dtype=np.float32))
    assert "was trained on" in nbkit("recommend", run.id, "--all", "--data", other).error


def test_recommendations_are_the_best_unseen_items_by_original_ids(nbkit: Cli, run: RunFolder, shop: Path) -> None:
    assert nbkit("recommend", run.id, "--all", "-k", "5", "--out", "best.parquet").code == 0
    table = pd.read_parquet("best.parquet")
    assert list(table) == ["user_id", "rank", "item_id", "title", "score"]
    data = read_parquet(shop)
    scores = load_model(run).score(torch.arange(data.num_users)).detach().numpy()
    for row, user in enumerate(data.user_ids):
        seen = np.concatenate([part.item[part.user == row] for part in (data.train, data.valid)])
        scores[row, seen] = -np.inf
        expected = data.item_ids[np.argsort(-scores[row], kind="stable")[:5]]
        own = table[table["user_id"] == user]
        assert own["item_id"].tolist() == expected.tolist()
        assert own["rank"].tolist() == [1, 2, 3, 4, 5]
        np.testing.assert_allclose(own["score"], np.sort(scores[row])[::-1][:5], rtol=1e-5)
    assert (table["title"] == "thing " + table["item_id"].astype(str)).all()


def test_a_user_is_recommended_no_more_items_than_are_left(nbkit: Cli, run: RunFolder) -> None:
    nbkit("recommend", run.id, "--users", "u3", "-k", "100", "--out", "all.csv")
    assert len(pd.read_csv("all.csv")) == 24 - 8


def test_users_come_from_the_line_or_from_a_file(nbkit: Cli, run: RunFolder) -> None:
    Path("users.txt").write_text("u1\n\nu2\n")
    by_file = nbkit("recommend", run.id, "--users-file", "users.txt", "-k", "2").out
    assert by_file == nbkit("recommend", run.id, "--users", "u1, u2", "-k", "2").out
    assert [line.split()[0] for line in by_file.splitlines()] == ["user_id", "u1", "u1", "u2", "u2"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--users", "u31x"], "unknown user 'u31x'; did you mean"),
        (["--users", " , "], "no id"),
        (["--users-file", "missing.txt"], "No such file"),
        ([], "expected exactly one of"),
        (["--all", "--users", "u1"], "expected exactly one of"),
        (["--all", "-k", "0"], "-k"),
        (["--all", "--out", "best.xlsx"], "expected a name ending in .csv or .parquet"),
        (["--all", "--out", "no/such/folder/best.csv"], "cannot write"),
    ],
)
def test_a_wrong_wish_for_recommendations_is_one_line(
    nbkit: Cli, run: RunFolder, arguments: list[str], words: str
) -> None:
    assert words in nbkit("recommend", run.id, *arguments).error
