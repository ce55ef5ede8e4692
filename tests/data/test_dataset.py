from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nbkit.data.dataset import Interactions, MultimodalDataset, TrainingView
from nbkit.errors import SealedTestError, UserError


def test_the_training_view_has_no_way_to_the_test_split(world):
    view = world.sealed()
    assert type(view) is TrainingView
    assert not hasattr(view, "test")
    held_out = world.test.open("rewrite")
    for field in dataclasses.fields(view):
        assert getattr(view, field.name) is not held_out


def test_asking_for_the_test_split_by_another_name_is_refused(world):
    with pytest.raises(SealedTestError, match=r"only evaluation\.final_test"):
        world.test.open("early stopping")
    assert repr(world.test) == "<sealed test split of 40 interactions>"
    assert "test" not in repr(world)


def test_arrays_cannot_be_written_to(world):
    for array in (world.train.user, world.features["image"], world.sealed().features["text"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        world.name = "other"
    with pytest.raises(TypeError):
        world.features["image"] = None


def test_the_fingerprint_follows_content_alone(world, make_planted):
    assert world.fingerprint == make_planted().fingerprint
    assert world.fingerprint == world.replace(name="renamed", caveat="x").fingerprint
    changed = world.features["image"].copy()
    changed[3, 2] += 1e-3
    others = {
        world.replace(features={**world.features, "image": changed}).fingerprint,
        world.replace(features={"image": world.features["image"]}).fingerprint,
        world.replace(train=world.train.take(np.arange(len(world.train) - 1))).fingerprint,
        world.replace(valid=world.test.open("rewrite"), test=world.valid).fingerprint,
        world.replace(user_ids=world.user_ids[::-1]).fingerprint,
    }
    assert len(others | {world.fingerprint}) == 6
    assert world.sealed().fingerprint == world.fingerprint


def test_ids_that_share_their_joined_text_are_told_apart(world):
    one = world.replace(user_ids=np.array(["a", "bc", *map(str, range(38))]))
    two = world.replace(user_ids=np.array(["ab", "c", *map(str, range(38))]))
    assert one.fingerprint != two.fingerprint


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"item_ids": np.array(["i0"] * 32)}, "planted: duplicate item id 'i0'"),
        (
            {"features": {"image": np.ones((31, 2))}},
            r"features 'image' have shape \(31, 2\), expected \(32, D\)",
        ),
        ({"features": {"image": np.ones(32)}}, r"features 'image' have shape \(32,\)"),
        ({"train": Interactions(np.array([0]), np.array([32]))}, r"train row 0 has item 32, expected 0 … 31"),
        ({"test": Interactions(np.array([-1]), np.array([0]))}, r"test row 0 has user -1"),
        ({"neighbours": {"image": np.full((32, 2), 40)}}, "neighbours 'image'"),
    ],
)
def test_contradictions_are_one_line(world, change, line):
    with pytest.raises(UserError, match=line):
        world.replace(**change)


def test_a_feature_that_is_no_number_is_located(world):
    table = world.features["text"].copy()
    table[5, 1] = np.nan
    with pytest.raises(UserError, match=r"features 'text' hold nan at row 5 \(item 'i5'\), column 1"):
        world.replace(features={"text": table})


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(UserError, match="column 'item' has shape"):
        Interactions(np.arange(3), np.arange(2))


def test_pairs_are_distinct_and_rows_keep_their_columns():
    events = Interactions(np.array([1, 0, 1]), np.array([2, 3, 2]), timestamp=np.array([5, 6, 7]))
    assert events.pairs().tolist() == [[0, 3], [1, 2]]
    kept = events.take(np.array([True, False, True]))
    assert kept.timestamp.tolist() == [5, 7]
    assert kept.behavior is None
    assert list(kept.frame().columns) == ["user", "item", "timestamp"]


def test_half_precision_features_are_accepted(world):
    half = world.replace(features={"image": world.features["image"].astype(np.float16)})
    assert half.features["image"].dtype == np.float32
    assert isinstance(half, MultimodalDataset)
