"""What PGL alone claims: items are their features, training sees a part of the graph, two dropouts are contrasted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.models.base import build_model
from nbkit.models.pgl import spectral_subgraph


def build(data, **settings):
    return build_model("pgl", data.sealed(), {"dim": 5, **settings}, repro.generator(0, "weights"))


def batch(data, size: int = 50) -> Batch:
    users, items = torch.from_numpy(data.train.pairs())[:size].T
    return Batch(users, items, (items + 1) % data.num_items, repro.generator(0, "training"))


def adjacency(pairs, num_users: int, num_items: int) -> np.ndarray:
    """D^{-1/2} [[0, R], [Rᵀ, 0]] D^{-1/2} in full."""
    a = np.zeros((num_users + num_items,) * 2)
    a[pairs[:, 0], num_users + pairs[:, 1]] = a[num_users + pairs[:, 1], pairs[:, 0]] = 1
    degree = a.sum(1)
    return a / np.sqrt(np.outer(degree, degree).clip(min=1))


@pytest.mark.parametrize("modalities", [("image", "text"), ("audio", "image", "text")])
def test_vectors_are_the_equations_in_full_matrices(modalities, make_planted):
    world = make_planted(modalities)
    model, users = build(world, neighbours=4), world.num_users
    a = torch.from_numpy(adjacency(world.train.pairs(), users, world.num_items)).float()
    columns = []
    for m in modalities:
        linear = model.content[m].project
        x = torch.tensor(world.features[m]) @ linear.weight.T + linear.bias
        columns.append(torch.cat([model.users[m], x / x.norm(dim=1, keepdim=True)]))
    table = torch.cat(columns, dim=1)
    z = (table + a @ table + a @ a @ table) / 3
    user, item = model.embeddings()
    torch.testing.assert_close(user, z[:users])
    torch.testing.assert_close(item, z[users:] + model.item_graph.dense() @ table[users:])


def test_there_is_no_item_identity_so_items_without_pairs_and_with_equal_features_score_alike(world):
    a, b = 3, 9
    features = {m: table.copy() for m, table in world.features.items()}
    for table in features.values():
        table[b] = table[a]
    train = world.train.take(~np.isin(world.train.item, [a, b]))
    # Without neighbours but the item itself, nothing tells the two apart.
    model = build(world.replace(features=features, train=train), neighbours=1)
    scores = model.score(torch.arange(world.num_users))
    torch.testing.assert_close(scores[:, a], scores[:, b])
    assert not torch.allclose(scores[:, a], scores[:, 5])


def test_without_dropped_edges_a_batch_is_ranked_and_contrasted_with_the_vectors_that_evaluation_uses(world):
    model, triples = build(world, edge_dropout=0.0, dropout=0.0, contrast=0.3, temperature=0.5), batch(world)
    user, item = model.embeddings()
    user, positive, negative = user[triples.users], item[triples.positives], item[triples.negatives]
    parts = model.losses(triples)
    margin = (user * (positive - negative)).sum(1)
    torch.testing.assert_close(parts["bpr"], -F.logsigmoid(margin).mean())
    contrasts = []
    for rows in (user, positive):
        cosine = F.cosine_similarity(rows[:, None], rows[None], dim=2) / 0.5
        contrasts.append(-cosine.log_softmax(1).diagonal().mean())
    torch.testing.assert_close(parts["contrast"], 0.3 * (contrasts[0] + contrasts[1]) / 2)


def test_the_two_views_are_two_draws_of_the_batchs_generator(world):
    model = build(world, dropout=0.4)
    first, again, kept = (model.losses(batch(world))["contrast"] for model in (model, model, build(world, dropout=0.0)))
    assert torch.equal(first, again)
    # Views that differ are further apart than a view is from itself.
    assert first > kept


def test_a_contrast_of_weight_0_is_left_out(world):
    assert set(build(world, contrast=0.0).losses(batch(world))) == {"bpr"}


def test_training_sees_a_fresh_30_percent_of_the_edges_each_epoch_and_evaluation_all_of_them(world):
    model, generator = build(world), repro.generator(0, "training")
    before, drawn = model.embeddings()[0], []
    full = model.graph.dense()
    for epoch in range(2):
        model.start_epoch(epoch, generator)
        drawn.append(model.sampled.dense())
        pairs = drawn[-1][: world.num_users, world.num_users :].nonzero()
        assert len(pairs) == int(0.3 * len(world.train))
        assert (full[: world.num_users, world.num_users :][tuple(pairs.T)] > 0).all()
        expected = torch.from_numpy(adjacency(pairs.numpy(), world.num_users, world.num_items)).float()
        torch.testing.assert_close(drawn[-1], expected)
    assert not torch.equal(*drawn)
    assert torch.equal(before, model.embeddings()[0])


@pytest.mark.parametrize("spectrum", ["ends", "product"])
def test_the_global_subgraph_is_the_singular_vectors_of_the_whole_adjacency(spectrum):
    taken = np.random.default_rng(0).random((1200, 9)) < 0.3
    pairs = np.argwhere(taken)
    got = spectral_subgraph(torch.from_numpy(pairs), 1200, 9, 8, spectrum).dense()
    # As published: of 16 components of the adjacency of all nodes, each singular value of R twice, quarters of 4.
    u, sigma, v = np.linalg.svd(adjacency(pairs, 1200, 9), full_matrices=False)
    first, last = slice(0, 4), slice(12, 16)
    if spectrum == "product":
        expected = (u[:, first] * (sigma[first] * sigma[last])) @ v[first]
    else:
        expected = sum((u[:, part] * sigma[part]) @ v[part] for part in (first, last))
    expected[np.abs(expected) < 1e-3] = 0
    # An entry on the threshold may fall to either side.
    np.testing.assert_allclose(got.numpy(), expected, atol=1.01e-3)
    differs = np.abs(got.numpy() - expected) > 1e-6
    assert np.abs(got.numpy() + expected)[differs].max(initial=0) < 1.001e-3


def test_the_global_subgraph_stays_all_along_and_evaluation_sees_the_whole_graph(world):
    model, generator = build(world, subgraph="global"), repro.generator(0, "training")
    subgraph, state = model.sampled.dense(), generator.get_state()
    assert not torch.allclose(subgraph, model.graph.dense())
    model.start_epoch(0, generator)
    assert torch.equal(model.sampled.dense(), subgraph)
    assert torch.equal(generator.get_state(), state)
    for whole, part in zip(build(world).embeddings(), model.embeddings(), strict=True):
        assert torch.equal(whole, part)
    local = build(world, edge_dropout=0.0).losses(batch(world))["bpr"]
    assert not torch.allclose(model.losses(batch(world))["bpr"], local)


def test_raw_features_are_trained_on_request_only(world):
    def trained(**settings):
        return {name for name, _ in build(world, **settings).named_parameters() if name.endswith("features.table")}

    assert trained() == set()
    assert trained(train_features=True) == {"content.image.features.table", "content.text.features.table"}
