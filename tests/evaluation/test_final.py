from __future__ import annotations

import numpy as np
import pytest
import torch

from nbkit.errors import UserError
from nbkit.evaluation import final, references
from nbkit.runs import RunFolder


@pytest.fixture
def run(tmp_path, world):
    run = RunFolder(tmp_path / "r").create()
    run.write_json("settings.json", {})
    evaluator = final.validation_evaluator(world, ks=[5])
    ranking = final.ranking_tables(world, evaluator, references.popularity(world), "valid", "train")
    run.write_table(final.PER_USER, ranking.users)
    run.write_table(final.PLACES, ranking.places)
    run.write_json(final.METRICS, {"valid": {"train": final.mean_metrics(ranking.users)}})
    return run


def knows_test(world):
    """A score that puts each user's test item first and the validation item second."""
    scores = torch.zeros(world.num_users, world.num_items)
    for part, value in ((world.valid, 1.0), (world.test.open("rewrite"), 2.0)):
        scores[torch.tensor(part.user), torch.tensor(part.item)] = value
    return lambda users: scores[users].clone()


def test_an_unfinished_run_cannot_open_the_test_split(run, world):
    with pytest.raises(UserError, match="is stopped; expected a finished run"):
        final.final_test(run, world, references.popularity(world))
    assert not (run / final.OPENED).exists()


def test_the_opening_is_recorded_and_happens_once(run, world):
    run.finish()
    first = final.final_test(run, world, knows_test(world), ks=[1, 5])
    assert first["train"]["recall@1"] == 1.0
    assert run.read_json(final.OPENED)["data"] == world.fingerprint
    assert final.final_test(run, world, references.popularity(world), ks=[1, 5]) == first
    table = run.read_table(final.PER_USER)
    assert table.groupby(["split", "masking"]).size().to_dict() == {
        ("test", "train"): 40,
        ("test", "train+valid"): 40,
        ("valid", "train"): 40,
    }


def test_places_of_held_out_pairs_give_the_metrics_of_their_users(run, world):
    run.finish()
    final.final_test(run, world, references.popularity(world), ks=[1, 5])
    places, users = run.read_table(final.PLACES), run.read_table(final.PER_USER)
    pairs = {"valid": world.valid.pairs(), "test": world.test.open("rewrite").pairs()}
    for (split, masking), part in places.groupby(["split", "masking"]):
        assert sorted(map(tuple, part[["user", "item"]].to_numpy())) == sorted(map(tuple, pairs[split]))
        recall = part["rank"].between(0, 4).groupby(part["user"]).mean()
        kept = users[(users["split"] == split) & (users["masking"] == masking)].set_index("user")["recall@5"]
        assert recall.to_dict() == pytest.approx(kept.to_dict())
    assert places["rank"].max() < 5
    assert (places["rank"] == -1).any()


def test_a_run_from_before_places_were_kept_is_tested_like_any_other(run, world):
    run.finish()
    (run / final.PLACES).unlink()
    final.final_test(run, world, references.popularity(world), ks=[1, 5])
    assert set(run.read_table(final.PLACES)["split"]) == {"test"}
    assert set(run.read_table(final.PER_USER)["split"]) == {"valid", "test"}


def test_an_opening_that_was_interrupted_is_gone_on_with(run, world):
    run.finish()

    def interrupted(users):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        final.final_test(run, world, interrupted, ks=[1, 5])
    assert (run / final.OPENED).exists()
    found = final.final_test(run, world, references.popularity(world), ks=[1, 5])
    assert run.read_json(final.METRICS)["test"] == found


def test_means_are_computed_from_the_rows_of_users(run, world):
    run.finish()
    metrics = final.final_test(run, world, references.item_cosine(world), ks=[5])
    rows = run.read_table(final.PER_USER).query("split == 'test' and masking == 'train'")
    assert metrics["train"]["recall@5"] == rows["recall@5"].mean()
    assert list(rows["user_id"]) == [f"u{n}" for n in rows["user"]]


def test_masking_validation_items_frees_their_places(world):
    valid_first = torch.zeros(world.num_users, world.num_items)
    test = world.test.open("rewrite")
    valid_first[torch.tensor(world.valid.user), torch.tensor(world.valid.item)] = 2.0
    valid_first[torch.tensor(test.user), torch.tensor(test.item)] = 1.0
    tables = final.reference_test(world, lambda users: valid_first[users].clone(), ks=[1])
    assert tables["train"]["recall@1"].mean() == 0.0
    assert tables["train+valid"]["recall@1"].mean() == 1.0


def test_popularity_is_the_count_of_training_users(world):
    scores = references.popularity(world)(torch.tensor([0, 1]))
    assert scores[0].tolist() == np.bincount(world.train.item, minlength=world.num_items).tolist()


def test_item_cosine_equals_its_dense_formula(world):
    matrix = references.train_matrix(world).toarray()
    columns = matrix / np.linalg.norm(matrix, axis=0).clip(min=1e-12)
    got = references.item_cosine(world)(torch.arange(world.num_users))
    np.testing.assert_allclose(got.numpy(), matrix @ (columns.T @ columns), rtol=1e-5)


def test_content_profile_finds_the_planted_groups(world):
    scores = references.content_profile(world, "image")(torch.tensor([1]))[0]
    own = torch.arange(world.num_items) % 4 == 1
    assert scores[own].min() > scores[~own].mean()
