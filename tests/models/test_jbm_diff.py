"""What the reconstruction of JBM-Diff claims: formulas by hand, a switch changes its part, noise is believed less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit import repro
from nbkit.data.corrupt import corrupt
from nbkit.data.dataset import Interactions
from nbkit.data.sampling import Batch, TripleSampler
from nbkit.errors import UserError
from nbkit.evaluation import recovery
from nbkit.graphs import SparseGraph, neighbour_graph, user_item_graph
from nbkit.models.base import build_model
from nbkit.models.chains import Chains
from nbkit.models.credibility import Teacher, leave_one_out, order_belief, partial_order
from nbkit.models.layers import info_nce, linear_cka
from nbkit.models.multi_view import Fusion, MultiView
from nbkit.training.loop import TrainSettings, fit, make_optimizer, train_epoch

WORDS = ("image", "text")


def build(data, seed=0, **values):
    return build_model("jbm_diff", data.sealed(), {"dim": 16, **values}, repro.generator(seed, "weights"))


def generator(seed=0):
    return repro.generator(seed, "training")


def batch(data, size=64):
    pairs = torch.from_numpy(data.train.pairs())
    return next(TripleSampler(pairs, data.num_users, data.num_items).epoch(size, generator()))


def doubtful(some):
    """The same batch with every fourth pair the wrong way round, so that there is something to doubt."""
    turned = torch.arange(len(some.users)) % 4 == 0
    first = torch.where(turned, some.negatives, some.positives)
    return replace(some, positives=first, negatives=torch.where(turned, some.positives, some.negatives))


def trained(data, epochs=3, **values):
    model = build(data, **values)
    fit(model, data, TrainSettings(epochs=epochs, batch_size=64, lr=0.01), seed=0, device="cpu")
    return model


# The denoiser


def test_every_weight_of_every_denoiser_is_optimised_and_receives_gradient(world):
    model = build(world, condition_dropout=0.5)
    optimised = {id(p) for group in make_optimizer(model, TrainSettings()).param_groups for p in group["params"]}
    pairs = torch.from_numpy(world.train.pairs())
    batches = TripleSampler(pairs, world.num_users, world.num_items).epoch(64, generator())
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train_epoch(model, batches, make_optimizer(model, TrainSettings()), loss_scale={})
    for view in model.modality:
        assert "null" in dict(view.denoiser.named_parameters())
    for name, weight in model.named_parameters():
        assert id(weight) in optimised, name
        assert not torch.equal(weight, before[name]), name


def test_the_diffusion_loss_trains_the_denoiser_alone(world):
    model = trained(world, epochs=1)
    view, condition = model.modality[0], model.condition(model.views().z)
    model.zero_grad()
    for dropout in (0.0, 1.0):
        view.loss(view.projected(), condition, dropout, generator()).backward()
    moved = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert moved == {f"modality.0.denoiser.{name}" for name, _ in view.denoiser.named_parameters()}


def test_the_diffusion_loss_by_hand_with_and_without_the_condition(world):
    model = trained(world, epochs=1)
    view, condition = model.modality[0], model.condition(model.views().z)
    x = view.projected().detach()
    for dropout, c in ((0.0, condition), (1.0, None)):
        draws = generator(7)
        t = torch.randint(1, 11, (), generator=draws)
        torch.rand(len(x), generator=draws)  # whose condition is dropped
        noise = torch.randn(x.shape, generator=draws)
        variance = 0.01 + (t - 1) / 9 * 0.49
        x_t = (1 - variance).sqrt() * x + variance.sqrt() * noise
        expected = (view.denoiser(x_t, t, c) - x).square().mean()
        torch.testing.assert_close(view.loss(x, condition, dropout, generator(7)), expected)


def test_the_denoised_feature_takes_the_same_path_in_training_and_evaluation(world):
    model = trained(world)
    first = model.train().views()
    again = model.eval().views()
    for one, other in zip(first.denoised, again.denoised, strict=True):
        assert torch.equal(one, other)
    view, condition = model.modality[0], model.condition(first.z)
    x = view.projected()
    middle = float(torch.sqrt(torch.tensor(1 - (0.01 + 4 / 9 * 0.49))))  # √ᾱ at T' = 5 of 10
    torch.testing.assert_close(first.denoised[0], view.denoiser(middle * x, 5, condition))
    eta = torch.sigmoid(view.mixing)
    torch.testing.assert_close(view(condition)[2], (1 - eta) * x + eta * first.denoised[0])


def test_without_eta_features_stay_undenoised_exactly_and_the_ranking_differs(world):
    plain, full = build(world, eta=0), build(world)
    x, x_hat, mixed = plain.modality[0](plain.condition(plain.views().z))
    assert torch.equal(x, x_hat)
    assert torch.equal(x, mixed)
    assert not any("denoiser" in name or "mixing" in name for name, _ in plain.named_parameters())
    full.load_state_dict(plain.state_dict(), strict=False)  # the same weights but for the denoiser
    assert torch.equal(plain.modality[0].projected(), full.modality[0].projected())
    users = torch.arange(world.num_users)
    assert not torch.equal(plain.score(users).argsort(1), full.score(users).argsort(1))
    with pytest.raises(UserError, match="eta = 0 leaves diffusion out"):
        plain.trajectory("text", generator())


def test_an_unconditional_denoiser_ignores_the_condition_and_others_heed_it(world):
    for kind in ("none", "gate", "film", "concat", "cross_attention"):
        model = trained(world, epochs=2, conditioning=kind)
        view = model.modality[0]
        one, other = (view(torch.randn(world.num_items, 16, generator=generator(n)))[1] for n in range(2))
        assert torch.equal(one, other) == (kind == "none"), kind


def test_no_graph_step_lets_no_neighbour_in(world):
    for graph_step in (True, False):
        model = trained(world, epochs=2, graph_step=graph_step)
        view = model.modality[0]
        condition = torch.zeros(world.num_items, 16)
        x = view.projected().detach().requires_grad_()
        view.denoised(x, condition)[3].sum().backward()
        touched = x.grad.abs().sum(1).nonzero().flatten().tolist()
        assert (touched == [3]) == (not graph_step)


def test_guidance_leads_away_from_the_unconditional_answer(world):
    model = trained(world)
    view, condition = model.modality[0], model.condition(model.views().z)
    x_t = view.projected() * 0.9
    view.guidance_scale = 2.0
    expected = 3 * view.denoiser(x_t, 5, condition) - 2 * view.denoiser(x_t, 5, None)
    torch.testing.assert_close(view.predict(x_t, 5, condition), expected)


def test_several_reverse_steps_end_near_the_data_and_pass_gradient_through_the_last(world):
    model = trained(world, epochs=2, reverse_steps=3)
    view, condition = model.modality[0], model.condition(model.views().z)
    assert view.chosen == (5, 4, 2)
    x = view.projected().detach().requires_grad_()
    assert not view.denoised(x, condition).isnan().any()
    assert view.denoised(x, condition).requires_grad  # by the denoiser's weights
    assert torch.autograd.grad(view.denoised(x, condition).sum(), x, allow_unused=True)[0] is None


def test_the_trajectory_begins_as_noise_and_ends_at_the_last_prediction(world):
    model = trained(world, epochs=20, diffusion_weight=1.0)
    way = model.trajectory("text", generator())
    assert way.steps == (*range(10, 0, -1), 0)
    assert way.states.shape == (11, world.num_items, 16)
    assert torch.equal(way.states[-1], way.predicted[-1])
    x = model.modality[1].projected()
    assert F.mse_loss(way.states[-1], x) < 0.5 * F.mse_loss(way.states[0], x)
    assert torch.equal(way.states, model.trajectory("text", generator()).states)
    with pytest.raises(UserError, match="did you mean 'text'"):
        model.trajectory("texts", generator())


# Views


def four_nodes():
    """Two users, two items: user 0 has both, user 1 the second."""
    pairs = torch.tensor([[0, 0], [0, 1], [1, 1]])
    history = SparseGraph(pairs[:, 0], pairs[:, 1], torch.tensor([0.5, 0.5, 1.0]), (2, 2))
    return pairs, user_item_graph(pairs, 2, 2), history


def test_views_by_hand_on_four_nodes():
    _, graph, history = four_nodes()
    swap = neighbour_graph(torch.tensor([[1], [0]]))  # each item's neighbour is the other
    x, ids = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[4.0, 1.0], [2.0, -1.0]])
    gate = torch.sigmoid(torch.tensor([[2.5, -1.0], [0.5, 2.0]]))  # of W x + b
    for carry, expected in (
        ("features", [[0.0, 3.0], [2.0, 0.0]]),
        ("ids", [[2 * gate[1, 0], -gate[1, 1]], [4 * gate[0, 0], gate[0, 1]]]),
    ):
        views = MultiView(graph, history, [swap], 2, generator(), carry=carry)
        with torch.no_grad():
            views.maps[0].weight.copy_(torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
            if carry == "ids":
                views.maps[0].bias.copy_(torch.tensor([0.5, -1.0]))
        (h,) = views.items([x], ids)
        torch.testing.assert_close(h, torch.tensor(expected))
        nodes = torch.cat([torch.stack([h.mean(0), h[1]]), h])
        side = (nodes + graph.dense() @ nodes) / 2 / 2
        torch.testing.assert_close(views([h], torch.zeros(4, 2)), side)
        some = torch.tensor([3, 0])
        torch.testing.assert_close(views([h], torch.zeros(4, 2), some), side[some])


def test_fusion_by_hand():
    fusion = Fusion(2, 1, generator())
    with torch.no_grad():
        for weight, value in ((fusion.ask.weight, 1.0), (fusion.query.weight, 2.0)):
            weight.fill_(value)
        for gate, value in zip(fusion.gates, (0.5, -1.0), strict=True):
            gate.weight.fill_(value)
    y, z = torch.tensor([[[0.3]], [[-0.6]]]), torch.tensor([[1.5]])
    share = torch.softmax(torch.tensor([2 * np.tanh(0.3), 2 * np.tanh(-0.6)]), 0)
    centre = share[0] * 0.3 - share[1] * 0.6
    gates = torch.sigmoid(torch.tensor([0.75, -1.5]))
    expected = (centre + gates[0] * (0.3 - centre) + gates[1] * (-0.6 - centre)) / 3
    torch.testing.assert_close(fusion(y, z).squeeze().double(), expected.double())


def test_info_nce_and_cka_equal_their_definitions():
    a, b = (torch.randn(9, 4, generator=generator(n)) for n in range(2))
    logits = F.cosine_similarity(a[:, None], b[None], dim=2) / 0.2
    torch.testing.assert_close(info_nce(a, b, 0.2), -(logits.diagonal() - logits.logsumexp(1)).mean())
    assert linear_cka(a, b).item() == pytest.approx(recovery.linear_cka(a.numpy(), b.numpy()).mean(), rel=1e-5)
    assert linear_cka(a, torch.ones(9, 2)) == 0


# Credibility


def test_leave_one_out_profile_by_hand_on_four_nodes():
    pairs, _, history = four_nodes()
    h = torch.tensor([[1.0, 5.0], [3.0, -1.0]])
    users, items = pairs.unbind(1)
    profile = leave_one_out(history(h)[users], h[items], torch.tensor([2, 1])[users])
    # User 0 without item 0 is item 1, and the other way round; user 1 without item 1 is nothing.
    torch.testing.assert_close(profile, torch.stack([h[1], h[0], torch.zeros(2)]))
    # What rounding leaves of it is no profile either.
    assert not leave_one_out(h[1:] * (1 + 1e-6), h[1:], torch.tensor([1])).any()


@given(st.integers(0, 1_000), st.integers(2, 6))
@settings(deadline=None, max_examples=20)
def test_leave_one_out_equals_the_mean_over_the_others(seed, count):
    rows = torch.randn(count, 3, generator=generator(seed))
    profile = leave_one_out(rows.mean(0, keepdim=True), rows[:1], torch.tensor([count]))
    torch.testing.assert_close(profile[0], rows[1:].mean(0), atol=1e-5, rtol=1e-5)


def test_credibility_by_hand():
    modal = torch.tensor([[2.0, -2.0, 0.0, 0.0], [1.0, -1.0, 3.0, -3.0]])
    behaviour = torch.tensor([1.0, -1.0, 1.0, -1.0])
    order = partial_order(modal, behaviour, spread=2.0, margin=0.1)
    o = torch.sigmoid(torch.stack([modal[0] / 2**0.5, modal[1] / 5**0.5]))  # deviations √2 and √5
    mean, variance = o.mean(0), (o[0] - o[1]) ** 2 / 4
    belief = mean * torch.exp(-2 * variance)
    torch.testing.assert_close(order.consistency, mean)
    torch.testing.assert_close(order.belief, belief)
    torch.testing.assert_close(order.weight, (belief / belief.mean()).clamp(0.2, 2))
    # Only the second is doubted by both modalities and behaviour; the fourth has one modality at ½.
    expected = torch.tensor([0, (1 - mean[1]) * torch.exp(-2 * variance[1]), 0, 0])
    torch.testing.assert_close(order.reversal, expected)
    assert not partial_order(modal, -behaviour).reversal.any()
    assert not partial_order(modal, behaviour, margin=0.49).reversal.any()


def test_weights_stay_within_their_bounds_and_equal_pairs_are_half_believed():
    modal = torch.tensor([[40.0] + [-1.0] * 40])
    weight = partial_order(modal, torch.zeros(41)).weight
    assert weight.max() == 2.0
    assert partial_order(-modal, torch.zeros(41)).weight.min() == pytest.approx(0.2)
    assert torch.equal(order_belief(torch.full((3,), 7.0)), torch.full((3,), 0.5))


def test_the_teacher_judges_both_items_by_one_profile_without_the_observed_one():
    _, _, history = four_nodes()
    h = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    z = torch.tensor([[1.0, 2.0], [0.5, 0.0], [3.0, 0.0], [0.0, 1.0]])
    teacher = Teacher(torch.tensor([2, 1]), 4, 1, 2, ema=0.5, spread=0.0)
    teacher.follow(z, [torch.cat([history(h), h])], first=True)
    users, first, second = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1, 0, 0])
    # cos(h_1, h_0) - cos(h_1, h_1), the same with 0 and 1 exchanged, and nothing where item 1 was the only one.
    expected = order_belief(torch.tensor([0.6 - 1, 0.6 - 1, 0.0]))
    torch.testing.assert_close(teacher.judge(users, first, second).consistency, expected)
    leaking = Teacher(torch.tensor([2, 1]), 4, 1, 2, ema=0.5, spread=0.0, leave_one_out=False)
    leaking.load_state_dict(teacher.state_dict())
    assert leaking.judge(users, first, second).consistency[2] > 0.5  # judged by itself it is always believed
    unobserved = teacher.judge(users, first, second, observed=False).consistency
    torch.testing.assert_close(unobserved, leaking.judge(users, first, second).consistency)


def test_the_teacher_is_the_average_over_epochs_by_hand(world):
    model = build(world, ema=0.75, chain=0.0)
    model.start_epoch(0, generator())
    first = model.views()
    torch.testing.assert_close(model.teacher.tables[0], first.z)
    torch.testing.assert_close(model.teacher.tables[2, world.num_users :], first.judged[1])
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    model.start_epoch(1, generator())
    second = model.views()
    torch.testing.assert_close(model.teacher.tables[0], 0.75 * first.z + 0.25 * second.z)
    mean = 0.75 * first.judged[1] + 0.25 * second.judged[1]
    torch.testing.assert_close(model.teacher.tables[2, world.num_users :], mean)
    own = torch.from_numpy(world.train.item[world.train.user == 7])
    torch.testing.assert_close(model.teacher.tables[2, 7], mean[own].mean(0))
    assert not any(name.startswith("teacher") for name, _ in model.named_parameters())


def test_warm_up_keeps_all_weights_at_one(world):
    some = batch(world)
    model = build(world, warmup=2, chain_modal_top=0.5, chain_behaviour_top=0.5)
    plain = build(world, weighting=False, reversal=0, chain=0)
    for epoch in range(4):
        for one in (model, plain):
            one.start_epoch(epoch, generator(epoch))
        parts, expected = model.losses(some), plain.losses(some)
        assert torch.equal(parts["bpr"], expected["bpr"]) == (epoch < 2)
        assert (parts["chain"] == 0) == (epoch < 2)
        assert ("belief" in model.diagnostics()) == (epoch >= 2)


def test_the_weighted_loss_is_its_formula(world):
    some, model = doubtful(batch(world)), trained(world, epochs=2, warmup=0)
    model.start_epoch(1, generator())
    users, items = model.embeddings()
    gap = (users[some.users] * (items[some.positives] - items[some.negatives])).sum(1)
    order = model.teacher.judge(some.users, some.positives, some.negatives)
    assert order.reversal.any()
    parts = model.losses(some)
    torch.testing.assert_close(parts["bpr"], -(order.weight * F.logsigmoid(gap)).mean())
    torch.testing.assert_close(parts["reversal"], -0.1 * (order.reversal * F.logsigmoid(-gap)).mean())
    assert torch.equal(model.credibility(some.users, some.positives, some.negatives), order.weight)


def test_guidance_asks_that_a_users_other_items_point_to_each_as_far_as_it_is_believed(world):
    some, model = doubtful(batch(world)), trained(world, epochs=2, warmup=0)
    model.start_epoch(1, generator())
    weight = model.teacher.judge(some.users, some.positives, some.negatives).weight
    x_hat = model.views().denoised[0]
    own = [torch.from_numpy(world.train.item[world.train.user == u]) for u in range(world.num_users)]
    losses = []
    for user, i, j in zip(some.users.tolist(), some.positives.tolist(), some.negatives.tolist(), strict=True):
        count = len(own[user])
        others = (x_hat[own[user]].sum(0) - x_hat[i]) / (
            count - 1
        )  # also of a pair turned round: i is taken for its own
        losses.append(-F.logsigmoid(others @ (x_hat[i] - x_hat[j])))
    expected = 0.5 * (weight * torch.stack(losses)).mean()
    torch.testing.assert_close(model.losses(some)["guidance_image"], expected)


# Switches

GUIDED = {f"guidance_{m}" for m in WORDS}
PARTS = {"bpr", "reversal", "chain", "align", "reg"} | GUIDED | {f"diffusion_{m}" for m in WORDS}
SWITCHES = [
    ({}, set()),
    ({"eta": 0}, {f"{p}_{m}" for p in ("diffusion", "guidance") for m in WORDS}),
    ({"guidance_weight": 0}, {"guidance_image", "guidance_text"}),
    ({"diffusion_weight": 0}, {"diffusion_image", "diffusion_text"}),
    ({"align_weight": 0}, {"align"}),
    ({"reversal": 0}, {"reversal"}),
    ({"chain": 0}, {"chain"}),
]


@pytest.mark.parametrize(("switch", "gone"), SWITCHES, ids=[",".join(s) or "full" for s, _ in SWITCHES])
def test_a_switch_leaves_out_its_part_and_no_other(world, switch, gone):
    assert set(build(world, **switch).losses(batch(world))) == PARTS - gone


# Which parts of the loss may change, at equal weights, for one setting changed; the rest is equal to the last bit.
CHANGES = [
    ({"weighting": False}, {"bpr", *GUIDED}),
    ({"spread": 0.0}, {"bpr", "reversal", *GUIDED}),
    ({"margin": 0.4}, {"reversal"}),
    ({"condition_dropout": 1.0}, {"diffusion_image", "diffusion_text"}),
    ({"min_snr": True}, {"diffusion_image", "diffusion_text"}),
    ({"temperature": 0.5}, {"align"}),
    ({"leave_one_out": False}, {"bpr", "reversal", *GUIDED}),
    ({"chain_modal_top": 0.0}, {"chain"}),
]


@pytest.mark.parametrize(("switch", "changed"), CHANGES, ids=[next(iter(s)) for s, _ in CHANGES])
def test_a_switch_changes_its_part_and_no_other(world, switch, changed):
    quick = {"warmup": 0, "condition_dropout": 0.0}
    quick |= {"chain_modal_top": 0.3, "chain_behaviour_top": 0.3, "chain_share": 0.5}
    reference = trained(world, epochs=2, **quick)
    parts = []
    for values in ({}, switch):
        model = build(world, **{**quick, **values})
        model.load_state_dict(reference.state_dict())
        model.start_epoch(5, generator())
        parts.append(model.losses(replace(doubtful(batch(world)), generator=generator(3))))
    differ = {name for name in PARTS if not torch.equal(parts[0][name], parts[1][name])}
    assert differ == changed


def test_fusion_by_concatenation_uses_no_item_graph(world):
    model = build(world, multi_view=False)
    views = model.views()
    mixed = [view(model.condition(views.z))[2] for view in model.modality]
    side = model.side.project(torch.cat(mixed, dim=1))
    torch.testing.assert_close(views.side[world.num_users :], side)
    torch.testing.assert_close(views.vectors, views.z + views.side)


def test_the_side_counts_by_its_weight_in_training_and_in_ranking(world):
    one, three, some = build(world, reg=0.0), build(world, reg=0.0, side_weight=3.0), batch(world)
    views = one.views()
    vectors = views.z + 3 * views.side
    torch.testing.assert_close(torch.cat(three.embeddings()), vectors)
    user, i, j = (vectors[r] for r in (some.users, some.positives + world.num_users, some.negatives + world.num_users))
    margin = (user * (i - j)).sum(1)
    torch.testing.assert_close(three.losses(some)["bpr"], F.softplus(-margin).mean())


def test_pairs_are_judged_by_denoised_features_or_by_what_is_made_of_them(world):
    for judge_by in ("denoised", "mixed", "propagated"):
        model = build(world, judge_by=judge_by)
        views = model.views()
        with torch.no_grad():
            _, denoised, mixed = zip(*(view(model.condition(views.z)) for view in model.modality), strict=True)
            carried = model.side.items(mixed, model.nodes[world.num_users :])
        expected = {"denoised": denoised, "mixed": mixed, "propagated": carried}[judge_by]
        torch.testing.assert_close(views.judged, list(expected))


def test_features_alone_carry_no_identities(world):
    for carry in ("ids", "features"):
        model = build(world, carry=carry)
        carried = model.features(model.views().z).carried[0]
        (moved,) = torch.autograd.grad(carried.sum(), model.nodes, allow_unused=True)
        assert (moved is not None) == (carry == "ids")


def test_the_constants_of_the_literature_are_a_setting(world):
    model = build(world, steps=5, noise_scale=0.1, noise_min=1e-4, noise_max=0.02)
    assert float(model.modality[0].process.sigma[-1]) == pytest.approx(0.002**0.5)
    with pytest.raises(UserError, match="expected variances that rise strictly"):
        build(world, noise_min=0.5, noise_max=0.1)


def test_diagnostics_reach_the_history(world):
    model = build(world, warmup=1)
    history = fit(model, world, TrainSettings(epochs=3, batch_size=64, lr=0.01), seed=0, device="cpu").history
    always = {f"diagnostic_{n}_{m}" for n in ("eta", "cka_raw", "cka_ids") for m in WORDS}
    later = {"diagnostic_belief", "diagnostic_reversed"}
    rows = [{k for k in row if k.startswith("diagnostic_")} for row in history]
    assert rows == [always, always | later, always | later]
    views = model.views()
    expected = linear_cka(views.denoised[1], views.z[world.num_users :])
    assert history[-1]["diagnostic_cka_ids_text"] == pytest.approx(expected.item())
    assert 0 < history[-1]["diagnostic_belief"] < 1


# Chains


def chain_items(chains):
    """The items found for each user."""
    start, found = (chains.room.cumsum(0) - chains.room).tolist(), chains.found.tolist()
    return [set(chains.items[s : s + n].tolist()) for s, n in zip(start, found, strict=True)]


def search(data, modal_top=1.0, behaviour_top=1.0, share=10.0, seed=0):
    """Chains over random vectors, with every candidate's ranks computed the plain way beside them."""
    draw = generator(seed)
    pairs = torch.from_numpy(data.train.pairs())
    near = torch.stack([torch.randperm(data.num_items, generator=draw)[:4] for _ in range(data.num_items)])
    chains = Chains(pairs, near, data.num_users, share=share, modal_top=modal_top, behaviour_top=behaviour_top)
    vectors = [
        (torch.randn(data.num_users, 5, generator=draw), torch.randn(data.num_items, 5, generator=draw))
        for _ in range(3)
    ]
    chains.search(vectors[:2], vectors[2], draw)
    expected = []
    for user in range(data.num_users):
        own = set(pairs[pairs[:, 0] == user, 1].tolist())
        free = [item for item in range(data.num_items) if item not in own]
        candidates = {int(n) for item in own for n in near[item]} - own
        ranks = {}
        for item in candidates:
            scores = [u[user] @ i.T for u, i in vectors]
            ranks[item] = [sum(float(s[f]) > float(s[item]) for f in free) / data.num_items for s in scores]
        kept = {n: (r[0] + r[1]) / 4 + r[2] / 2 for n, r in ranks.items() if max(r[:2]) <= modal_top}
        expected.append({n: rank for n, rank in kept.items() if ranks[n][2] <= behaviour_top})
    return chains, expected


def test_chain_items_are_exactly_the_unobserved_neighbours_within_the_quantiles(world):
    for tops in ((1.0, 1.0), (0.4, 1.0), (1.0, 0.3), (0.35, 0.35)):
        chains, expected = search(world, *tops)
        assert chain_items(chains) == [set(some) for some in expected]
        assert any(map(len, expected))


def test_a_user_gets_the_best_of_them_up_to_a_share_of_its_pairs(world):
    chains, expected = search(world, share=0.34)  # ⌈.34 · 6⌉ = 3
    for found, ranks in zip(chain_items(chains), expected, strict=True):
        best = sorted(ranks.values())[: min(3, len(ranks))]
        assert sorted(ranks[item] for item in found) == pytest.approx(best)


def test_more_users_than_are_searched_at_a_time_are_all_searched(world, monkeypatch):
    whole, _ = search(world, 0.4, 0.6)
    monkeypatch.setattr("nbkit.models.chains._USERS", 7)
    parts, _ = search(world, 0.4, 0.6)
    assert torch.equal(whole.items, parts.items)
    assert torch.equal(whole.found, parts.found)


def test_drawn_chain_items_are_the_users_own_and_strangers_have_none(world):
    stranger = world.num_users - 1
    data = world.replace(train=world.train.take(world.train.user != stranger))
    chains, _ = search(data, 0.5, 0.5)
    users = torch.arange(world.num_users).repeat(200)
    items, given = chains.draw(users, generator())
    drawn = {(u, i) for u, i, g in zip(users.tolist(), items.tolist(), given.tolist(), strict=True) if g}
    assert drawn == {(user, item) for user, found in enumerate(chain_items(chains)) for item in found}
    assert not given[users == stranger].any()


def test_held_out_pairs_change_nothing_of_the_augmentation(world):
    other = world.replace(
        valid=world.valid.take(np.arange(3)), test=Interactions(*world.test.open("rewrite").pairs().T)
    )
    models = [trained(data, warmup=0, chain_modal_top=0.3, chain_behaviour_top=0.5) for data in (world, other)]
    assert torch.equal(models[0].chains.items, models[1].chains.items)
    assert models[0].chains.found.sum() > 0
    observed = {tuple(pair) for pair in world.train.pairs().tolist()}
    for user, found in enumerate(chain_items(models[0].chains)):
        assert not {(user, item) for item in found} & observed


def test_chains_are_searched_after_warm_up_and_then_every_few_epochs(world):
    model, searched = build(world, warmup=3, chain_every=2), []
    model.chains.search = lambda *arguments: searched.append(model.epoch)
    for epoch in range(9):
        model.start_epoch(epoch, generator())
    assert searched == [3, 5, 7]


def test_a_chain_puts_the_item_above_the_sampled_one_as_far_as_believed(world):
    model = trained(world, epochs=2, warmup=0, chain_modal_top=0.5, chain_behaviour_top=0.5)
    model.start_epoch(5, generator())
    some = batch(world)
    items, given = model.chains.draw(some.users, generator(4))
    given = given & (items != some.negatives)
    assert given.any()
    users, vectors = model.embeddings()
    gap = (users[some.users] * (vectors[items] - vectors[some.negatives])).sum(1)
    believed = model.teacher.judge(some.users, items, some.negatives, observed=False).consistency
    expected = -0.3 * (given * believed * F.logsigmoid(gap)).mean()
    again = Batch(some.users, some.positives, some.negatives, generator(4))
    torch.testing.assert_close(model.losses(again)["chain"], expected)


# What it is for


def test_injected_pairs_are_believed_less_than_genuine_ones(world):
    data, truth = corrupt(world, "add_random_edges", 0.2)
    model = build(data)
    fit(model, data, TrainSettings(epochs=12, batch_size=64, lr=0.01), seed=0, device="cpu")
    pairs = torch.from_numpy(data.train.pairs())
    sampler = TripleSampler(pairs, data.num_users, data.num_items)
    draws = [
        model.credibility(pairs[:, 0], pairs[:, 1], sampler.negatives(pairs[:, 0], generator(n))) for n in range(5)
    ]
    credibility = torch.stack(draws).mean(0).numpy()
    noisy = np.isin(data.train.pairs() @ [99, 1], truth.noisy_pairs @ [99, 1])
    auc = recovery.noise_auc(credibility, noisy, data.train.pairs()[:, 0]).mean()
    assert auc > 0.8
    assert credibility[noisy].mean() < credibility[~noisy].mean() - 0.2


def test_edges_are_left_out_of_z_in_training_alone_and_drawn_anew_each_epoch(world):
    model, drawn, edges = build(world, edge_dropout=0.5, side_weight=0.0), generator(), []
    ranked = model.embeddings()
    for epoch in range(2):
        model.start_epoch(epoch, drawn)
        edges.append(model.sampled.indices.tolist())
        assert len(edges[-1]) == 2 * (len(world.train) // 2)
    assert edges[0] != edges[1]
    assert all(torch.equal(a, b) for a, b in zip(ranked, model.embeddings(), strict=True))
    some = batch(world)
    users, items = model.sampled.propagate(model.nodes, model.layers).tensor_split([world.num_users])
    gap = (users[some.users] * (items[some.positives] - items[some.negatives])).sum(1)
    torch.testing.assert_close(model.losses(some)["bpr"], F.softplus(-gap).mean())
