"""What DA-MRS alone claims: graphs, score, belief and losses by hand; what each switch changes; noise is doubted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit import repro
from nbkit.data.corrupt import corrupt
from nbkit.data.sampling import Batch
from nbkit.models.alignment import neighbour_discrimination, preference_divergence
from nbkit.models.base import Inputs, build_model
from nbkit.models.da_mrs import DAMRS
from nbkit.training.loop import TrainSettings, fit

# Any users and items of the world: some pairs are liked, others are not, whatever they stand for.
USERS, POSITIVES, NEGATIVES = torch.randint(32, (3, 24), generator=torch.Generator().manual_seed(0))


def build(data, seed=0, **values) -> DAMRS:
    return build_model("da_mrs", data.sealed(), {"dim": 5, **values}, repro.generator(seed, "weights"))


def batch() -> Batch:
    return Batch(USERS, POSITIVES, NEGATIVES, repro.generator(0, "training"))


def normalised(edges: Tensor) -> Tensor:
    degree = edges.sum(1)
    return edges / (degree[:, None] * degree[None, :]).sqrt()


def by_hand(model: DAMRS, data, *, k=10, agreement=True, least=2) -> tuple[Tensor, Tensor, Tensor]:
    """Z of users and of items and the views, densely: similarities, edges, hops."""
    inputs = Inputs.from_view(data.sealed())
    users, items = inputs.num_users, inputs.num_items
    ids = model.nodes[users:]
    unit = {m: F.normalize(f, dim=1) for m, f in inputs.features.items()}
    cosines = {m: x @ x.T for m, x in unit.items()}
    kept = torch.stack([c >= c.mean() for c in cosines.values()]).all(0)
    views = []
    for cosine in cosines.values():
        masked = cosine.masked_fill(~kept, -torch.inf) if agreement else cosine
        edges = torch.zeros(items, items)
        for i in range(items):
            best = masked[i].argsort(descending=True)[:k]
            edges[i, best[masked[i, best].isfinite()]] = 1
        views.append(normalised(edges) @ ids)
    ratings = torch.zeros(users, items)
    ratings[inputs.pairs[:, 0], inputs.pairs[:, 1]] = 1
    shared = (ratings.T @ ratings).numpy()
    edges = torch.eye(items)
    for i in range(items):
        others = [j for j in range(items) if j != i and shared[i, j] >= least]
        edges[i, sorted(others, key=lambda j: (-shared[i, j], j))[:2]] = 1
    views.append(normalised(edges) @ ids)
    normal = ratings / (ratings.sum(1)[:, None] * ratings.sum(0)[None, :]).sqrt()
    adjacency = torch.zeros(users + items, users + items)
    adjacency[:users, users:], adjacency[users:, :users] = normal, normal.T
    z = (model.nodes + adjacency @ model.nodes + adjacency @ adjacency @ model.nodes) / 3
    return z[:users], z[users:], torch.stack(views)


@pytest.mark.parametrize("modalities", [("text",), ("image", "text"), ("audio", "image", "text")])
@pytest.mark.parametrize("switch", [{}, {"agreement": False, "least_shared": 1}])
def test_scores_are_those_of_the_equations_written_out_densely(modalities, switch, make_planted):
    data = make_planted(modalities)
    model = build(data, neighbours=6, **switch)
    users, items, views = by_hand(
        model, data, k=6, agreement=switch.get("agreement", True), least=switch.get("least_shared", 2)
    )
    torch.testing.assert_close(model.views(), views)
    expected = users @ (items + views.mean(0)).T
    torch.testing.assert_close(model.score(torch.arange(data.num_users)), expected)


def spoken(model: DAMRS) -> DAMRS:
    """The same model with identities that say more than fresh ones do."""
    with torch.no_grad():
        model.nodes.mul_(8)
    return model


def belief(model: DAMRS, data) -> tuple[Tensor, Tensor, Tensor]:
    """w⁺, w⁻ and whether the pair is doubted, one triple and one view at a time."""
    users, _, views = by_hand(model, data)
    unit = views / views.norm(dim=2, keepdim=True)
    p = np.array([[torch.sigmoid(users[u] @ h[i]).item() for h in unit] for u, i in zip(USERS, POSITIVES, strict=True)])
    n = np.array([[torch.sigmoid(users[u] @ h[j]).item() for h in unit] for u, j in zip(USERS, NEGATIVES, strict=True)])
    usual = n.mean()
    weight = p.mean(1) ** model.alpha * np.exp(-p.var(1, ddof=1)) ** model.beta
    doubted = p.mean(1) < usual
    return tuple(torch.tensor(x) for x in (weight, np.maximum(p.max(1) - usual, 0) * doubted, doubted))


def test_losses_are_those_of_the_equations(world):
    model = spoken(build(world, align_users=0.7, align_items=0.3, relations=4, temperature=0.5))
    users, items, views = by_hand(model, world)
    gap = (users[USERS] * ((items + views.mean(0))[POSITIVES] - (items + views.mean(0))[NEGATIVES])).sum(1)
    weight, reversal, doubted = belief(model, world)
    assert 0 < (reversal > 0).sum() < doubted.sum() < len(USERS)
    parts = model.losses(batch())
    torch.testing.assert_close(parts["bpr"], -(weight * torch.sigmoid(gap).log()).mean().float())
    torch.testing.assert_close(parts["reversal"], -(reversal * torch.sigmoid(-gap).log()).mean().float())
    some, of = USERS.unique(), torch.cat([POSITIVES, NEGATIVES]).unique()
    divergence = preference_divergence(users[some], items[of], views.mean(0)[of])
    torch.testing.assert_close(parts["align_users"], 0.7 * divergence)
    apart = neighbour_discrimination(views, of, k=4, temperature=0.5)
    torch.testing.assert_close(parts["align_items"], 0.3 * apart)


@pytest.mark.parametrize("exponents", [{}, {"alpha": 1.5, "beta": 4.0}])
def test_credibility_is_the_weight_of_a_pair_whatever_it_is_compared_with(exponents, world):
    model = spoken(build(world, **exponents))
    weight, _, _ = belief(model, world)
    for negatives in (NEGATIVES, POSITIVES):
        torch.testing.assert_close(model.credibility(USERS, POSITIVES, negatives), weight.float())


def test_no_gradient_passes_through_the_weights_of_pairs(world):
    """The gradient of both BPR parts is that of constants in the place of w⁺ and w⁻."""
    model = spoken(build(world, align_users=0.0, align_items=0.0))
    weight, reversal, _ = belief(model, world)
    users, items, views = by_hand(model, world)
    gap = (users[USERS] * ((items + views.mean(0))[POSITIVES] - (items + views.mean(0))[NEGATIVES])).sum(1)
    constant = (weight.float() * F.softplus(-gap) + reversal.float() * F.softplus(gap)).mean()
    expected = torch.autograd.grad(constant, model.nodes)
    torch.testing.assert_close(torch.autograd.grad(sum(model.losses(batch()).values()), model.nodes), expected)


@pytest.mark.parametrize("part", sorted(DAMRS.parts))
def test_each_part_turned_off_drops_its_own_losses_and_changes_no_other(part, world):
    whole, model = spoken(build(world)), spoken(build(world, **DAMRS.parts[part]))
    full, parts = whole.losses(batch()), model.losses(batch())
    gone = {"credibility": {"reversal"}, "denoised": set()}.get(part, {part})
    assert set(full) - set(parts) == gone
    if part == "denoised":
        assert not torch.equal(whole.views(), model.views())
        return
    assert torch.equal(whole.score(USERS), model.score(USERS))
    changed = {"bpr"} if part == "credibility" else set()
    assert {name for name in parts if not torch.equal(parts[name], full[name])} == changed


def test_features_are_for_the_graphs_alone_and_identities_are_all_that_is_trained(world):
    assert [name for name, _ in build(world).named_parameters()] == ["nodes"]


def test_drawn_anchors_are_some_of_the_batch_and_enough_of_them_are_all(world):
    whole = build(world).losses(batch())["align_items"]
    assert torch.equal(build(world, anchors=32).losses(batch())["align_items"], whole)
    model, draws = build(world, anchors=5), []
    some = batch()
    for _ in range(40):
        draws.append(model.losses(some)["align_items"].item())
    assert len(set(draws)) > 1
    assert np.mean(draws) == pytest.approx(whole.item(), rel=0.05)


def test_pairs_that_were_injected_are_believed_less(world):
    noisy, truth = corrupt(world, "add_random_edges", 0.3, seed=0)
    model = build(noisy, dim=16)
    fit(model, noisy, TrainSettings(epochs=15, batch_size=64, lr=0.02), seed=0, device="cpu")
    pairs = noisy.train.pairs()
    injected = {tuple(pair) for pair in truth.noisy_pairs.tolist()}
    is_noise = np.array([tuple(pair) in injected for pair in pairs.tolist()])
    users, positives = torch.from_numpy(pairs).T
    weight = model.credibility(users, positives, positives).numpy()
    above = (weight[~is_noise][:, None] > weight[is_noise][None, :]).mean()  # AUROC
    assert is_noise.sum() > 20
    assert above > 0.7
