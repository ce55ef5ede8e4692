from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.evaluation.ranking import Evaluator, PairTable, rank, top_k


def brute_force(scores, excluded, k):
    """Sort every row by (score descending, item ascending) with NumPy, excluded items left out."""
    lists = []
    for user, row in enumerate(scores):
        items = [i for i in np.lexsort((np.arange(len(row)), -row)) if (user, i) not in excluded]
        lists.append((items + [-1] * k)[:k])
    return np.array(lists)


@st.composite
def worlds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    users, items = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    scores = rng.integers(0, draw(st.sampled_from([2, 50])), (users, items)).astype(np.float32)
    mask = np.argwhere(rng.random((users, items)) < draw(st.sampled_from([0.0, 0.3, 0.95])))
    return scores, mask


@given(world=worlds(), k=st.integers(1, 15), chunk=st.integers(1, 10))
@settings(max_examples=150, deadline=None)
def test_ranking_equals_a_full_sort_for_any_chunk_ties_by_item_number(world, k, chunk):
    scores, mask = world
    table = PairTable(mask, len(scores))
    users = torch.arange(len(scores))
    parts = rank(lambda u: torch.from_numpy(scores)[u].clone(), users, k, [table], scores.shape[1], chunk=chunk)
    chunks = list(parts)
    got = torch.cat([items for _, items, _ in chunks]).numpy()
    expected = brute_force(scores, {tuple(p) for p in mask}, k)
    assert np.array_equal(got, expected)
    values = np.where(expected < 0, -np.inf, np.take_along_axis(scores, expected.clip(min=0), axis=1))
    assert np.array_equal(torch.cat([v for _, _, v in chunks]).numpy(), values)


def test_random_scores_rank_the_same_in_every_chunk_size():
    generator = torch.Generator().manual_seed(0)
    users, items = torch.randn(300, 16, generator=generator), torch.randn(2000, 16, generator=generator)

    def ranked(chunk):
        return torch.cat(
            [i for _, i, _ in rank(lambda u: users[u] @ items.T, torch.arange(300), 20, [], 2000, chunk=chunk)]
        )

    assert all(torch.equal(ranked(300), ranked(chunk)) for chunk in (1, 7, 64, 128))


def test_rows_of_masked_items_end_in_minus_one():
    scores = torch.tensor([[1.0, -torch.inf, 3.0]])
    items, values = top_k(scores, 5)
    assert items.tolist() == [[2, 0, -1, -1, -1]]
    assert values.tolist() == [[3.0, 1.0, -torch.inf, -torch.inf, -torch.inf]]


@given(world=worlds(), seed=st.integers(0, 10_000), k=st.integers(1, 15), chunk=st.integers(1, 10))
@settings(max_examples=150, deadline=None)
def test_hits_are_where_a_full_sort_has_the_held_out_items(world, seed, k, chunk):
    scores, mask = world
    held = np.argwhere(np.random.default_rng(seed).random(scores.shape) < 0.3)
    if not len(held):
        return
    evaluator = Evaluator(held, [mask], *scores.shape, ks=[k], chunk=chunk)
    hits = evaluator.hits(lambda u: torch.from_numpy(scores)[u].clone())
    lists = brute_force(scores, {tuple(p) for p in mask}, k)
    wanted = {tuple(p) for p in held}
    expected = [[(user, item) in wanted for item in lists[user]] for user in evaluator.users.tolist()]
    assert hits.tolist() == expected
    assert evaluator.relevant.tolist() == [sum(u == user for u, _ in wanted) for user in evaluator.users.tolist()]


@pytest.mark.parametrize("broken", [torch.nan, -torch.inf])
def test_an_item_without_a_score_is_no_hit(broken):
    evaluator = Evaluator(np.array([[0, 1], [0, 2]]), [], 1, 3, ks=[3])
    hits = evaluator.hits(lambda u: torch.tensor([[1.0, broken, 0.5]]))
    assert hits.tolist() == [[False, True, False]]


def test_users_without_a_held_out_item_are_not_ranked():
    evaluator = Evaluator(np.array([[2, 0]]), [], 4, 3, ks=[1])
    assert evaluator.users.tolist() == [2]


def test_masking_validation_items_too_can_only_help_the_test_items():
    rng = np.random.default_rng(0)
    kind = rng.choice(4, (30, 40), p=[0.5, 0.2, 0.1, 0.2])
    train, valid, test = (np.argwhere(kind == n) for n in (1, 2, 3))
    scores = torch.from_numpy(rng.normal(size=(30, 40)))
    means = [
        {
            m: v.mean()
            for m, v in Evaluator(test, exclude, 30, 40, ks=[5, 10]).per_user(lambda u: scores[u].clone()).items()
        }
        for exclude in ([train], [train, valid])
    ]
    assert all(means[0][name] <= means[1][name] for name in means[0])


def test_an_empty_split_says_so():
    with pytest.raises(UserError, match="no user has a held-out interaction"):
        Evaluator(np.empty((0, 2), dtype=np.int64), [], 3, 3)
