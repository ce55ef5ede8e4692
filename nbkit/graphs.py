"""Graphs as models use them: sparse propagation, the normalised user-item adjacency, nearest-neighbour item graphs.

``U`` users, ``I`` items, ``N`` nodes, ``E`` stored entries, ``D`` width, ``k`` neighbours.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Csr = tuple[Tensor, Tensor, Tensor]  # row pointers, column numbers, values


def _spmm(matrix: Csr, x: Tensor) -> Tensor:
    """``A @ x`` for a CSR matrix: a bag of weighted rows on the CPU, 2 to 15 times faster there than torch's CSR."""
    indptr, indices, values = matrix
    if x.is_cuda:
        return torch.sparse_csr_tensor(*matrix, (len(indptr) - 1, len(x)), check_invariants=False) @ x
    return F.embedding_bag(indices, x, offsets=indptr, mode="sum", per_sample_weights=values, include_last_offset=True)


class _Propagate(torch.autograd.Function):
    """Layers of ``A @ x``, combined; the backward pass is the same propagation with the transposed matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, graph: SparseGraph, layers: int, combine: str) -> Tensor:
        ctx.graph, ctx.layers, ctx.combine = graph, layers, combine
        return _combine(graph.matrix, x, layers, combine)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return (
            _combine(ctx.graph.transposed, gradients[0].contiguous(), ctx.layers, ctx.combine),
            None,
            None,
            None,
        )


def _combine(matrix: Csr, x: Tensor, layers: int, combine: str) -> Tensor:
    if combine == "last":
        for _ in range(layers):
            x = _spmm(matrix, x)
        return x
    # Horner: x + A(x + A(x + …)) sums all layers with no list of them; the last hop takes the mean's factor along.
    share = 1 / (layers + 1) if combine == "mean" else 1.0
    indptr, indices, values = matrix
    total = x
    for _ in range(layers - 1):
        total = _spmm(matrix, total).add_(x)
    return _spmm((indptr, indices, values * share), total).add_(x, alpha=share)


class _PropagateRows(torch.autograd.Function):
    """Rows of the propagated table and of the table itself: one gradient table for both, scattered once."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, graph: SparseGraph, layers: int, rows: Tensor, hop: SparseGraph | None
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.graph, ctx.layers, ctx.rows, ctx.hop, ctx.shape = graph, layers, rows, hop, x.shape
        z = _combine(graph.matrix, x, layers, "mean") if layers else x.clone()
        if hop is not None:
            last = len(x) - hop.shape[0]
            z[last:] += _spmm(hop.matrix, x[last:])
        return z.index_select(0, rows), x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None, None, None]:
        propagated, own = gradients
        total = None
        if propagated is not None:
            scattered = propagated.new_zeros(ctx.shape).index_add_(0, ctx.rows, propagated)
            total = _combine(ctx.graph.transposed, scattered, ctx.layers, "mean") if ctx.layers else scattered.clone()
            if ctx.hop is not None:
                last = len(scattered) - ctx.hop.shape[0]
                total[last:] += _spmm(ctx.hop.transposed, scattered[last:])
        if own is not None:
            total = own.new_zeros(ctx.shape) if total is None else total
            total.index_add_(0, ctx.rows, own)
        return total, None, None, None, None


class SparseGraph(nn.Module):
    """A frozen sparse matrix that node features are propagated over.

    Held as int32 CSR of ``A`` (and of its transpose unless ``symmetric``), so that forward and backward are both one
    pass over rows. Moves with the model, is no parameter and is not saved.

    Shapes: ``rows``, ``columns``, ``values`` ``(E,)``; ``shape`` = ``(N_out, N_in)``.
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor

    def __init__(
        self,
        rows: Tensor,
        columns: Tensor,
        values: Tensor,
        shape: tuple[int, int],
        *,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        self.shape, self.symmetric = shape, symmetric
        self._store("", rows, columns, values, shape[0])
        if not symmetric:
            self._store("t_", columns, rows, values, shape[1])

    def _store(self, prefix: str, rows: Tensor, columns: Tensor, values: Tensor, size: int) -> None:
        order = torch.argsort(rows * self.shape[0 if prefix else 1] + columns)
        counts = torch.bincount(rows, minlength=size)
        indptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.register_buffer(f"{prefix}indptr", indptr.int(), persistent=False)
        self.register_buffer(f"{prefix}indices", columns[order].int(), persistent=False)
        self.register_buffer(f"{prefix}values", values[order].float(), persistent=False)

    @property
    def matrix(self) -> Csr:
        """CSR of ``A``: row pointers, column numbers, values."""
        return self.indptr, self.indices, self.values

    @property
    def transposed(self) -> Csr:
        """CSR of ``A`` transposed."""
        return self.matrix if self.symmetric else (self.t_indptr, self.t_indices, self.t_values)  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """One hop, ``A @ x``: ``(N_in, D) -> (N_out, D)``."""
        return self.propagate(x, 1, combine="last")

    def propagate(self, x: Tensor, layers: int, *, combine: Literal["mean", "sum", "last"] = "mean") -> Tensor:
        """``mean`` or ``sum`` of ``x, A x, …, A^L x``, or ``A^L x`` alone: ``(N, D) -> (N, D)``.

        Source: LightGCN (He et al., SIGIR 2020, eq. 7-8) for the mean.
        """
        if layers == 0:
            return x
        out: Tensor = _Propagate.apply(x, self, layers, combine)
        return out

    def propagate_rows(
        self, x: Tensor, layers: int, rows: Tensor, *, hop: SparseGraph | None = None
    ) -> tuple[Tensor, Tensor]:
        """A batch's rows of :meth:`propagate` (mean) and of ``x`` itself, with one gradient table instead of four.

        ``hop`` is a graph over the last nodes (the items) whose single hop is added to them, as FREEDOM does.
        Shapes: ``x`` ``(N, D)``, ``rows`` ``(B,)``, both results ``(B, D)``.
        """
        propagated, own = _PropagateRows.apply(x, self, layers, rows, hop)
        return propagated, own

    def dense(self) -> Tensor:
        """The matrix in full, ``(N_out, N_in)``: for tests and four-node examples."""
        rows = torch.repeat_interleave(
            torch.arange(self.shape[0], device=self.values.device), self.indptr.long().diff()
        )
        out = self.values.new_zeros(self.shape)
        return out.index_put_((rows, self.indices.long()), self.values, accumulate=True)


def normalised_values(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    """``1 / sqrt(d_row d_column)`` for each entry of a 0/1 matrix: ``(E,)``."""
    row_degree = torch.bincount(rows, minlength=shape[0]).float()
    column_degree = torch.bincount(columns, minlength=shape[1]).float()
    return (row_degree[rows] * column_degree[columns]).rsqrt()


def user_item_graph(pairs: Tensor, num_users: int, num_items: int, *, self_loops: bool = False) -> SparseGraph:
    """The symmetrically normalised adjacency of users and items as one graph of ``U + I`` nodes, users first.

    With ``self_loops`` every node is its own neighbour, too, and counts as one in its degree.
    Shapes: ``pairs`` ``(P, 2)`` distinct (user, item). Source: LightGCN, eq. 6: D^{-1/2} [[0, R], [Rᵀ, 0]] D^{-1/2}.
    """
    size = num_users + num_items
    users, items = pairs[:, 0], pairs[:, 1] + num_users
    own = torch.arange(size if self_loops else 0, device=pairs.device)
    rows, columns = torch.cat([users, items, own]), torch.cat([items, users, own])
    return SparseGraph(rows, columns, normalised_values(rows, columns, (size, size)), (size, size), symmetric=True)


def thinned(pairs: Tensor, dropout: float, generator: torch.Generator) -> Tensor:
    """The pairs that stay when a share of edges is left out, those between much-connected nodes first: ``(P', 2)``.

    An edge stays with a weight of 1/√(d_u d_i), drawn without replacement by the exponential race: the largest weight
    over Exp(1) first. Shapes: ``pairs`` ``(P, 2)``. Source: FREEDOM (Zhou & Shen, MM 2023), its edge pruning.
    """
    users, items = pairs.unbind(1)
    degree_u, degree_i = torch.bincount(users), torch.bincount(items)
    weight = (degree_u[users] * degree_i[items]).float().rsqrt()
    race = weight / torch.empty_like(weight).exponential_(generator=generator)
    return pairs[race.topk(max(1, int(len(weight) * (1 - dropout)))).indices]


def nearest_neighbours(
    features: Tensor, k: int, *, chunk: int = 256, include_self: bool = True
) -> tuple[Tensor, Tensor]:
    """The ``k`` items of highest cosine for each item, highest first: rows ``(I, k)`` int64 and cosines ``(I, k)``.

    Memory is ``chunk × I`` floats, whatever the number of items; a row of zeros is near to nothing but itself.
    """
    unit = F.normalize(features, dim=1)
    k = min(k, len(features) if include_self else len(features) - 1)
    near = torch.empty(len(features), k, dtype=torch.int64, device=features.device)
    cosines = torch.empty(len(features), k, device=features.device)
    for start in range(0, len(unit), chunk):
        similarity = unit[start : start + chunk] @ unit.T  # (chunk, I)
        own = torch.arange(len(similarity), device=features.device)
        # An item is its own nearest neighbour even where duplicates or a zero row would tie with it.
        similarity[own, own + start] = 2.0 if include_self else -2.0
        cosines[start : start + chunk], near[start : start + chunk] = similarity.topk(k, dim=1)
    return near, cosines.clamp_(max=1.0)


def edge_graph(rows: Tensor, columns: Tensor, values: Tensor, size: int) -> SparseGraph:
    """A graph of ``size`` nodes from its edges, each weight over the roots of both ends' row sums.

    Shapes: ``(E,)`` each.
    """
    degree = torch.zeros(size, device=rows.device).index_add_(0, rows, values)
    inverse = degree.clamp(min=1e-12).rsqrt()
    return SparseGraph(rows, columns, inverse[rows] * values * inverse[columns], (size, size))


def neighbour_graph(near: Tensor, weights: Tensor | None = None) -> SparseGraph:
    """An item graph from each item's neighbours; symmetric normalisation by row degrees, as in MMRec's item graphs.

    Shapes: ``near`` ``(I, k)``, ``weights`` ``(I, k)``, or None for 0/1; negative ones, which could make a degree of
    nearly 0 and an entry of any size, count as 0. With 0/1 weights every row sums to k, so each
    entry becomes exactly ``1/k``: a mean over the neighbours. Source: FREEDOM (Zhou & Shen, MM 2023, eq. 3-5).
    """
    size, k = near.shape
    rows = torch.arange(size, device=near.device).repeat_interleave(k)
    values = torch.ones(size * k, device=near.device) if weights is None else weights.clamp(min=0).reshape(-1)
    return edge_graph(rows, near.reshape(-1), values, size)


def combine_graphs(graphs: list[SparseGraph], weights: list[float]) -> SparseGraph:
    """The weighted sum of graphs of one shape as one graph; entries at the same place are added."""
    shape = graphs[0].shape
    keys, values = [], []
    for graph, weight in zip(graphs, weights, strict=True):
        rows = torch.repeat_interleave(torch.arange(shape[0]), graph.indptr.long().diff())
        keys.append(rows * shape[1] + graph.indices)
        values.append(graph.values * weight)
    unique, place = torch.unique(torch.cat(keys), return_inverse=True)
    total = torch.zeros(len(unique)).index_add_(0, place, torch.cat(values))
    return SparseGraph(unique // shape[1], unique % shape[1], total, shape)
