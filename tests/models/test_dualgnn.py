"""DualGNN against its equations written densely: modal graphs, each user's attention, the graph of users."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.models.base import build_model
from nbkit.models.dualgnn import co_occurrence
from nbkit.training.loop import TrainSettings, fit


def build(data, **settings):
    return build_model("dualgnn", data.sealed(), settings, repro.generator(0, "weights"))


def without_pairs_of(data, user, item):
    return data.replace(train=data.train.take((data.train.user != user) & (data.train.item != item)))


@pytest.mark.parametrize("attention", ["softmax", "free"])
@pytest.mark.parametrize("layers", [1, 2])
def test_embeddings_are_the_papers_equations(layers, attention, world):
    data = without_pairs_of(world, 5, 9)
    model, users = build(data, dim=4, hidden=5, layers=layers, attention=attention, neighbours=3), data.num_users
    with torch.no_grad():
        model.weights.normal_(generator=repro.generator(0, "shares"))
    interactions = torch.zeros(users, data.num_items)
    interactions[*torch.from_numpy(data.train.pairs()).T] = 1
    adjacency = torch.zeros((users + data.num_items,) * 2)
    adjacency[:users, users:], adjacency[users:, :users] = interactions, interactions.T
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    adjacency = scale[:, None] * adjacency * scale
    encoded = []
    for m in ("image", "text"):
        inner, _, outer = model.content[m]
        hidden = F.leaky_relu(torch.tensor(data.features[m]) @ inner.weight.T + inner.bias)
        x = F.normalize(torch.cat([model.preferences[m], hidden @ outer.weight.T + outer.bias]))
        encoded.append(sum(torch.linalg.matrix_power(adjacency, hop) @ x for hop in range(layers + 1)))
    alpha = torch.exp(model.weights) / torch.exp(model.weights).sum(1, keepdim=True)
    if attention == "free":
        alpha = model.weights
    own = alpha[:, :1] * encoded[0][:users] + alpha[:, 1:] * encoded[1][:users]
    common = interactions @ interactions.T
    expected = own.clone()
    for user in range(users):
        others = [v for v in range(users) if v != user and common[user, v] > 0]
        others = sorted(others, key=lambda v: -common[user, v])[:3]
        if others:
            expected[user] = expected[user] + torch.softmax(common[user, others], 0) @ own[others]
    assert torch.equal(expected[5], own[5])  # nobody shares an item with a user who has none
    got_users, got_items = model.embeddings()
    torch.testing.assert_close(got_users, expected)
    torch.testing.assert_close(got_items, encoded[0][users:] + encoded[1][users:])


def test_a_short_list_of_neighbours_is_not_filled_up():
    pairs = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1], [2, 1], [3, 2]])
    graph = co_occurrence(pairs, 5, 40).dense()
    odds = torch.tensor([2.0, 1.0]).softmax(0)
    assert torch.equal(graph.count_nonzero(1), torch.tensor([2, 2, 2, 0, 0]))
    torch.testing.assert_close(graph[0, [1, 2]], odds)
    torch.testing.assert_close(graph[2, [0, 1]], torch.tensor([0.5, 0.5]))


def test_many_common_items_do_not_overflow_the_softmax():
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(200))
    torch.testing.assert_close(co_occurrence(pairs, 3, 2).dense(), (1 - torch.eye(3)) / 2)


def test_attention_starts_equal_sums_to_one_and_is_trained(world):
    model = build(world)
    torch.testing.assert_close(model.shares(), torch.full((world.num_users, 2), 0.5))
    fit(model, world, TrainSettings(epochs=2, batch_size=64, lr=0.02), seed=0)
    torch.testing.assert_close(model.shares().sum(1), torch.ones(world.num_users))
    assert (model.shares() - 0.5).abs().max() > 0.01


def test_the_softmax_over_one_modality_holds_no_parameter(make_planted):
    world = make_planted(("text",))
    assert "weights" not in dict(build(world).named_parameters())
    assert "weights" in dict(build(world, attention="free").named_parameters())


def test_without_neighbours_users_are_what_their_modalities_say(world):
    model = build(world, neighbours=0)
    image, text = (x[: world.num_users] for x in model.encoded().values())
    torch.testing.assert_close(model.embeddings()[0], (image + text) / 2)


def test_the_loss_is_bpr_and_the_squares_of_what_the_batchs_users_hold(world):
    model = build(world, reg=0.3, attention="free")
    users, positives, negatives = torch.tensor([[3, 3, 8], [3, 7, 12], [0, 1, 2]])
    user, item = model.embeddings()
    margin = (user[users] * (item[positives] - item[negatives])).sum(1)
    losses = model.losses(Batch(users, positives, negatives, repro.generator(0, "training")))
    torch.testing.assert_close(losses["bpr"], -F.logsigmoid(margin).mean())
    squares = sum((model.preferences[m][users] ** 2).mean() for m in ("image", "text"))
    torch.testing.assert_close(losses["reg"], 0.3 * (squares + (model.weights[users] ** 2).mean()))
