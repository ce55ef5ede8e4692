"""The losses over all pairs of rows: equal to their dense definitions, in value and gradient, whatever the chunk."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit.models.alignment import graded_neighbours, neighbour_discrimination, preference_divergence


def table(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double).requires_grad_()


def same(first: Tensor, second: Tensor, *tables: Tensor) -> None:
    torch.testing.assert_close(first, second)
    for one, other in zip(torch.autograd.grad(first, tables), torch.autograd.grad(second, tables), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("chunk", [1, 3, 256])
def test_preference_divergence_is_both_kullback_leibler_divergences(chunk):
    users, first, second = table(7, 4), table(5, 4, seed=1), table(5, 4, seed=2)
    p, q = (torch.sigmoid(users @ F.normalize(x, dim=1).T) for x in (first, second))

    def kl(p: Tensor, q: Tensor) -> Tensor:
        return p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()

    expected = (kl(p, q) + kl(q, p)).mean()
    same(2 * preference_divergence(users, first, second, chunk=chunk), 2 * expected, users, first, second)


def test_certain_preferences_give_a_finite_divergence():
    users = torch.tensor([[300.0, 0.0]], requires_grad=True)
    loss = preference_divergence(users, torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]))
    assert loss == 600
    loss.backward()
    assert users.grad[0, 0] == 2


def grades(cosines: Tensor, view: int, anchor: int, k: int) -> tuple[list[int], list[int]]:
    """Both grades of one anchor, by sorting; cosines ``(V, I, I)``."""
    share = cosines.softmax(2)[:, anchor]
    near = (share.sum(0) + share[view]).argsort(descending=True)[:k].tolist()
    alone = [j for j in share[view].argsort(descending=True).tolist() if j not in near]
    return near, alone[:k]


@pytest.mark.parametrize("chunk", [1, 4, 256])
def test_neighbour_discrimination_is_its_definition_written_out(chunk):
    views, anchors, tau = table(3, 12, 5), torch.tensor([4, 0, 11, 7, 5]), 0.3
    unit = F.normalize(views, dim=2)
    cosines = unit @ unit.transpose(1, 2)
    terms = []
    for v in range(3):
        for i in anchors.tolist():
            near, alone = grades(cosines, v, i, 3)
            e = (cosines[v, i] / tau).exp()
            terms.append(-(e[near].sum() / e.sum()).log() - (e[alone].sum() / (e.sum() - e[near].sum())).log())
    got = neighbour_discrimination(views, anchors, k=3, temperature=tau, chunk=chunk)
    same(2 * got, 2 * torch.stack(terms).mean(), views)


def test_an_item_has_two_grades_of_neighbours_and_none_in_both():
    views = table(3, 30, 5).detach()
    unit = F.normalize(views, dim=2)
    cosines = unit @ unit.transpose(1, 2)
    shares = cosines.softmax(2)
    for v in range(3):
        near, alone = graded_neighbours(shares[v], shares.sum(0), 6)
        for i in range(30):
            expected = grades(cosines, v, i, 6)
            assert set(near[i].tolist()) == set(expected[0])
            assert set(alone[i].tolist()) == set(expected[1])
            assert i in near[i]
            assert not set(near[i].tolist()) & set(alone[i].tolist())


def test_few_items_have_few_neighbours_and_a_finite_loss():
    views = table(2, 3, 4)
    loss = neighbour_discrimination(views, torch.arange(3))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(views.grad).all()


@pytest.mark.parametrize(("items", "tau"), [(8, 0.05), (20, 0.05), (80, 0.05), (8, 0.2)])
def test_neighbour_discrimination_in_single_precision_equals_double(items, tau):
    views = table(3, items, 6)
    exact = neighbour_discrimination(views, torch.arange(items), temperature=tau)
    single = views.detach().float().requires_grad_()
    loss = neighbour_discrimination(single, torch.arange(items), temperature=tau)
    torch.testing.assert_close(loss, exact.float(), rtol=1e-3, atol=1e-6)
    (expected,), (got,) = torch.autograd.grad(exact, views), torch.autograd.grad(loss, single)
    torch.testing.assert_close(got, expected.float(), rtol=1e-2, atol=1e-6)


def test_a_single_item_has_no_neighbours_to_tell_apart():
    views = table(3, 1, 4)
    same(neighbour_discrimination(views, torch.tensor([0])), views.sum() * 0, views)
