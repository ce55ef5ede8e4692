"""What every denoiser owes: it begins as the identity, all of it trains, and it sees only what it may."""

from __future__ import annotations

import math
import typing

import pytest
import torch
from torch import nn

from nbkit.diffusion.denoisers import (
    Conditioning,
    GraphDenoiser,
    MLPDenoiser,
    SequenceDenoiser,
    TimeCode,
    sinusoidal,
)
from nbkit.errors import UserError
from nbkit.graphs import SparseGraph
from nbkit.layers import causal_mask

D, C, N = 8, 6, 5
KINDS = typing.get_args(Conditioning)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def ring() -> SparseGraph:
    """Each node hears the next one alone."""
    rows = torch.arange(N)
    return SparseGraph(rows, (rows + 1) % N, torch.ones(N), (N, N))


def graph_denoiser(conditioning: Conditioning = "gate", graph: SparseGraph | None = None, blocks: int = 2):
    return GraphDenoiser(D, graph, condition_dim=C, conditioning=conditioning, blocks=blocks, generator=seeded())


def awake(network: nn.Module) -> nn.Module:
    """The network after its zero-initialised output has moved."""
    with torch.no_grad():
        network.output.weight.copy_(draw(*network.output.weight.shape, seed=9))
    return network


CASES = {
    "mlp": (lambda: MLPDenoiser(D, generator=seeded()), lambda f: f(draw(N, D), 3)),
    "mlp, condition": (
        lambda: MLPDenoiser(D, hidden=(16, 16), condition_dim=C, generator=seeded()),
        lambda f: f(draw(N, D), 3, draw(N, C, seed=1)),
    ),
    **{
        f"graph, {kind}": (
            lambda kind=kind: graph_denoiser(kind, ring()),
            lambda f: f(draw(N, D), 3, draw(N, C, seed=1), torch.arange(N) < 2),
        )
        for kind in KINDS
    },
    "no graph": (lambda: graph_denoiser(), lambda f: f(draw(N, D), 3, draw(N, C, seed=1), torch.arange(N) < 2)),
    "sequence": (
        lambda: SequenceDenoiser(D, condition_dim=C, heads=2, blocks=2, generator=seeded()),
        lambda f: f(draw(2, 3, D), torch.tensor([1, 4]), draw(2, 4, C, seed=1)),
    ),
}
every_denoiser = pytest.mark.parametrize(("make", "call"), CASES.values(), ids=CASES.keys())


@every_denoiser
def test_a_denoiser_begins_as_the_identity_and_then_does_not(make, call):
    network, x = make(), draw(2, 3, D) if isinstance(make(), SequenceDenoiser) else draw(N, D)
    assert torch.equal(call(network), x)
    assert not torch.allclose(call(awake(network)), x)


@every_denoiser
def test_every_parameter_of_a_denoiser_receives_gradient(make, call):
    network = awake(make())
    out = call(network)
    (out * draw(*out.shape, seed=5)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-7, name


@every_denoiser
def test_equal_generators_make_equal_denoisers_and_the_global_one_is_not_asked(make, call):
    state = torch.get_rng_state()
    first, second = awake(make()), awake(make())
    assert torch.equal(call(first), call(second))
    assert torch.equal(state, torch.get_rng_state())


def test_a_denoiser_without_residual_answers_by_its_network_alone():
    network = MLPDenoiser(D, residual=False, generator=seeded())
    assert network(draw(N, D), 1).abs().max() > 0
    with torch.no_grad():
        network.output.weight.zero_()
    assert torch.equal(network(draw(N, D), 1), torch.zeros(N, D))


@pytest.mark.parametrize("wide", [False, True])
def test_the_time_code_hears_of_the_loss_whether_or_not_the_rows_do(wide):
    network, x, t = MLPDenoiser(D, residual=False, generator=seeded()), draw(N, D).requires_grad_(wide), torch.arange(N)
    asked = [*network.parameters(), *([x] if wide else [])]
    plain = torch.tanh(network.hidden[0](torch.cat([x, network.time(t)], dim=1)))
    expected = network.output(plain)
    torch.testing.assert_close(network(x, t), expected, rtol=0, atol=0)
    found, wanted = (torch.autograd.grad(y.square().sum(), asked) for y in (network(x, t), expected))
    torch.testing.assert_close(found, wanted)


def test_the_time_code_is_cosines_and_sines_of_falling_frequency():
    code = sinusoidal(torch.tensor([0, 3]), 5)
    assert code[0].tolist() == [1, 1, 0, 0, 0]
    expected = [math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03), 0]
    torch.testing.assert_close(code[1], torch.tensor(expected))


def test_one_time_for_the_table_is_the_same_time_for_every_row():
    network = TimeCode(6, seeded())
    assert network(4).shape == (1, 6)
    for network, x in ((MLPDenoiser(D, generator=seeded()), draw(N, D)), (graph_denoiser(graph=ring()), draw(N, D))):
        awake(network)
        whole = network(x, 4)
        assert torch.equal(whole, network(x, torch.tensor(4)))
        torch.testing.assert_close(whole, network(x, torch.full((N,), 4)))
        assert not torch.allclose(whole, network(x, 5))


@pytest.mark.parametrize("kind", KINDS)
def test_each_block_reaches_one_hop_further_and_without_a_graph_no_row_hears_another(kind):
    x, c = draw(N, D), draw(N, C, seed=1)
    other = x.clone()
    other[3] += 1
    for graph, blocks, reached in ((ring(), 1, {2, 3}), (ring(), 2, {1, 2, 3}), (None, 2, {3})):
        network = awake(graph_denoiser(kind, graph, blocks))
        moved = (network(x, 2, c) - network(other, 2, c)).abs().amax(1) > 1e-6
        assert set(moved.nonzero().flatten().tolist()) == reached


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "none"])
def test_the_condition_enters_and_the_null_condition_stands_in_where_it_is_dropped(kind):
    network, x, c = awake(graph_denoiser(kind)), draw(N, D), draw(N, C, seed=1)
    given, null = network(x, 2, c), network(x, 2)
    assert ((given - null).abs().amax(1) > 1e-5).all()
    dropped = torch.tensor([True, False, True, False, False])
    mixed = network(x, 2, c, dropped)
    torch.testing.assert_close(mixed, torch.where(dropped[:, None], null, given))
    torch.testing.assert_close(network(x, 2, c, torch.tensor(True)), null)


def test_without_conditioning_the_condition_changes_nothing():
    network, x = awake(graph_denoiser("none")), draw(N, D)
    assert torch.equal(network(x, 2, draw(N, C)), network(x, 2))


def test_a_gate_passes_nothing_of_the_condition_where_the_rows_are_silent():
    """Only re-weighting: with rows of zero every condition gives the same answer; concat and film copy it in."""
    x = torch.zeros(N, D)
    for kind, copies in (("gate", False), ("concat", True), ("film", True), ("cross_attention", True)):
        network = awake(graph_denoiser(kind))
        one, two = network(x, 2, draw(N, C, seed=1)), network(x, 2, draw(N, C, seed=2))
        assert torch.allclose(one, two) != copies, kind


def test_cross_attention_of_a_node_is_a_softmax_over_its_condition_and_the_null():
    network, c, time = graph_denoiser("cross_attention"), draw(N, C, seed=1), draw(1, D, seed=2)
    block, n, null = network.blocks[0], draw(N, D), network.null.expand(N, -1)
    moved = n + block.condition(time)
    tokens = torch.stack([c, null], dim=1)  # (N, 2, C)
    scores = torch.einsum("nd,nsd->ns", block.query(moved), block.key(tokens)) / math.sqrt(D)
    expected = moved + torch.einsum("ns,nsd->nd", scores.softmax(1), block.value(tokens))
    torch.testing.assert_close(block.conditioned(n, time, c, null), expected)


def sequence(heads: int = 2) -> nn.Module:
    return awake(SequenceDenoiser(D, condition_dim=C, heads=heads, blocks=2, generator=seeded()))


def test_a_batch_of_sequences_is_each_sequence_alone():
    network, x, c = sequence(), draw(3, 4, D), draw(3, 5, C, seed=1)
    t, valid = torch.tensor([1, 7, 3]), torch.arange(5) >= torch.tensor([[0], [2], [5]])
    together = network(x, t, c, valid=valid)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(together[one], network(x[one], t[one], c[one], valid=valid[one]))


def test_padding_of_the_condition_never_changes_a_result():
    network, x, c = sequence(), draw(2, 4, D), draw(2, 5, C, seed=1)
    valid = torch.tensor([[False, False, True, True, True]] * 2)
    padded = c.clone()
    padded[:, :2] = 1e3
    plain = network(x, 2, c[:, 2:])
    torch.testing.assert_close(network(x, 2, c, valid=valid), plain)
    torch.testing.assert_close(network(x, 2, padded, valid=valid), plain)


def test_a_condition_of_padding_alone_is_the_unconditional_prediction():
    network, x, c = sequence(), draw(2, 4, D), draw(2, 5, C, seed=1)
    empty = network(x, 2, c, valid=torch.zeros(2, 5, dtype=torch.bool))
    assert torch.isfinite(empty).all()
    torch.testing.assert_close(empty, network(x, 2))
    torch.testing.assert_close(network(x, 2, c[:, :0]), network(x, 2))
    assert not torch.allclose(empty, network(x, 2, c))


def test_a_causal_mask_keeps_the_future_out():
    network, x, c = sequence(), draw(2, 5, D), draw(2, 5, C, seed=1)
    later = c.clone()
    later[:, 3:] = draw(2, 2, C, seed=3)
    mask = causal_mask(5)
    moved = (network(x, 2, c, visible=mask) - network(x, 2, later, visible=mask)).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False, False, False, True, True]
    free = (network(x, 2, c) - network(x, 2, later)).abs().amax((0, 2)) > 1e-6
    assert free.all()
    left_padded = torch.tensor([[False, False, True, True, True]] * 2)
    both = network(x, 2, c, valid=left_padded, visible=mask)
    assert torch.isfinite(both).all()
    torch.testing.assert_close(both[:, :2], network(x[:, :2], 2))  # nothing to see yet but the null token


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match="heads = 3; expected a divisor of dim = 8"):
        SequenceDenoiser(D, heads=3, generator=seeded())
