import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from nbkit.graphs import SparseGraph, combine_graphs, nearest_neighbours, neighbour_graph, user_item_graph


def random_graph(seed: int, out: int = 5, into: int = 7) -> tuple[SparseGraph, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.rand(out, into, generator=generator) * (torch.rand(out, into, generator=generator) < 0.4)
    rows, columns = dense.nonzero(as_tuple=True)
    return SparseGraph(rows, columns, dense[rows, columns], (out, into)), dense


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_one_hop_is_the_matrix_product_and_its_gradient_the_transposed_one(seed):
    graph, dense = random_graph(seed)
    x, weight = torch.randn(7, 3, requires_grad=True), torch.randn(5, 3)
    torch.testing.assert_close(graph(x), dense @ x)
    (graph(x) * weight).sum().backward()
    torch.testing.assert_close(x.grad, dense.T @ weight)


@pytest.mark.parametrize("combine", ["mean", "sum", "last"])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_layers_combine_as_the_sum_of_powers(layers, combine):
    graph = user_item_graph(torch.tensor([[0, 0], [0, 1], [1, 1], [2, 0]]), 3, 2)
    a, x = graph.dense(), torch.randn(5, 2)
    powers = [torch.matrix_power(a, layer) @ x for layer in range(layers + 1)]
    expected = {"last": powers[-1], "sum": sum(powers), "mean": sum(powers) / (layers + 1)}[combine]
    torch.testing.assert_close(graph.propagate(x, layers, combine=combine), expected)


def test_with_self_loops_every_node_is_its_own_neighbour_and_counts_as_one():
    graph = user_item_graph(torch.tensor([[0, 0], [0, 1], [1, 1]]), 3, 2, self_loops=True)
    a = torch.eye(5)
    a[[0, 0, 1], [3, 4, 4]] = a[[3, 4, 4], [0, 0, 1]] = 1
    degree = a.sum(1)
    torch.testing.assert_close(graph.dense(), a / (degree[:, None] * degree).sqrt())


@pytest.mark.parametrize("symmetric", [True, False])
def test_gradients_through_layers_are_right(symmetric):
    rows, columns = torch.tensor([0, 1, 2, 0, 2]), torch.tensor([1, 0, 2, 2, 0])
    values = torch.tensor([0.5, 0.5, 0.3, 0.7, 0.7 if symmetric else 0.2])
    graph = SparseGraph(rows, columns, values, (3, 3), symmetric=symmetric)
    # The stored weights are float32; double inputs let finite differences resolve the gradient.
    for name, buffer in graph.named_buffers():
        if name.endswith("values"):
            graph.register_buffer(name, buffer.double())
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda t: graph.propagate(t, 2), x)


@pytest.mark.parametrize("used", ["both", "propagated", "own"])
@pytest.mark.parametrize("with_hop", [True, False])
@pytest.mark.parametrize("layers", [0, 1, 3])
def test_rows_of_a_batch_and_their_gradient_are_those_of_the_whole_tables(layers, with_hop, used):
    graph = user_item_graph(torch.tensor([[0, 0], [0, 1], [1, 1], [2, 0]]), 3, 2)
    items = SparseGraph(torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]), torch.tensor([0.5, 0.3, 0.7]), (2, 2))
    rows, weight = torch.tensor([4, 0, 3, 4]), torch.randn(2, 4, 2)  # one node twice

    def whole(x):
        z = graph.propagate(x, layers)
        if with_hop:
            z = torch.cat([z[:3], z[3:] + items(x[3:])])
        return z[rows], x[rows]

    def batch(x):
        return graph.propagate_rows(x, layers, rows, hop=items if with_hop else None)

    start, results = torch.randn(5, 2), []
    for way in (whole, batch):
        x = start.clone().requires_grad_()
        propagated, own = way(x)
        loss = {"both": weight[0] * propagated + weight[1] * own, "propagated": weight[0] * propagated, "own": own}
        loss[used].sum().backward()
        results.append((propagated.detach(), own.detach(), x.grad))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected)


def test_the_adjacency_is_normalised_by_both_degrees():
    graph = user_item_graph(torch.tensor([[0, 0], [0, 1], [1, 1]]), 2, 2)
    r = torch.tensor([[1 / 2**0.5, 1 / 2], [0, 1 / 2**0.5]])
    expected = torch.zeros(4, 4)
    expected[:2, 2:], expected[2:, :2] = r, r.T
    torch.testing.assert_close(graph.dense(), expected)


def test_adjacency_equals_pytorch_geometrics_normalisation():
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    pairs = torch.tensor(np.unique(np.random.default_rng(0).integers(0, 6, (20, 2)), axis=0))
    edges = torch.stack([pairs[:, 0], pairs[:, 1] + 6])
    edges = torch.cat([edges, edges.flip(0)], dim=1)
    index, weight = gcn_norm(edges, num_nodes=12, add_self_loops=False)
    expected = torch.zeros(12, 12).index_put_((index[0], index[1]), weight)
    torch.testing.assert_close(user_item_graph(pairs, 6, 6).dense(), expected)


@given(seed=st.integers(0, 10_000), chunk=st.integers(1, 20), k=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_nearest_neighbours_equal_a_sorted_dense_matrix_for_any_chunk(seed, chunk, k):
    features = torch.from_numpy(np.random.default_rng(seed).normal(size=(12, 4)))
    near, cosines = nearest_neighbours(features, k, chunk=chunk)
    unit = features / features.norm(dim=1, keepdim=True)
    expected = (unit @ unit.T).topk(k, dim=1)
    assert torch.equal(near, expected.indices)
    torch.testing.assert_close(cosines, expected.values.float(), atol=1e-6, rtol=1e-5)


def test_an_item_is_its_own_first_neighbour_even_without_features():
    features = torch.zeros(4, 3)
    features[1:3] = 1.0
    near, _ = nearest_neighbours(features, 2)
    assert near[:, 0].tolist() == [0, 1, 2, 3]
    near, _ = nearest_neighbours(features, 2, include_self=False)
    assert all(item not in row for item, row in enumerate(near.tolist()))


def test_a_neighbour_graph_of_ones_is_the_mean_over_neighbours():
    near = torch.tensor([[0, 1], [1, 2], [2, 0]])
    torch.testing.assert_close(neighbour_graph(near)(torch.eye(3)), torch.eye(3)[near].mean(1))


def test_combined_graphs_add_where_they_overlap():
    (one, a), (two, b) = random_graph(1), random_graph(2)
    torch.testing.assert_close(combine_graphs([one, two], [0.1, 0.9]).dense(), 0.1 * a + 0.9 * b)


def test_an_empty_row_propagates_to_zero():
    graph = SparseGraph(torch.tensor([1]), torch.tensor([0]), torch.tensor([2.0]), (3, 2))
    assert graph(torch.ones(2, 2)).tolist() == [[0, 0], [2, 2], [0, 0]]
