"""What every registered model owes; a new model joins by having a file in nbkit/models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nbkit import repro
from nbkit.config import check, settings_of
from nbkit.data.dataset import SealedSplit
from nbkit.data.sequences import Past
from nbkit.errors import UserError
from nbkit.evaluation.final import validation_evaluator
from nbkit.evaluation.ranking import scorer
from nbkit.models.base import Inputs, Recommender, SequentialRecommender, build_model, registry
from nbkit.training.checkpoint import load_weights, save_weights, snapshot
from nbkit.training.loop import TrainSettings, fit, make_optimizer, train_epoch

MODELS = sorted(registry())
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
QUICK = TrainSettings(epochs=40, batch_size=64, lr=0.02, patience=100)


def build(name, data, seed=0, **settings) -> Recommender:
    return build_model(name, data.sealed(), settings, repro.generator(seed, "weights"))


def batches(model, data):
    return model.sampler(data.sealed()).epoch(64, repro.generator(0, "training"))


def score_of(model, data):
    """Scores of users ``(B,) -> (B, I)``, from all their training events where the model reads histories."""
    return scorer(model, Past(data.sealed(), data.train))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", MODELS)
def test_planted_structure_is_found(name, device, world):
    model = build(name, world)
    evaluator = validation_evaluator(world, ks=[2], device=device)
    untrained = evaluator(model.to(device))["recall@2"]
    fit(model, world, replace(QUICK, metric="recall@2"), seed=0, validate=evaluator, device=device)
    found = evaluator(model)["recall@2"]
    # Two of 26 unseen items are the user's held-out ones: chance is .08, what propagation alone finds is more; a model
    # that finds all of them by the features alone can win nothing more, and must keep it.
    assert found > 0.8
    assert found > untrained or untrained == 1


@pytest.mark.parametrize("name", MODELS)
def test_losses_fall(name, world):
    result = fit(build(name, world), world, QUICK, seed=0)
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_scores_as_its_users_do_one_by_one(name, world):
    model = build(name, world)
    users, score = torch.tensor([3, 0, 17]), score_of(model, world)
    together = score(users)
    alone = torch.cat([score(users[n : n + 1]) for n in range(3)])
    assert together.shape == (3, world.num_items)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_give_the_same_scores(name, world, tmp_path):
    model = build(name, world)
    fit(model, world, TrainSettings(epochs=2, batch_size=64), seed=0)
    save_weights(tmp_path / "model.safetensors", snapshot(model))
    other = build(name, world, seed=1)
    users = torch.arange(world.num_users)
    assert not torch.equal(score_of(other, world)(users), score_of(model, world)(users))
    load_weights(other, tmp_path / "model.safetensors")
    assert torch.equal(score_of(other, world)(users), score_of(model, world)(users))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_optimised_and_receives_gradient(name, world):
    model = build(name, world)
    optimizer = make_optimizer(model, TrainSettings())
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert optimised == {id(p) for p in model.parameters()}
    before = snapshot(model)
    train_epoch(model, batches(model, world), optimizer, loss_scale={})
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert value.grad.abs().sum() > 0, parameter
        assert not torch.equal(value, before[parameter]), parameter


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_draws_nothing_and_repeats_exactly(name, world):
    model = build(name, world)
    train_epoch(model, batches(model, world), make_optimizer(model, TrainSettings()), loss_scale={})
    users = torch.arange(world.num_users)
    first = score_of(model, world)(users)
    torch.rand(7)
    assert torch.equal(first, score_of(model, world)(users))


@pytest.mark.parametrize("name", MODELS)
def test_no_draw_comes_from_the_global_generator(name, world):
    state = torch.get_rng_state()
    model = build(name, world)
    train_epoch(model, batches(model, world), make_optimizer(model, TrainSettings()), loss_scale={})
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("name", MODELS)
def test_equal_seeds_give_equal_weights(name, world):
    models = [build(name, world) for _ in range(2)]
    for model in models:
        fit(model, world, TrainSettings(epochs=3, batch_size=64), seed=5)
    for parameter, value in models[0].state_dict().items():
        assert torch.equal(value, models[1].state_dict()[parameter]), parameter


@pytest.mark.parametrize("modalities", [(), ("text",), ("image", "text"), ("audio", "image", "text")])
@pytest.mark.parametrize("name", MODELS)
def test_works_with_any_number_of_modalities_or_says_why_not(name, modalities, make_planted):
    data = make_planted(modalities)
    if registry()[name].modalities == "any" and not modalities:
        with pytest.raises(UserError, match="needs item features"):
            build(name, data)
        return
    model = build(name, data)
    losses = model.losses(next(batches(model, data)))
    assert losses
    assert all(part.ndim == 0 and torch.isfinite(part) for part in losses.values())
    before = snapshot(model)
    train_epoch(model, batches(model, data), make_optimizer(model, TrainSettings()), loss_scale={})
    for parameter, value in model.named_parameters():
        assert not value.numel() or not torch.equal(value, before[parameter]), parameter


@pytest.mark.parametrize("items", [1, 2, 8])
@pytest.mark.parametrize("name", MODELS)
def test_a_shop_of_few_items_trains_and_gives_scores_of_common_size(name, items, make_planted):
    world = make_planted()
    train = world.train.take((world.train.item < items) & (world.train.user < 9))
    few = {m: table[:items] - table[:items].mean(0) * (items > 1) for m, table in world.features.items()}
    rows = [part.take(part.item < items) for part in (world.valid, world.test.open("rewrite"))]
    data = world.replace(
        train=train, valid=rows[0], test=SealedSplit(rows[1]), features=few, item_ids=world.item_ids[:items]
    )
    model = build(name, data)
    if items > 1:  # with a single item there is no negative to train with
        train_epoch(model, batches(model, data), make_optimizer(model, TrainSettings()), loss_scale={})
    scores = score_of(model, data)(torch.arange(data.num_users))
    assert scores.shape == (data.num_users, items)
    assert scores.abs().max() < 1e4


@pytest.mark.parametrize("name", MODELS)
def test_strangers_without_training_pairs_get_finite_scores(name, world):
    stranger, train = 5, world.train
    data = world.replace(train=train.take((train.user != stranger) & (train.item != 9)))
    assert torch.isfinite(score_of(build(name, data), data)(torch.tensor([stranger]))).all()


@pytest.mark.parametrize("name", MODELS)
def test_embeddings_explain_the_scores(name, world):
    model = build(name, world).eval()
    users = torch.arange(world.num_users)
    with torch.no_grad():
        exported = model.export()
        if isinstance(model, SequentialRecommender):
            moments = torch.full((world.num_users,), world.train.timestamp.max() + 1)
            user = model.encode(model.histories(world, world.train).before(users, moments))
        else:
            user = exported["user"]
    assert user.shape == (world.num_users, exported["item"].shape[1])
    assert exported["item"].shape[0] == world.num_items
    torch.testing.assert_close(score_of(model, world)(users), user @ exported["item"].T)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_where_it_comes_from_and_what_may_be_set(name):
    cls = registry()[name]
    assert cls.paper.link.startswith("https://")
    assert "Source:" in (cls.__doc__ or "")
    assert "Shapes:" in (cls.__doc__ or "")
    for setting in settings_of(cls).values():
        assert setting.help, setting.name
        assert not setting.required, setting.name


@pytest.mark.parametrize("name", MODELS)
def test_every_preset_is_settings_that_the_model_accepts(name):
    for data, preset in registry()[name].presets.items():
        assert preset.source
        check(registry()[name], preset.settings, where=f"preset {data}")
        check(TrainSettings, preset.training, where=f"preset {data}")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_to_tune_it_over(name):
    points = registry()[name].grid.points()
    assert len(points) >= 4
    assert registry()[name].grid.source
    for point in points:
        check(registry()[name], point.settings, where="grid")
        check(TrainSettings, point.training, where="grid")


def test_a_model_is_given_nothing_that_is_held_out(world):
    inputs = Inputs.from_view(world.sealed())
    held_out = {tuple(p) for p in world.test.open("rewrite").pairs()} | {tuple(p) for p in world.valid.pairs()}
    assert not held_out & {tuple(p) for p in inputs.pairs.numpy()}
    assert np.array_equal(inputs.pairs.numpy(), world.train.pairs())


def test_an_unknown_model_or_setting_is_one_line_with_the_nearest_name(world):
    with pytest.raises(UserError, match="did you mean 'lightgcn'"):
        build("lightgnc", world)
    with pytest.raises(UserError, match="did you mean 'layers'"):
        build("lightgcn", world, layer=2)
    with pytest.raises(UserError, match="dim = 0; expected int in 1"):
        build("bpr", world, dim=0)
    with pytest.raises(UserError, match="dim = '64'; expected int"):
        build("bpr", world, dim="64")
