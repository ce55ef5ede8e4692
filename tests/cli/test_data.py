"""``nbkit data``: what there is, whether it is sound, and conversion into one layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbkit.data import catalog
from nbkit.data.readers import read_parquet

from .conftest import QUICK, Outcome

Cli = Callable[..., Outcome]


def test_built_in_data_and_noise_are_listed(nbkit: Cli) -> None:
    out = nbkit("data", "list").out
    assert "boutique:tiny" in out
    assert "add_random_edges" in out


def test_a_data_set_is_described(nbkit: Cli, shop: Path) -> None:
    rows = dict(line.split(maxsplit=1) for line in nbkit("data", "describe", shop).out.splitlines()[1:] if " " in line)
    assert (rows["users"], rows["items"], rows["train"]) == ("30", "24", "210")
    assert rows["modalities"] == "image 6, text 5"
    assert rows["caveat"] == "planted in a test"


def test_a_leak_fails_the_check_and_sound_data_does_not(nbkit: Cli, shop: Path, tmp_path: Path) -> None:
    assert nbkit("data", "check", shop).code == 0
    leaky = tmp_path / "leaky"
    leaky.mkdir()
    table = pd.read_parquet(shop / "interactions.parquet")
    again = table[table["split"] == "test"].assign(split="train")
    pd.concat([table, again]).to_parquet(leaky / "interactions.parquet")
    done = nbkit("data", "check", leaky)
    assert done.code == 1
    assert "pairs in train and in test" in done.out


def test_a_table_of_ratings_becomes_a_data_set_that_trains(nbkit: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users, items = rng.integers(20, size=400), rng.integers(15, size=400)
    rows = pd.DataFrame({"user": users, "item": items, "rating": 4.0, "timestamp": np.arange(400)})
    rare = pd.DataFrame({"user": [99], "item": [0], "rating": [5.0], "timestamp": [0]})
    pd.concat([rows, rare]).drop_duplicates(["user", "item"]).to_csv("ratings.csv", index=False)
    done = nbkit("data", "convert", "ratings.csv", "converted", "--k-core", "3", "--split", "leave-one-out")
    assert done.code == 0, done.err
    data = read_parquet(Path("converted"))
    assert "99" not in data.user_ids.tolist()
    assert len(data.test) == data.num_users
    assert nbkit("train", "bpr", "--data", "converted", *QUICK).code == 0


def test_another_seed_cuts_anew_and_the_same_seed_does_not(nbkit: Cli, shop: Path) -> None:
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert nbkit("data", "convert", shop, folder, "--split", "random", "--seed", seed).code == 0
    prints = [read_parquet(Path(folder)).fingerprint for folder in "abc"]
    assert prints[0] == prints[1] != prints[2]


def test_a_copy_in_the_same_layout_has_the_same_fingerprint(nbkit: Cli, shop: Path) -> None:
    assert nbkit("data", "convert", shop, "copy").code == 0
    assert read_parquet(Path("copy")).fingerprint == catalog.load(shop).fingerprint
    assert nbkit("data", "convert", shop, "half", "--float16").code == 0
    assert (Path("half") / "image.npy").stat().st_size < (Path("copy") / "image.npy").stat().st_size


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["describe", "boutique:tinny"], "did you mean 'boutique:tiny'?"),
        (["check", "no/such/folder"], "no/such/folder"),
        (["convert", "boutique:tiny", "copy", "--k-core", "3"], "--k-core: 'boutique:tiny' has its own ids"),
        (["convert", "boutique:tiny", "copy", "--split", "random"], "unknown setting 'split'"),
        (["convert", "ratings.csv", "copy", "--split", "sideways"], "sideways"),
        (["convert", "boutique:tiny", "/proc/copy"], "cannot be written"),
        (["convert", "boutique:tiny", "full"], "exists already"),
    ],
)
def test_a_wrong_wish_for_data_is_one_line(nbkit: Cli, arguments: list[str], words: str) -> None:
    Path("ratings.csv").write_text("user,item\n1,2\n")
    Path("full").mkdir()
    assert words in nbkit("data", *arguments).error
    assert not Path("copy").exists()


def test_no_model_is_better_than_perfect_knowledge(nbkit: Cli) -> None:
    nbkit("train", "bpr", "--data", "boutique:tiny?seed=3", *QUICK)
    (line,) = nbkit("runs", "list").out.splitlines()[1:]
    rows = nbkit("evaluate", line.split()[0], "--bound").out.splitlines()
    names = [row.split("  ")[0] or row.split()[0] for row in rows]
    at = next(number for number, row in enumerate(rows) if row.startswith("test, training items masked"))
    score, popular, perfect = (np.array(row.split()[-4:], dtype=float) for row in rows[at : at + 3])
    assert names[at + 1 : at + 3] == ["popularity", "perfect"]
    assert (perfect > np.maximum(score, popular)).all()


def test_on_other_data_only_popularity_is_known(nbkit: Cli, shop: Path) -> None:
    nbkit("train", "bpr", "--data", shop, *QUICK)
    (line,) = nbkit("runs", "list").out.splitlines()[1:]
    done = nbkit("evaluate", line.split()[0], "--bound")
    assert "perfect knowledge is known on built-in data alone" in done.err
    assert sum(row.startswith("  popularity") for row in done.out.splitlines()) == 2
