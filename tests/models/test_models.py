"""What single models claim beyond the contract: closed forms, and the paper's own special cases."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.errors import UserError
from nbkit.graphs import nearest_neighbours
from nbkit.models.base import Inputs, build_model
from nbkit.models.layers import ProjectedFeatures, bpr_loss, norm_penalty


def build(name, data, **settings):
    return build_model(name, data.sealed(), settings, repro.generator(0, "weights"))


def batch(users, positives, negatives):
    return Batch(*map(torch.tensor, (users, positives, negatives)), repro.generator(0, "training"))


def test_bpr_loss_is_the_logarithm_of_the_sigmoid_of_the_difference():
    positive, negative = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(bpr_loss(positive, negative), -torch.log(torch.sigmoid(positive - negative)).mean())


def test_norms_are_frobenius_over_rows_and_squares_on_request():
    rows = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    assert norm_penalty(rows).item() == pytest.approx(5 / 2)
    assert norm_penalty(rows, rows, squared=True).item() == pytest.approx(2 * 25 / 4)


def test_lightgcn_without_layers_scores_as_matrix_factorisation(world):
    model = build("lightgcn", world, layers=0)
    users, items = model.embeddings()
    assert torch.equal(torch.cat([users, items]), model.nodes)


def test_lightgcn_equals_pytorch_geometrics(world):
    from torch_geometric.nn import LightGCN as Oracle

    model = build("lightgcn", world, layers=3, dim=8)
    pairs = torch.from_numpy(world.train.pairs())
    edges = torch.stack([pairs[:, 0], pairs[:, 1] + world.num_users])
    oracle = Oracle(world.num_users + world.num_items, 8, 3, alpha=1 / 4)
    oracle.embedding.weight = model.nodes
    expected = oracle.get_embedding(torch.cat([edges, edges.flip(0)], dim=1))
    torch.testing.assert_close(torch.cat(model.embeddings()), expected)


@pytest.mark.parametrize(
    ("name", "settings"), [("bpr", {}), ("lightgcn", {}), ("vbpr", {}), ("freedom", {"edge_dropout": 0.0})]
)
def test_training_ranks_a_batch_with_the_vectors_that_evaluation_uses(name, settings, world):
    model, pairs = build(name, world, **settings), torch.from_numpy(world.train.pairs())
    users, positives, negatives = pairs[:50, 0], pairs[:50, 1], (pairs[:50, 1] + 1) % world.num_items
    user, item = model.embeddings()
    margin = (user[users] * (item[positives] - item[negatives])).sum(1)
    expected = -torch.nn.functional.logsigmoid(margin).mean()
    loss = model.losses(Batch(users, positives, negatives, repro.generator(0, "training")))["bpr"]
    torch.testing.assert_close(loss, expected)


def test_vbpr_scores_by_item_vector_and_projected_features(world):
    model = build("vbpr", world, dim=4)
    users, _ = model.embeddings()
    raw = torch.cat([torch.tensor(world.features[m]) for m in ("image", "text")], dim=1)
    content = raw @ model.content.project.weight.T + model.content.project.bias
    expected = users[:, :4] @ model.items.T + users[:, 4:] @ content.T
    torch.testing.assert_close(model.score(torch.arange(world.num_users)), expected)


def test_projecting_the_distinct_items_of_a_batch_changes_neither_value_nor_gradient():
    table = ProjectedFeatures(torch.randn(9, 5), 3, repro.generator(0, "weights"), trained=True)
    items = torch.tensor([4, 4, 0, 8, 4])
    table(items).square().sum().backward()
    got = {name: p.grad.clone() for name, p in table.named_parameters()}
    table.zero_grad()
    table()[items].square().sum().backward()
    for name, parameter in table.named_parameters():
        torch.testing.assert_close(got[name], parameter.grad)


def test_freedom_keeps_the_stated_share_of_edges_and_redraws_each_epoch(world):
    model, generator = build("freedom", world, edge_dropout=0.8), repro.generator(0, "training")
    drawn = []
    for epoch in range(2):
        model.start_epoch(epoch, generator)
        drawn.append(model.sampled.dense() > 0)
        kept = int(len(world.train) * (1 - 0.8))
        assert drawn[-1].sum().item() == 2 * kept
        assert (drawn[-1] & ~(model.graph.dense() > 0)).sum() == 0
    assert not torch.equal(*drawn)


def test_freedom_prefers_edges_of_low_degree(make_planted):
    world = make_planted()
    popular = world.train.item < 4
    data = world.replace(train=world.train.take(popular | (world.train.user < 12)))
    model, generator = build("freedom", data, edge_dropout=0.5), repro.generator(0, "training")
    pairs = torch.from_numpy(data.train.pairs())
    degree = torch.bincount(pairs[:, 0])[pairs[:, 0]] * torch.bincount(pairs[:, 1])[pairs[:, 1]]
    light = degree <= degree.float().median()
    kept = torch.zeros(len(pairs))
    for epoch in range(60):
        model.start_epoch(epoch, generator)
        kept += (model.sampled.dense()[pairs[:, 0], pairs[:, 1] + data.num_users] > 0).float()
    assert kept[light].mean() > kept[~light].mean() + 3


def test_freedom_evaluates_on_the_full_graph(world):
    model = build("freedom", world)
    before = model.embeddings()[0].clone()
    model.start_epoch(0, repro.generator(0, "training"))
    assert torch.equal(before, model.embeddings()[0])


def test_freedoms_item_graph_is_the_weighted_mean_over_neighbours_of_each_modality(world):
    model, inputs = build("freedom", world, neighbours=3), Inputs.from_view(world.sealed())
    expected = torch.zeros(world.num_items, world.num_items)
    for modality, weight in (("image", 0.1), ("text", 0.9)):
        near, _ = nearest_neighbours(inputs.features[modality], 3)
        expected.scatter_add_(1, near, torch.full(near.shape, weight / 3))
    torch.testing.assert_close(model.item_graph.dense(), expected)


def test_freedom_without_its_feature_branch_holds_no_projection(world):
    model = build("freedom", world, reg=0.0)
    assert [name for name, _ in model.named_parameters()] == ["nodes"]
    assert set(model.losses(batch([0], [0], [1]))) == {"bpr"}


def test_freedom_says_when_published_neighbours_are_missing(world):
    with pytest.raises(UserError, match="ship neighbours of no modality"):
        build("freedom", world, item_graph="published")


def test_training_raw_features_is_a_switch(world):
    frozen, trained = build("vbpr", world), build("vbpr", world, train_features=True)
    assert "content.features.table" not in dict(frozen.named_parameters())
    loss = sum(trained.losses(batch([0], [0], [1])).values())
    loss.backward()
    gradient = trained.content.features.table.grad
    assert F.normalize(gradient).abs().sum(1).nonzero().flatten().tolist() == [0, 1]
