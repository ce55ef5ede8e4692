"""What MGCN alone claims: its views, fuser and losses by hand, what each switch changes, what each part trains."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.models.base import Inputs, build_model
from nbkit.models.mgcn import MGCN
from nbkit.training.loop import TrainSettings, make_optimizer, train_epoch

# User 0 twice, item 1 twice as positive; the numbers of the world's users and items are 40 and 32.
USERS, POSITIVES, NEGATIVES = torch.tensor([0, 0, 3, 7]), torch.tensor([4, 1, 1, 11]), torch.tensor([2, 5, 4, 9])


def build(data, seed=0, **values) -> MGCN:
    return build_model("mgcn", data.sealed(), {"dim": 5, **values}, repro.generator(seed, "weights"))


def batch() -> Batch:
    return Batch(USERS, POSITIVES, NEGATIVES, repro.generator(0, "training"))


def cosine_graph(features: Tensor, k: int) -> Tensor:
    """The k largest cosines of each row, over the roots of both items' row sums."""
    unit = F.normalize(features, dim=1)
    cosines = unit @ unit.T
    kept = torch.zeros_like(cosines)
    for i, near in enumerate(cosines.argsort(dim=1, descending=True)[:, :k]):
        kept[i, near] = cosines[i, near]
    degree = kept.sum(1)
    return kept / (degree[:, None] * degree[None, :]).sqrt()


def by_hand(model: MGCN, data, k: int = 10) -> tuple[Tensor, Tensor]:
    """Z and side of all nodes, densely, from the paper's equations."""
    inputs = Inputs.from_view(data.sealed())
    users = inputs.num_users
    ratings = torch.zeros(users, inputs.num_items)
    ratings[inputs.pairs[:, 0], inputs.pairs[:, 1]] = 1
    normal = ratings / (ratings.sum(1)[:, None] * ratings.sum(0)[None, :]).sqrt()
    adjacency = torch.zeros(len(model.nodes), len(model.nodes))
    adjacency[:users, users:], adjacency[users:, :users] = normal, normal.T
    z = (model.nodes + adjacency @ model.nodes + adjacency @ adjacency @ model.nodes) / 3
    views = []
    for m, features in inputs.features.items():
        gate, x = model.side.maps[len(views)], model.content[m].project
        opened = torch.sigmoid((features @ x.weight.T + x.bias) @ gate.weight.T + gate.bias)
        items = cosine_graph(features, k) @ (model.nodes[users:] * opened)
        views.append(torch.cat([normal @ items, items]))
    fusion = model.side.fusion
    asked = [(torch.tanh(y @ fusion.ask.weight.T + fusion.ask.bias) @ fusion.query.weight.T).exp() for y in views]
    centre = sum(a * y for a, y in zip(asked, views, strict=True)) / sum(asked)
    own = [
        torch.sigmoid(z @ gate.weight.T + gate.bias) * (y - centre) for gate, y in zip(fusion.gates, views, strict=True)
    ]
    return z, (centre + sum(own)) / (len(views) + 1)


def contrast(side: Tensor, z: Tensor, temperature: float) -> Tensor:
    cosines = F.cosine_similarity(side[:, None], z[None, :], dim=2) / temperature
    return -cosines.log_softmax(1).diagonal().mean()


@pytest.mark.parametrize("modalities", [("image", "text"), ("audio", "image", "text")])
def test_scores_are_those_of_the_equations_written_out_densely(modalities, make_planted):
    data = make_planted(modalities)
    model = build(data, neighbours=4)
    z, side = by_hand(model, data, 4)
    users, items = (z + side).split([data.num_users, data.num_items])
    torch.testing.assert_close(model.score(torch.arange(data.num_users)), users @ items.T)


def test_losses_are_those_of_the_equations_with_each_node_contrasted_once(world):
    model = build(world, contrast=0.3, reg=0.7, temperature=0.5)
    z, side = by_hand(model, world)
    user, positive, negative = (
        (z + side)[rows] for rows in (USERS, POSITIVES + world.num_users, NEGATIVES + world.num_users)
    )
    parts = model.losses(batch())
    gap = (user * (positive - negative)).sum(1)
    torch.testing.assert_close(parts["bpr"], -torch.sigmoid(gap).log().mean())
    norms = sum(x.square().sum() for x in (user, positive, negative)) / 2
    torch.testing.assert_close(parts["reg"], 0.7 * norms / 4)
    both = [torch.tensor([0, 3, 7]), torch.tensor([1, 4, 11]) + world.num_users]
    expected = sum(contrast(side[rows], z[rows], 0.5) for rows in both)
    torch.testing.assert_close(parts["contrast"], 0.3 * expected)


def test_the_norms_are_divided_by_the_rows_there_are_and_not_by_a_batch_size(world):
    model, some = build(world), batch()
    twice = Batch(*(torch.cat([x, x]) for x in (some.users, some.positives, some.negatives)), some.generator)
    torch.testing.assert_close(model.losses(some)["reg"], model.losses(twice)["reg"])


def test_a_feature_speaks_through_the_gate_alone_and_an_item_without_identity_has_no_view(world):
    model = build(world)
    with torch.no_grad():
        model.nodes[world.num_users :] = 0
        assert all(not carried.any() for carried in model.views()[1])
        for gate in model.side.maps:  # wide open: every modality carries the identities as they are
            gate.weight.zero_()
            gate.bias.fill_(math.inf)
        model.nodes[world.num_users :] = 1
        for carried, name in zip(model.views()[1], ("image", "text"), strict=True):
            rows = cosine_graph(torch.tensor(world.features[name]), 10).sum(1, keepdim=True)
            torch.testing.assert_close(carried, rows.expand(-1, 5))


def test_without_the_purifier_item_graphs_carry_projected_features_and_no_identity(world):
    model = build(world, **MGCN.parts["purifier"])
    before = [x.clone() for x in model.views()[1]]
    with torch.no_grad():
        model.nodes[world.num_users :] += 1
    assert all(torch.equal(a, b) for a, b in zip(before, model.views()[1], strict=True))
    for index, m in enumerate(("image", "text")):
        features, project = torch.tensor(world.features[m]), model.content[m].project
        x = features @ project.weight.T + project.bias
        expected = cosine_graph(features, 10) @ x @ model.side.maps[index].weight.T
        torch.testing.assert_close(before[index], expected)


def test_without_views_the_side_is_one_projection_of_all_features(world):
    model = build(world, **MGCN.parts["multi_view"])
    z, items = model.views()
    side = model.side(items, z)[world.num_users :]
    project = model.side.project
    x = torch.cat([content() for content in model.content.values()], dim=1)
    torch.testing.assert_close(side, x @ project.weight.T + project.bias)


@pytest.mark.parametrize("part", sorted(MGCN.parts))
def test_each_part_turned_off_changes_its_own_and_still_trains_every_parameter(part, world):
    whole, model = build(world), build(world, **MGCN.parts[part])
    assert ("contrast" in model.losses(batch())) == (part != "contrast")
    same = torch.equal(whole.score(USERS), model.score(USERS))
    assert same == (part == "contrast")
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    batches = model.sampler(world.sealed()).epoch(64, repro.generator(0, "training"))
    train_epoch(model, batches, make_optimizer(model, TrainSettings()), loss_scale={})
    assert all(not torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_raw_features_are_frozen_unless_asked_for(world):
    frozen, trained = build(world), build(world, train_features=True)
    tables = {f"content.{m}.features.table" for m in ("image", "text")}
    assert {n for n, _ in trained.named_parameters()} - {n for n, _ in frozen.named_parameters()} == tables
    assert torch.equal(frozen.score(USERS), trained.score(USERS))


def test_training_and_evaluation_take_the_same_path_and_nothing_is_kept_from_a_step(world):
    model = build(world)
    before = model.score(USERS)
    model.train()
    model.losses(batch())["bpr"].backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad if parameter.grad is not None else 0
    model.eval()
    z, side = by_hand(model, world)
    users, items = (z + side).split([world.num_users, world.num_items])
    torch.testing.assert_close(model.score(USERS), users[USERS] @ items.T)
    assert not torch.equal(before, model.score(USERS))


def test_exported_views_are_named_for_the_measurement_of_noise(world):
    model = build(world)
    tables = model.export()
    assert set(tables) == {"user", "item", "projected_image", "projected_text", "view_image", "view_text"}
    assert torch.equal(tables["view_text"], model.views()[1][1])
    assert torch.equal(tables["projected_image"], model.content["image"]())
