import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nbkit import repro
from nbkit.data.sampling import TripleSampler
from nbkit.errors import UserError


def sampler(pairs, users=6, items=9):
    return TripleSampler(torch.tensor(pairs), users, items)


@given(seed=st.integers(0, 10_000), batch=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_an_epoch_holds_every_pair_once_and_never_a_trained_negative(seed, batch):
    rng = np.random.default_rng(seed)
    pairs = np.argwhere(rng.random((6, 9)) < 0.5)
    pairs = pairs[pairs[:, 1] > 0] if len(pairs) else pairs  # item 0 never occurs in training
    known = {tuple(p) for p in pairs}
    counts = np.bincount(pairs[:, 0], minlength=6)
    if not len(pairs) or counts.max() >= len(np.unique(pairs[:, 1])):
        return
    batches = list(sampler(pairs).epoch(batch, repro.generator(seed, "training")))
    seen = [(int(u), int(i)) for b in batches for u, i in zip(b.users, b.positives, strict=True)]
    drawn = {(int(u), int(j)) for b in batches for u, j in zip(b.users, b.negatives, strict=True)}
    assert sorted(seen) == sorted(known)
    assert not drawn & known
    assert {j for _, j in drawn} <= {i for _, i in known}
    assert len(batches) == sampler(pairs).steps(batch)


def test_negatives_are_uniform_over_what_is_left():
    pairs = [[0, 0], [0, 1], [1, 2], [1, 3], [1, 4], [2, 5]]
    drawn = sampler(pairs).negatives(torch.zeros(8000, dtype=torch.int64), repro.generator(0, "training"))
    counts = torch.bincount(drawn, minlength=9)
    assert counts[[0, 1, 6, 7, 8]].sum() == 0  # trained on, or never in training
    assert stats.chisquare(counts[2:6].numpy()).pvalue > 1e-3


def test_a_user_who_trained_on_everything_is_named_instead_of_searching_forever():
    with pytest.raises(UserError, match="user row 1 trained on all 2 items"):
        sampler([[0, 0], [1, 0], [1, 1]])


def test_an_empty_training_split_is_one_line():
    with pytest.raises(UserError, match="training split is empty"):
        sampler(np.empty((0, 2), dtype=np.int64))
