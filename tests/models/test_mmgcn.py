"""MMGCN against its equations written densely, and what is trained in it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.models.base import build_model
from nbkit.training.checkpoint import load_weights, save_weights, snapshot
from nbkit.training.loop import TrainSettings, fit


def build(data, seed=0, **settings):
    return build_model("mmgcn", data.sealed(), settings, repro.generator(seed, "weights"))


def adjacency(data):
    """Users and items that occur in training, as one symmetric 0/1 matrix ``(U + I, U + I)``."""
    matrix = torch.zeros((data.num_users + data.num_items,) * 2)
    users, items = torch.from_numpy(data.train.pairs()).T
    matrix[users, items + data.num_users] = matrix[items + data.num_users, users] = 1
    return matrix


@pytest.mark.parametrize("combine", ["concat", "add"])
@pytest.mark.parametrize("layers", [1, 3])
def test_embeddings_are_the_papers_equations_with_means_over_neighbours(layers, combine, world):
    data = world.replace(train=world.train.take((world.train.user != 5) & (world.train.item != 9)))
    model = build(data, dim=4, latent=6, layers=layers, combine=combine)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(generator=repro.generator(0, name))
    matrix, ids, tables = adjacency(data), torch.cat([model.users, model.items]), []
    mean = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    for m in ("image", "text"):
        modal, features = model.modal[m], torch.tensor(data.features[m])
        if m == "text":  # 7 wide, more than latent
            features = features @ modal.narrow.weight.T + modal.narrow.bias
        x = F.normalize(torch.cat([modal.preference, features]))
        for hop in modal.hops:
            h = F.leaky_relu(mean @ x @ hop.message.weight.T)
            own = F.leaky_relu(x @ hop.own.weight.T + hop.own.bias) + ids
            if combine == "concat":
                weight = torch.cat([hop.from_neighbours.weight, hop.from_own.weight], dim=1)
                x = F.leaky_relu(torch.cat([h, own], dim=1) @ weight.T + hop.from_neighbours.bias)
            else:
                x = F.leaky_relu(h @ hop.from_neighbours.weight.T + hop.from_neighbours.bias + own)
        tables.append(x)
    torch.testing.assert_close(torch.cat(model.embeddings()), (tables[0] + tables[1]) / 2)


def test_the_loss_is_bpr_and_the_squares_of_the_batchs_identities_and_preferences(world):
    model = build(world, reg=0.3)
    users, positives, negatives = torch.tensor([[3, 3, 8], [3, 7, 12], [0, 1, 2]])
    user, item = model.embeddings()
    margin = (user[users] * (item[positives] - item[negatives])).sum(1)
    losses = model.losses(Batch(users, positives, negatives, repro.generator(0, "training")))
    torch.testing.assert_close(losses["bpr"], -F.logsigmoid(margin).mean())
    squares = (model.users[users] ** 2).mean() + (model.items[torch.cat([positives, negatives])] ** 2).mean()
    squares = squares + sum((model.modal[m].preference[users] ** 2).mean() for m in ("image", "text"))
    torch.testing.assert_close(losses["reg"], 0.3 * squares)


def test_identities_and_preferences_are_trained_unless_mmrecs_constants_are_asked_for(world):
    tables = {"users", "items", "modal.image.preference", "modal.text.preference"}
    for train_ids in (True, False):
        model = build(world, train_ids=train_ids)
        before = snapshot(model)
        assert (tables <= {name for name, _ in model.named_parameters()}) == train_ids
        history = fit(model, world, TrainSettings(epochs=1, batch_size=64), seed=0).history
        moved = {name for name, value in snapshot(model).items() if not torch.equal(value, before[name])}
        assert tables & moved == (tables if train_ids else set())
        assert moved >= {name for name, _ in model.named_parameters()}
        assert ("loss_reg" in history[0]) == train_ids


def test_random_constants_are_saved_with_the_weights_trained_beside_them(world, tmp_path):
    model, other = (build(world, seed, train_ids=False) for seed in (0, 1))
    save_weights(tmp_path / "model.safetensors", snapshot(model))
    users = torch.arange(world.num_users)
    assert not torch.equal(model.score(users), other.score(users))
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(model.score(users), other.score(users))


def test_only_features_wider_than_asked_are_narrowed(world):
    model = build(world, latent=6)
    assert [model.modal[m].preference.shape[1] for m in ("image", "text")] == [6, 6]
    assert {name for name, _ in model.named_parameters() if "narrow" in name} == {
        "modal.text.narrow.weight",
        "modal.text.narrow.bias",
    }
