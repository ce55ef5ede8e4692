"""Neighbours by content: what is counted, and that it is computed once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit import graphs, neighbours


def distinct_pairs(seed: int, nodes: int, contexts: int, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = np.unique(np.random.default_rng(seed).integers(0, (nodes, contexts), (count, 2)), axis=0)
    return torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1])


@given(seed=st.integers(0, 10_000), k=st.integers(1, 6), least=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_together_equals_the_sorted_rows_of_the_dense_product(seed, k, least):
    nodes, contexts = distinct_pairs(seed, 7, 5, 20)
    dense = np.zeros((7, 5))
    dense[nodes, contexts] = 1
    counts = dense @ dense.T
    expected = []
    for node in range(7):
        others = sorted((o for o in range(7) if o != node and counts[node, o] >= least), key=lambda o: -counts[node, o])
        expected += [(node, o, counts[node, o]) for o in others[:k]]
    got = neighbours.together(nodes, contexts, 7, k, least=least)
    assert list(zip(*(column.tolist() for column in got), strict=True)) == expected


def test_nodes_are_counted_in_parts_without_a_seam(monkeypatch, tmp_path):
    nodes, contexts = distinct_pairs(0, 40, 9, 200)
    whole = neighbours.together(nodes, contexts, 40, 5)
    monkeypatch.setattr(neighbours, "PRODUCTS", 60)
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    for expected, got in zip(whole, neighbours.together(nodes, contexts, 40, 5), strict=True):
        assert torch.equal(expected, got)


def test_no_pairs_are_no_edges():
    nothing = torch.empty(0, dtype=torch.int64)
    assert [len(column) for column in neighbours.together(nothing, nothing, 4, 3)] == [0, 0, 0]


def test_the_same_content_is_computed_once_and_other_content_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    asked = []
    plain = graphs.nearest_neighbours
    monkeypatch.setattr(graphs, "nearest_neighbours", lambda f, k: asked.append(k) or plain(f, k))
    features = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    first = neighbours.alike(features, 3)
    for expected, got in zip(first, neighbours.alike(features.clone(), 3), strict=True):
        assert torch.equal(expected, got)
    assert asked == [3]
    neighbours.alike(features, 4)
    features[0, 0] += 1
    neighbours.alike(features, 3)
    assert asked == [3, 4, 3]


def test_one_item_that_everybody_has_is_counted_in_parts_of_bounded_size(monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    sizes = []
    plain = neighbours.sparse.coo_array
    monkeypatch.setattr(neighbours.sparse, "coo_array", lambda x: sizes.append(x.nnz) or plain(x))
    monkeypatch.setattr(neighbours, "PRODUCTS", 500)
    users = torch.arange(200)
    rows, columns, counts = neighbours.together(users, torch.zeros_like(users), 200, 1)
    assert max(sizes) <= 500 + 200
    assert rows.tolist() == users.tolist()
    assert columns.tolist() == [1] + [0] * 199
    assert counts.unique().tolist() == [1]


@pytest.mark.parametrize("spoil", ["folder is a file", "folder within is a file", "answers cut short"])
def test_a_spoilt_cache_costs_time_and_nothing_else(spoil, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    nodes, contexts = distinct_pairs(1, 10, 5, 30)
    expected = neighbours.together(nodes, contexts, 10, 2)
    if spoil == "folder is a file":
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "file"))
    elif spoil == "folder within is a file":
        monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "other"))
        (tmp_path / "other/neighbours" / neighbours.CODE).mkdir(parents=True)
        (tmp_path / "other/neighbours" / neighbours.CODE / "joblib").write_text("in the way")
    else:
        for path in tmp_path.rglob("output.pkl"):
            path.write_bytes(path.read_bytes()[:20])
    for left, right in zip(expected, neighbours.together(nodes, contexts, 10, 2), strict=True):
        assert torch.equal(left, right)
    assert not caplog.records


def agreeing_by_hand(tables: list[torch.Tensor], k: int) -> list[tuple[int, ...]]:
    """Each edge as (row, column by each modality), from whole tables of cosines."""
    units = [torch.nn.functional.normalize(table.double(), dim=1) for table in tables]
    cosines = [unit @ unit.T for unit in units]
    edges = []
    for i in range(len(tables[0])):
        allowed = [j for j in range(len(tables[0])) if i == j or all(c[i, j] >= c.mean() for c in cosines)]
        columns = [sorted(allowed, key=lambda j: (j != i, -c[i, j]))[:k] for c in cosines]
        edges += [(i, *near) for near in zip(*columns, strict=True)]
    return edges


@given(seed=st.integers(0, 10_000), k=st.integers(1, 12), modalities=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_agreeing_neighbours_are_those_that_every_modality_finds_as_alike_as_the_mean_pair(seed, k, modalities):
    generator = torch.Generator().manual_seed(seed)
    tables = [torch.randn(9, 3 + m, generator=generator) + 0.5 for m in range(modalities)]
    rows, columns = neighbours.agreeing(tables, k)
    assert list(zip(rows.tolist(), *columns.tolist(), strict=True)) == agreeing_by_hand(tables, k)


def test_agreeing_neighbours_are_found_in_parts_without_a_seam(monkeypatch, tmp_path):
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(40, 6, generator=generator) for _ in range(2)]
    whole = neighbours.agreeing(tables, 5)
    monkeypatch.setattr(neighbours, "CHUNK", 7)
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    for expected, got in zip(whole, neighbours.agreeing(tables, 5), strict=True):
        assert torch.equal(expected, got)


def test_an_item_without_features_or_with_a_double_is_its_own_first_neighbour():
    table = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.1]])
    rows, columns = neighbours.agreeing([table], 1)
    assert rows.tolist() == columns[0].tolist() == [0, 1, 2, 3]
