"""Claims about names, the cache behind them, and what is said about a data set."""

import numpy as np
import pytest

from nbkit.config import Seed
from nbkit.data import catalog, synthetic
from nbkit.data.dataset import Interactions, MultimodalDataset, Truth
from nbkit.data.readers import write_parquet
from nbkit.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def made(monkeypatch, make_planted):
    """A quick stand-in for the boutique that lists what was made."""
    calls = []

    def boutique(size: str = "small", *, seed: Seed = 0, **overrides):
        calls.append((size, seed, overrides))
        return make_planted(seed=seed).replace(truth=Truth())

    monkeypatch.setattr(synthetic, "boutique", boutique)
    return calls


def test_the_built_in_shop_has_a_name_and_its_settings_stand_behind_a_question_mark():
    names = [b.spec for b in catalog.builtin()]
    assert names[:2] == ["boutique:tiny", "boutique:small"]
    sold = catalog.load("boutique:tiny?seed=3&users=60&items=50&pictures=false")
    assert (sold.num_users, sold.num_items) == (60, 50)
    assert sold.fingerprint == synthetic.boutique("tiny", seed=3, users=60, items=50, pictures=False).fingerprint
    again = catalog.load("boutique:tiny", seed=3, users=60, items=50, pictures=False)
    assert again.fingerprint == sold.fingerprint
    assert again.truth.noisy_pairs.tolist() == sold.truth.noisy_pairs.tolist()
    assert again.item_table.equals(sold.item_table)


def test_a_boutique_is_made_once_for_each_setting(made, cache):
    first = catalog.load("boutique:tiny")
    assert catalog.load("boutique:tiny").fingerprint == first.fingerprint
    assert catalog.load("boutique").fingerprint == first.fingerprint  # small, by the stand-in the same
    assert catalog.load("boutique:tiny?seed=1").fingerprint != first.fingerprint
    catalog.load("boutique:tiny?users=70")
    assert made == [("tiny", 0, {}), ("small", 0, {}), ("tiny", 1, {}), ("tiny", 0, {"users": 70})]
    assert len(list(cache.iterdir())) == 4


def test_new_code_makes_new_data(made, monkeypatch):
    catalog.load("boutique:tiny")
    monkeypatch.setattr(catalog.repro, "code_version", lambda *_: "another")
    catalog.load("boutique:tiny")
    assert len(made) == 2


@pytest.mark.parametrize("damage", ["cut short", "another number", "gone", "no settings", "no truth"])
def test_a_damaged_cache_is_made_again(damage, made, cache):
    first = catalog.load("boutique:tiny")
    (folder,) = cache.iterdir()
    events = folder / "interactions.parquet"
    if damage == "cut short":
        events.write_bytes(events.read_bytes()[:50])
    elif damage == "another number":
        np.save(folder / "text.npy", 2 * np.load(folder / "text.npy"))
    elif damage == "no truth":
        (folder / "truth" / "arrays.npz").unlink()
    elif damage == "no settings":
        (folder / "dataset.json").unlink()
    else:
        events.unlink()
    assert catalog.load("boutique:tiny").fingerprint == first.fingerprint
    assert len(made) == 2
    catalog.load("boutique:tiny")
    assert len(made) == 2  # the new copy is sound


def test_another_process_that_fills_the_cache_first_does_no_harm(made, cache, monkeypatch, make_planted):
    def slow(size: str = "small", *, seed: Seed = 0):
        monkeypatch.setattr(synthetic, "boutique", quick)
        catalog.load("boutique:tiny")  # meanwhile, elsewhere
        return make_planted(seed=seed)

    quick = synthetic.boutique
    monkeypatch.setattr(synthetic, "boutique", slow)
    data = catalog.load("boutique:tiny")
    assert catalog.load("boutique:tiny").fingerprint == data.fingerprint
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(made, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "file"))
    catalog.load("boutique:tiny")
    catalog.load("boutique:tiny")
    assert len(made) == 2


def test_folders_are_loaded_by_path_with_settings(world, tmp_path):
    folder = write_parquet(world, tmp_path / "what is this?")
    assert catalog.load(folder).fingerprint == world.fingerprint  # the mark is part of the name
    folder = folder.rename(tmp_path / "plain")
    assert catalog.load(f"{folder}?modalities=text").modalities == ("text",)
    assert catalog.load(f"{folder}?modalities=image,text").modalities == ("image", "text")
    cut = catalog.load(f"{folder}?split=random&seed=4")
    assert cut.fingerprint == catalog.load(folder, layout="parquet", split="random", seed=4).fingerprint
    assert cut.fingerprint != catalog.load(f"{folder}?layout=parquet&split=random&seed=5").fingerprint


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (
            "boutique:smal",
            "unknown data set 'boutique:smal'; did you mean 'boutique:small'? (choices: boutique:",
        ),
        ("boutiqe:small", "unknown data set 'boutiqe:small'; did you mean 'boutique:small'?"),
        ("babby", "or the path of a folder or file"),
        ("boutique:tiny?sead=1", "boutique:tiny: unknown setting 'sead'; did you mean 'seed'?"),
        ("boutique:tiny?seed", "'seed'; expected name=value"),
        ("boutique:tiny?users=many", "users = 'many'; expected int"),
        ("boutique:tiny?seed=-1", "seed = -1; expected int in 0"),
        ("{tmp}/plan", "did you mean 'plain'? (choices: plain)"),
        ("{tmp}/no/where", "or the path of a folder or file"),
        ("{tmp}/plain?modality=text", "unknown setting 'modality'; did you mean 'modalities'"),
        ("{tmp}/plain?modalities=texts", "no features for modality 'texts'; did you mean 'text'?"),
        ("{tmp}/plain?layout=parket", "unknown layout 'parket'; did you mean 'parquet'?"),
        ("{tmp}/plain?split=leave", "split = 'leave'; expected one of 'random', 'leave-one-out', 'temporal'"),
        ("x" * 5000, "unknown data set"),
    ],
)
def test_a_wrong_name_is_answered_with_what_exists(spec, line, world, tmp_path):
    write_parquet(world, tmp_path / "plain")
    with pytest.raises(UserError) as caught:
        catalog.load(spec.replace("{tmp}", str(tmp_path)))
    assert line in str(caught.value)


def test_a_wrong_option_is_answered_with_what_exists():
    with pytest.raises(UserError, match="unknown setting 'sed'; did you mean 'seed'"):
        catalog.load("boutique:tiny", sed=1)


def test_the_description_counts_what_is_there(world):
    (row,) = catalog.describe(world.replace(caveat="planted")).to_dict("records")
    assert {k: row[k] for k in ("users", "items", "train", "valid", "test")} == {
        "users": 40,
        "items": 32,
        "train": 240,
        "valid": 40,
        "test": 40,
    }
    assert row["density"] == 320 / (40 * 32)
    assert (row["user_min"], row["user_median"], row["user_max"]) == (6, 6, 6)
    assert row["item_min"] <= row["item_median"] <= row["item_p90"] <= row["item_max"]
    assert (row["modalities"], row["caveat"], row["noisy_pairs"]) == ("image 6, text 7", "planted", 0)


def levels(dataset):
    return {f.what: (f.level, f.count, f.example) for f in catalog.check(dataset)}


def test_sound_data_has_no_findings(world):
    assert catalog.check(world) == []


def test_a_pair_in_two_splits_is_an_error(world):
    test = world.test.open("rewrite")
    leaky = world.replace(test=Interactions(*np.concatenate([test.pairs(), world.train.pairs()[:3]]).T))
    found = catalog.check(leaky)
    assert (found[0].level, found[0].what, found[0].count) == ("error", "pairs in train and in test", 3)
    assert found[0].example == "user 'u0'"


def test_cold_users_and_items_are_counted(world):
    train = world.train.take(np.flatnonzero((world.train.user != 5) & (world.train.item != 9)))
    found = levels(world.replace(train=train))
    assert found["valid users without training history"] == ("warning", 1, "user 'u5'")
    held = sum((part.item == 9).sum() for part in (world.valid, world.test.open("rewrite")))
    cold = [count for what, (_, count, _) in found.items() if what.endswith("items that never occur in training")]
    assert sum(cold) == held + 1  # and the item itself
    empty = world.replace(valid=Interactions([], []))
    assert levels(empty)["the valid split is empty"][0] == "warning"


def test_a_user_with_every_item_is_an_error():
    none = Interactions([], [])
    data = MultimodalDataset(
        name="d",
        user_ids=np.arange(2),
        item_ids=np.arange(3),
        train=Interactions([0, 0, 1], [0, 1, 0]),
        valid=none,
        test=none,
    )
    found = levels(data)
    assert found["users who trained on every item, so that no negative can be drawn"] == (
        "error",
        1,
        "user 0",
    )


def test_odd_features_are_named(world):
    text, image = world.features["text"].copy(), np.ones_like(world.features["image"])
    text[[3, 8]] = 0
    text[4] *= 1000
    text[5] = text[6]
    text[:, 1] = 0
    found = levels(world.replace(features={"text": text, "image": image}))
    assert found["text rows of zeros"] == ("warning", 2, "item 'i3'")
    assert found["text rows ten times longer or shorter than usual"][:2] == ("warning", 1)
    assert found["text rows that repeat another item's"][:2] == ("note", 1)
    assert found["text dimensions with one value only"][:2] == ("note", 1)
    assert found["image rows are all the same"][:2] == ("error", 32)


def test_neighbours_are_compared_with_the_features(world):
    unit = world.features["text"] / np.linalg.norm(world.features["text"], axis=1, keepdims=True)
    nearest = np.argsort(-(unit @ unit.T), axis=1)[:, :4]
    what = "text neighbours that the text features do not explain"
    found = levels(world.replace(neighbours={"text": nearest}))
    assert what not in found
    assert found["text neighbour lists that hold the item itself"][:2] == ("note", 32)
    far = np.argsort(unit @ unit.T, axis=1)[:, :4]
    assert levels(world.replace(neighbours={"text": far}))[what][:2] == ("warning", far.size)


def test_times_repeats_and_caveats_are_noted(world):
    rows = np.append(np.arange(len(world.train)), [0, 1])
    timed = world.train.take(rows).frame().assign(timestamp=np.where(rows == 3, -1, 5))
    train = Interactions(**{c: timed[c].to_numpy() for c in timed})
    found = levels(world.replace(train=train, clock="unix", caveat="fitted features"))
    assert found["training events that repeat a pair"][:2] == ("note", 2)
    assert found["train interactions without a real time (not after 1970)"][:2] == ("warning", 1)
    assert found["caveat: fitted features"][0] == "note"


def test_findings_come_worst_first_and_paths_are_checked_too(world, tmp_path):
    train = world.train.pairs()[:4]
    bad = world.replace(valid=Interactions(*train.T), caveat="x", features={"text": np.zeros((32, 2), np.float32)})
    order = [f.level for f in catalog.check(str(write_parquet(bad, tmp_path / "bad")))]
    assert order == sorted(order, key=("error", "warning", "note").index)
    assert order[0] == "error"
