"""What M3BSR-R claims alone: denoisers that are trained, reach the experts, and stay the same when asked."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.dataset import Interactions
from nbkit.data.sequences import Past, Stream
from nbkit.errors import UserError
from nbkit.evaluation.ranking import scorer
from nbkit.models.base import build_model
from nbkit.models.experts import COMMON, push_loss
from nbkit.training.loop import TrainSettings, fit, make_optimizer

NAMES = ("id", "image", "text")


def build(data, **settings):
    return build_model("m3bsr", data.sealed(), {"dim": 16, **settings}, repro.generator(0, "weights")).eval()


def one_batch(model, data, size=64):
    return next(model.sampler(data.sealed()).epoch(size, repro.generator(0, "training")))


def stream(*rows):
    """Items of each row, padded on the left."""
    width = max(1, *map(len, rows))
    items = torch.tensor([[0] * (width - len(r)) + list(r) for r in rows])
    mask = torch.tensor([[False] * (width - len(r)) + [True] * len(r) for r in rows])
    return Stream(items, torch.zeros_like(items), mask)


def stirred(model, module):
    """The change of what a history asks for when every weight of a part moves."""
    history = {"shallow": stream([4, 8, 12], [1, 5]), "deep": stream([16], [])}
    with torch.no_grad():
        before = model.encode(history)
        for weight in module.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=repro.generator(1, "stir"))
        return (model.encode(history) - before).abs().amax(1)


def test_both_denoisers_are_of_every_kind_and_in_the_optimiser(world):
    model = build(world)
    assert (set(model.of_modality), set(model.of_behavior)) == ({"image", "text"}, set(NAMES))
    optimised = {id(p) for group in make_optimizer(model, TrainSettings()).param_groups for p in group["params"]}
    weights = [*model.of_modality.parameters(), *model.of_behavior.parameters()]
    assert {id(p) for p in weights} <= optimised


@pytest.mark.parametrize(
    ("part", "name"), [("of_modality", m) for m in NAMES[1:]] + [("of_behavior", n) for n in NAMES]
)
def test_the_outcome_of_every_denoiser_reaches_the_prediction(world, part, name):
    model = build(world)
    assert (stirred(model, getattr(model, part)[name]) > 1e-4).all()


@pytest.mark.parametrize("part", ["modality", "behavior"])
def test_denoising_learns_by_its_own_loss_alone(world, part):
    """The denoisers alone are moved by ε-losses: tokens cannot make themselves easy to denoise."""
    model = build(world)
    torch.nn.init.normal_(model.of_modality["text"].network.output.weight, generator=repro.generator(0, "x"))
    torch.nn.init.normal_(model.of_behavior["text"].network.output.weight, generator=repro.generator(0, "x"))
    model.losses(one_batch(model, world))[part].backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved
    assert all(name.startswith(f"of_{part}.") for name in moved)


def test_training_and_evaluation_read_the_same_denoised_tokens(world):
    model = build(world, dropout=0.0)
    batch = one_batch(model, world)
    model.train()
    trained = model.losses(batch)["softmax"]
    model.eval()
    asked = F.cross_entropy(model.encode(batch.history) @ model.item_table().T, batch.positives)
    torch.testing.assert_close(trained, asked)


def test_the_inversion_takes_out_the_predicted_noise_at_the_mean_noise_level(world):
    denoiser = build(world).of_modality["text"]
    h = torch.randn(2, 3, 16, generator=repro.generator(0, "x"))
    h = h / h.norm(dim=2, keepdim=True)
    sigma = denoiser.process.sigma[denoiser.start]
    assert 0.3 < sigma < 0.6  # a state half way: the schedule is neither noiseless nor all noise
    torch.testing.assert_close(denoiser(h, h, torch.ones(2, 3).bool()), (1 - sigma) * h)  # starts as ε̂ = h_t
    denoiser.network.forward = lambda h_t, t, condition, valid: torch.zeros_like(h_t)
    torch.testing.assert_close(denoiser(h, h, torch.ones(2, 3).bool()), h)
    denoiser.network.forward = lambda h_t, t, condition, valid: -100 * h_t
    assert denoiser(h, h, torch.ones(2, 3).bool()).norm(dim=2).tolist() == [pytest.approx([4.0] * 3)] * 2


def test_the_loss_of_a_denoiser_is_the_error_in_the_noise_where_there_are_events(world):
    denoiser = build(world).of_behavior["id"]
    h = torch.randn(5, 3, 16, generator=repro.generator(0, "x"))
    mask = torch.tensor([[False, True, True]] * 5)
    seen = {}

    def knows(h_t, t, condition, valid):
        """The exact noise at events, nonsense at padding."""
        signal, sigma = denoiser.process.signal[t, None, None], denoiser.process.sigma[t, None, None]
        seen["t"] = t
        return (h_t - signal * h) / sigma + 9 * ~mask[..., None]

    denoiser.network.forward = knows
    generator = repro.generator(0, "training")
    loss = denoiser.loss(h, mask, h, mask, generator)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert seen["t"].shape == (5,)
    denoiser.network.forward = lambda h_t, t, condition, valid: torch.full_like(h_t, 3.0)
    assert denoiser.loss(h, mask, h, mask, generator).item() / 10 == pytest.approx(1 + 9, rel=0.3)


def test_denoising_beats_the_best_constant_guess_of_the_noise(world):
    model = build(world, dim=32, modality_weight=1.0, behavior_weight=1.0)
    result = fit(model, world, TrainSettings(epochs=20, batch_size=64, lr=0.005), seed=0, device="cpu")
    first, last = result.history[0], result.history[-1]
    for part, denoisers in (("modality", 2), ("behavior", 3)):
        # The mean noise is 0, and to guess 0 costs 1 a denoiser.
        assert last[f"loss_{part}"] / denoisers < 0.95
        assert last[f"loss_{part}"] < 0.8 * first[f"loss_{part}"]


def test_deep_events_change_what_shallow_ones_mean(world):
    with torch.no_grad():
        models = [build(world, behavior_denoising=on) for on in (True, False)]
        for model in models:
            for denoiser in model.of_behavior.values():
                torch.nn.init.normal_(denoiser.network.output.weight, std=0.3, generator=repro.generator(0, "x"))
        shallow = stream([4, 8], [4, 8])
        for model, changes in zip(models, (True, False), strict=True):
            tokens, _ = model.tokens(*model.lookup({"shallow": shallow, "deep": stream([16], [21])}))
            for name in NAMES:
                one, other = tokens["shallow", name]
                assert torch.allclose(one, other, atol=1e-5) != changes


def test_where_deep_events_are_none_the_null_tokens_answer(world):
    model = build(world)
    torch.nn.init.normal_(model.of_behavior["id"].network.output.weight, generator=repro.generator(0, "x"))
    history = {"shallow": stream([4, 8], [1]), "deep": stream([], [])}
    with torch.no_grad():
        before = model.encode(history)
        junk = {**history, "deep": Stream(torch.full((2, 3), 7), torch.zeros(2, 3).long(), torch.zeros(2, 3).bool())}
        torch.testing.assert_close(model.encode(junk), before)
        for null in (model.of_behavior["id"].network.null, model.experts.null):
            null += torch.randn(null.shape, generator=repro.generator(2, "x"))
            after = model.encode(history)
            assert ((after - before).abs().amax(1) > 1e-5).all()
            before = after


OFF = {
    "modality_denoising": ({"modality_denoising": False}, "of_modality", {"modality"}),
    "behavior_denoising": ({"behavior_denoising": False}, "of_behavior", {"behavior"}),
    "specific": ({"experts": "common"}, "experts.specific joint output gate", {"push"}),
    "common": ({"experts": "specific"}, "experts.common experts.attention experts.null gate", set()),
    "modality loss": ({"modality_weight": 0.0}, "", {"modality"}),
    "behavior loss": ({"behavior_weight": 0.0}, "", {"behavior"}),
    "push": ({"push_weight": 0.0}, "", {"push"}),
    "ids alone": ({"modality_denoising": False, "behavior_denoising": False}, "of_", {"modality", "behavior"}),
}


@pytest.mark.parametrize("off", OFF)
def test_each_part_can_be_switched_off_with_all_its_weights(world, off):
    settings, absent, missing = OFF[off]
    model = build(world, **settings)
    parts = model.losses(one_batch(model, world))
    assert set(parts) == {"softmax", "modality", "behavior", "push"} - missing
    names = [name for name, _ in model.named_parameters()]
    assert not [n for n in names if any(n.startswith(gone) for gone in absent.split())]
    torch.stack([*parts.values()]).sum().backward()
    late = {n for n, p in model.named_parameters() if p.grad is None}
    assert not late


def pair_mean(experts):
    """cos² over the pairs of the paper's figure, written out."""
    total = []
    for (a, x), (b, y) in itertools.combinations(experts.items(), 2):
        if COMMON in (a, b) or (a[0] == b[0]) != (a[1] == b[1]):
            total.append(F.cosine_similarity(x, y, dim=1).square())
    assert len(total) == 6 + 6 + 3
    return torch.stack(total).mean()


def opinions(seed=0):
    keys = [COMMON, *itertools.product(("shallow", "deep"), NAMES)]
    generator = repro.generator(seed, "x")
    return {key: torch.randn(4, 5, generator=generator) for key in keys}


def test_push_is_the_mean_squared_cosine_of_experts_that_shall_differ():
    torch.testing.assert_close(push_loss(opinions()), pair_mean(opinions()))
    same = {key: torch.ones(2, 5) for key in opinions()}
    assert push_loss(same).item() == pytest.approx(1)
    apart = {key: torch.eye(7)[None, n] for n, key in enumerate(opinions())}
    assert push_loss(apart).item() == 0


def test_the_contrastive_push_is_the_share_of_an_experts_own_second_opinion():
    first, second, tau = opinions(0), opinions(1), 0.5
    total = []
    for key, x in first.items():
        cosine = {other: F.cosine_similarity(x, y, dim=1) / tau for other, y in second.items()}
        total.append(-torch.log(cosine[key].exp() / sum(c.exp() for c in cosine.values())))
    torch.testing.assert_close(push_loss(first, second, tau), torch.stack(total).mean())


def test_the_contrastive_push_needs_no_designated_pairs_and_trains(world):
    model = build(world, push="infonce")
    batch = one_batch(model, world)
    parts = model.losses(batch)
    assert 0 < parts["push"].item() < 0.1 * math.log(7) + 1
    parts["push"].backward()
    assert model.experts.specific["id"].inner.weight.grad.any()


def test_one_behaviour_alone_is_read_as_both(world):
    data = world.replace(train=Interactions(world.train.user, world.train.item, timestamp=world.train.timestamp))
    model = build(data)
    history = model.histories(data, data.train).before(torch.tensor([0]), torch.tensor([9]))
    assert torch.equal(history["shallow"].items, history["deep"].items)
    assert torch.isfinite(scorer(model, Past(data.sealed(), data.train))(torch.tensor([0, 1]))).all()


def test_the_bias_is_added_to_the_score(world):
    model = build(world)
    score = scorer(model, Past(world.sealed(), world.train))
    users = torch.arange(5)
    before = score(users)
    with torch.no_grad():
        model.bias[3] += 2
    after = scorer(model, Past(world.sealed(), world.train))(users)
    np.testing.assert_allclose((after - before).numpy(), 2 * np.eye(world.num_items)[[3] * 5], atol=1e-5)


def test_rows_read_in_groups_are_answered_as_if_read_alone(world, monkeypatch):
    model = build(world)
    torch.nn.init.normal_(model.of_behavior["id"].network.output.weight, generator=repro.generator(0, "x"))
    history = one_batch(model, world).history
    with torch.no_grad():
        together = model.encode(history)
        monkeypatch.setattr("nbkit.models.m3bsr.ROWS", 1)
        torch.testing.assert_close(model.encode(history), together, atol=1e-5, rtol=1e-5)
        assert (together[1:] - together[:-1]).abs().amax(1).median() > 0.1  # there is an order to get wrong


def test_the_losses_of_the_denoisers_are_means_over_all_events_of_a_batch(world):
    model = build(world)
    batch = one_batch(model, world)
    for k, denoiser in enumerate([*model.of_modality.values(), *model.of_behavior.values()]):
        denoiser.loss = lambda h, mask, condition, valid, generator, k=k: k * mask.sum()
    parts = model.losses(batch)
    assert parts["modality"].item() == pytest.approx(0.1 * (0 + 1))
    assert parts["behavior"].item() == pytest.approx(0.1 * (2 + 3 + 4))


def test_a_trajectory_starts_as_noise_and_ends_in_the_last_prediction_of_what_the_ids_say(world):
    model = build(world)
    torch.nn.init.normal_(model.of_modality["text"].network.output.weight, generator=repro.generator(0, "x"))
    past = model.histories(world, world.train).before(torch.tensor([0, 1]), torch.tensor([10**9, 10**9]))

    def run(history, behavior="shallow"):
        return model.trajectory("text", history, repro.generator(3, "x"), behavior=behavior)

    way = run(past)
    width = past["shallow"].mask.shape[1]
    assert way.steps == (*range(20, 0, -1), 0)
    assert (way.states.shape, way.predicted.shape) == ((21, 2, width, 16), (20, 2, width, 16))
    torch.testing.assert_close(way.states[-1], way.predicted[-1])
    with torch.no_grad():
        x, places = model.lookup(past)
        h = model.embedded(x, places, None)
        process = model.of_modality["text"].process
        noise = torch.randn(h["shallow", "text"].shape, generator=repro.generator(3, "x"))
        torch.testing.assert_close(way.states[0], process.q_sample(h["shallow", "text"], 20, noise))
        seen = h["shallow", "id"], past["shallow"].mask
        eps = model.of_modality["text"].network(way.states[4], 16, seen[0], valid=seen[1])
        torch.testing.assert_close(way.predicted[4], process.predicted_x0("eps", eps, way.states[4], 16))
    assert run(past, "deep").states.shape[2] == past["deep"].mask.shape[1]
    with pytest.raises(UserError, match="m3bsr: no diffusion of 'texts'; did you mean 'text'"):
        model.trajectory("texts", past, repro.generator(3, "x"))
    with pytest.raises(UserError, match="behavior = 'deeps'; did you mean 'deep'"):
        run(past, "deeps")


def test_wrong_settings_are_one_line(world):
    with pytest.raises(UserError, match="start = 21; expected at most steps = 20"):
        build(world, start=21)
    with pytest.raises(UserError, match="heads = 3; expected a divisor of dim = 16"):
        build(world, heads=3)
