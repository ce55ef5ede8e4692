"""What DiffMM alone claims: its diffusion of interactions, the graphs rebuilt from it, what is contrasted with what."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.diffusion.schedules import linear_variance
from nbkit.errors import UserError
from nbkit.models.base import build_model
from nbkit.models.interaction_diffusion import with_first_beta
from nbkit.training.loop import TrainSettings, fit

MODALITIES = ("image", "text")


def build(data, **settings):
    return build_model("diffmm", data.sealed(), {"dim": 5, **settings}, repro.generator(0, "weights"))


def rebuilt(data, **settings):
    """A model whose modal graphs come from denoisers, untrained ones."""
    model = build(data, **settings)
    model.start_epoch(1, repro.generator(0, "training"))
    return model


def batch(data, size: int = 50) -> Batch:
    users, items = torch.from_numpy(data.train.pairs())[:size].T
    return Batch(users, items, (items + 1) % data.num_items, repro.generator(0, "training"))


def with_loops(pairs, num_users: int, num_items: int) -> torch.Tensor:
    """D^{-1/2} (A + 1) D^{-1/2} in full."""
    a = torch.eye(num_users + num_items)
    a[pairs[:, 0], num_users + pairs[:, 1]] = a[num_users + pairs[:, 1], pairs[:, 0]] = 1
    return a / (a.sum(1)[:, None] * a.sum(1)).sqrt()


def taken(data) -> torch.Tensor:
    x0 = torch.zeros(data.num_users, data.num_items)
    x0[tuple(data.train.pairs().T)] = 1
    return x0


def by_hand(model, data) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """E and V_m a modality at a time, with full matrices, from the edges that the model holds."""
    users, a = data.num_users, with_loops(data.train.pairs(), data.num_users, data.num_items)
    p, q = model.nodes[:users], model.nodes[users:]
    weights, base, views = model.fusion.exp() / model.fusion.exp().sum(), 0, {}
    for m, w, edges in zip(MODALITIES, weights, model.edges, strict=True):
        x = F.leaky_relu(torch.tensor(data.features[m]) @ model.content[m].project.weight.T, 0.2)
        table = torch.cat([p, x / x.norm(dim=1, keepdim=True)])
        pairs = torch.tensor([[u, i] for u, items in enumerate(edges.tolist()) for i in items])
        modal = with_loops(pairs, users, data.num_items)
        first = a @ table
        base = base + w * (first + a @ torch.cat([first[:users], q]) + 0.2 * modal @ model.nodes)
        views[m] = modal @ table + a @ modal @ table
    return base + a @ base + 0.5 * base / base.norm(dim=1, keepdim=True), views


@pytest.mark.parametrize("top", [1, 3])
def test_vectors_are_the_equations_in_full_matrices_a_modality_at_a_time(top, world):
    model = rebuilt(world, top=top)
    with torch.no_grad():
        model.fusion.copy_(torch.tensor([0.3, -0.4]))
    torch.testing.assert_close(torch.cat(model.embeddings()), by_hand(model, world)[0])


@pytest.mark.parametrize("contrast_with", ["views", "main"])
@pytest.mark.parametrize("contrast_over", ["all", "batch"])
def test_views_are_told_apart_from_all_nodes_or_from_those_of_the_batch(contrast_with, contrast_over, world):
    model = rebuilt(world, contrast_with=contrast_with, contrast_over=contrast_over, contrast=0.3, temperature=0.4)
    triples, users = batch(world), world.num_users
    main, views = by_hand(model, world)
    image, text = views.values()
    expected = torch.zeros(())
    for first, second in [(image, text)] if contrast_with == "views" else [(main, image), (main, text)]:
        for nodes, a, b in zip((triples.users, triples.positives), first.split([users, world.num_items]),
                               second.split([users, world.num_items]), strict=True):  # fmt: skip
            cosine = F.cosine_similarity(a[:, None], b[None], dim=2) / 0.4
            if contrast_over == "batch":
                nodes = nodes.unique()
                cosine, nodes = cosine[nodes][:, nodes], torch.arange(len(nodes))
            expected = expected - cosine.log_softmax(1)[nodes, nodes].mean()
    torch.testing.assert_close(model.losses(triples)["contrast"], 0.3 * expected)


def test_the_schedule_is_the_published_one_with_its_first_beta_set():
    line = np.linspace(1e-5, 2e-3, 5)
    betas = np.concatenate([[1e-4], 1 - (1 - line[1:]) / (1 - line[:-1])])
    schedule = linear_variance(5, scale=0.1, gamma_min=1e-4, gamma_max=0.02)
    got = with_first_beta(schedule, 1e-4)
    np.testing.assert_allclose(got.sigma[1:].numpy() ** 2, 1 - np.cumprod(1 - betas), rtol=1e-5)
    assert with_first_beta(schedule, 0.0) is schedule


def test_the_hidden_layer_led_back_gives_the_items_that_the_whole_vector_led_back_gives(world):
    model = build(world, noise_scale=0.9, gamma_max=0.9, steps=4)  # so noisy that every step counts
    net, process = model.diffusion.denoisers["text"], model.diffusion.process
    x, users = taken(world), torch.arange(world.num_users)
    with torch.no_grad():
        for t in (4, 3, 2, 1):
            x = process.posterior(net(x, t), x, t)[0]
    gaps = x.sort(dim=1, descending=True).values[:, :4].diff().abs().min()
    assert gaps > 1e-5  # no ties for rounding to decide
    assert torch.equal(model.diffusion.rebuilt("text", 3), x.topk(3, dim=1).indices)
    path = model.trajectory("text", users[:7])
    assert path.steps == (4, 3, 2, 1, 0)
    assert torch.equal(path.states[0], taken(world)[:7])
    torch.testing.assert_close(path.states[-1], x[:7])
    with pytest.raises(UserError, match="did you mean 'text'"):
        model.trajectory("texts", users)


def test_chunks_of_users_give_what_all_of_them_at_once_give(world, monkeypatch):
    model = build(world)
    whole = model.diffusion.rebuilt("image", 2)
    monkeypatch.setattr("nbkit.models.interaction_diffusion.ROWS", 7)
    assert torch.equal(model.diffusion.rebuilt("image", 2), whole)


def test_the_diffusion_loss_is_the_bound_and_the_injected_signal_of_users_drawn_without_repetition(world):
    model, users = build(world, signal=0.7), world.num_users
    triples = batch(world, len(world.train))  # all pairs at once: every user is seen once
    parts = model.losses(triples)
    generator, process = repro.generator(0, "training"), model.diffusion.process
    order = torch.randperm(users, generator=generator)
    assert sorted(order.tolist()) == list(range(users))
    x0, projected = taken(world)[order], model.projected()
    for m in MODALITIES:
        t = process.draw_steps(generator, users)
        x_t = process.signal[t, None] * x0 + process.sigma[t, None] * torch.randn(x0.shape, generator=generator)
        shown = torch.empty_like(x_t).bernoulli_(0.5, generator=generator)
        answer = model.diffusion.denoisers[m](x_t * shown * 2, t)
        snr = process.alpha_bar / process.sigma.square()  # 1 - ᾱ with all its digits
        weight = torch.where(t == 1, 1.0, snr[t - 1] - snr[t])
        torch.testing.assert_close(parts[f"denoise_{m}"], (weight * (answer - x0).square().mean(1)).mean())
        injected = (answer @ projected[m] - x0 @ model.nodes[users:]).square().mean()
        torch.testing.assert_close(parts[f"signal_{m}"], 0.7 * injected)


def test_the_diffusion_loss_moves_the_denoisers_alone_and_nothing_else_moves_them(world):
    model = rebuilt(world)
    parts = model.losses(batch(world))
    of_diffusion = {name for name in parts if name.startswith(("denoise", "signal"))}
    assert of_diffusion == {"denoise_image", "denoise_text", "signal_image", "signal_text"}
    for names, expected in ((of_diffusion, True), (set(parts) - of_diffusion, False)):
        model.zero_grad()
        torch.stack([parts[name] for name in names]).sum().backward()
        for name, parameter in model.named_parameters():
            moved = parameter.grad is not None and bool(parameter.grad.any())
            assert moved == (name.startswith("diffusion.") == expected), name


def test_the_first_epoch_has_self_loops_alone_and_the_next_what_the_denoisers_rebuild(world):
    model, generator = build(world), repro.generator(0, "training")
    model.start_epoch(0, generator)
    assert (model.edges == -1).all()
    assert torch.equal(model.modal["text"].dense(), torch.eye(world.num_users + world.num_items))
    model.start_epoch(1, generator)
    for m, edges in zip(MODALITIES, model.edges, strict=True):
        pairs = torch.stack([torch.arange(world.num_users), edges[:, 0]], dim=1)
        torch.testing.assert_close(model.modal[m].dense(), with_loops(pairs, world.num_users, world.num_items))


def test_trained_denoisers_rebuild_what_a_user_likes_and_never_see_anything_held_out(world):
    model = build(world)
    fit(model, world, TrainSettings(epochs=30, batch_size=64, lr=0.005), seed=0)
    group = torch.arange(world.num_users)[:, None] % 4
    assert ((model.edges[..., 0] % 4) == group.T).float().mean() > 0.9
    assert torch.equal(model.diffusion.interactions(torch.arange(world.num_users)), taken(world))


def test_dropout_leaves_out_modal_entries_in_training_keeps_their_mean_and_evaluates_on_all(world):
    model, generator = rebuilt(world, edge_dropout=0.5), repro.generator(1, "training")
    full, before, total = model.modal["image"].dense(), model.embeddings()[0], 0.0
    for _ in range(200):
        model.start_epoch(1, generator)
        drawn = model.sampled["image"].dense()
        assert ((drawn == 0) | torch.isclose(drawn, 2 * full)).all()
        total = total + drawn / 200
    assert (total - full).abs().max() < 5 * full.max() / math.sqrt(200)
    assert torch.equal(before, model.embeddings()[0])


def test_without_modal_graphs_there_is_no_denoiser(world):
    model = build(world, modal=0.0, contrast=0.0)
    assert set(model.losses(batch(world))) == {"bpr", "reg"}
    assert not [name for name, _ in model.named_parameters() if name.startswith("diffusion")]
    model.start_epoch(1, repro.generator(0, "training"))
    assert model.embeddings()[0].isfinite().all()
