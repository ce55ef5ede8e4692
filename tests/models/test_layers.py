"""What models share, against the plain formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from nbkit.models.layers import info_nce


def views(rows: int = 11, dim: int = 4) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(rows, dim, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)]


@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
@pytest.mark.parametrize("cosine", [True, False])
def test_info_nce_is_the_cross_entropy_of_cosines_or_of_dot_products_whatever_the_chunk(cosine, chunk):
    a, b = views()
    scores = F.cosine_similarity(a[:, None], b[None], dim=2) if cosine else a @ b.T
    plain = F.cross_entropy(scores / 0.4, torch.arange(11))
    expected = torch.autograd.grad(plain, (a, b))
    loss = info_nce(a, b, 0.4, cosine=cosine, chunk=chunk)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(3 * loss, (a, b)), tuple(3 * g for g in expected))


@pytest.mark.parametrize("chunk", [2, 100])
def test_rows_are_told_apart_from_a_whole_table_where_it_is_said_which_row_is_their_own(chunk):
    a, b = views()
    own = torch.tensor([3, 0, 3, 10, 7])  # a row may be the other view of two
    plain = F.cross_entropy(F.cosine_similarity(a[:5, None], b[None], dim=2) / 0.4, own)
    expected = torch.autograd.grad(plain, (a, b))
    loss = info_nce(a[:5], b, 0.4, own=own, chunk=chunk)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(torch.autograd.grad(loss, (a, b)), expected)


def test_info_nce_gradients_are_those_of_finite_differences():
    a, b = views(5, 3)
    assert gradcheck(lambda x, y: info_nce(x, y, 0.2, chunk=2), (a, b))


def test_info_nce_of_indistinguishable_rows_is_the_logarithm_of_their_number():
    same = torch.ones(7, 3)
    assert info_nce(same, same, 0.2).item() == pytest.approx(torch.tensor(7.0).log().item())
    apart = torch.eye(7)
    assert info_nce(apart, apart, 0.01).item() == pytest.approx(0, abs=1e-6)
