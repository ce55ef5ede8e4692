"""Neighbours that follow from the data alone: items alike in features, nodes that occur together. Kept by content.

Each function is asked with arrays and answers with arrays; the answer is kept in the cache folder under a hash of the
arguments' bytes and of the code that computes it, so a second run, or another model on the same data, reads it there.
``I`` items, ``N`` nodes, ``P`` pairs, ``E`` edges, ``k`` neighbours.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from nbkit import graphs
from nbkit.paths import cache_dir

Arrays = tuple[np.ndarray, ...]
Function = TypeVar("Function", bound=Callable[..., Arrays])

CODE = hashlib.sha256(b"".join(Path(module).read_bytes() for module in (graphs.__file__, __file__))).hexdigest()[:12]
ROWS = 4096  # nodes whose co-occurrences are counted at a time: bounds memory, whatever their number


def _kept(function: Function, *arguments: object) -> tuple[Tensor, ...]:
    """What the function answers, from the cache folder where it was asked before; without one it is computed."""
    folder = cache_dir() / "neighbours" / CODE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return tuple(map(torch.from_numpy, function(*arguments)))
    with warnings.catch_warnings():  # a full disk is no reason to stop: what cannot be kept is computed again
        warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
        warnings.filterwarnings("ignore", message="Unable to cache to disk")
        answer: Arrays = joblib.Memory(folder, verbose=0).cache(function)(*arguments)
    return tuple(map(torch.from_numpy, answer))


def _alike(features: np.ndarray, k: int) -> Arrays:
    near, cosines = graphs.nearest_neighbours(torch.from_numpy(features), k)
    return near.numpy(), cosines.numpy()


def _together(nodes: np.ndarray, contexts: np.ndarray, size: int, k: int, least: int) -> Arrays:
    shape = (size, int(contexts.max(initial=-1)) + 1)
    incidence = sparse.csr_array((np.ones(len(nodes), dtype=np.float32), (nodes, contexts)), shape=shape)
    parts = []
    for start in range(0, size, ROWS):
        counts = sparse.coo_array(incidence[start : start + ROWS] @ incidence.T)
        rows, columns = counts.coords
        rows = rows.astype(np.int64) + start
        keep = (rows != columns) & (counts.data >= least)
        rows, columns, data = rows[keep], columns[keep].astype(np.int64), counts.data[keep]
        order = np.lexsort((columns, -data, rows))
        rows, columns, data = rows[order], columns[order], data[order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        parts.append((rows[rank < k], columns[rank < k], data[rank < k]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def alike(features: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` items of highest cosine for each item, the item itself first: ``(I, k)`` int64 and cosines ``(I, k)``.

    Shapes: ``features`` ``(I, D)``. See :func:`nbkit.graphs.nearest_neighbours`.
    """
    near, cosines = _kept(_alike, features.contiguous().numpy(), k)
    return near, cosines


def together(nodes: Tensor, contexts: Tensor, size: int, k: int, *, least: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """For each node the ``k`` others that share most contexts with it: edges by row, each ``(E,)``, E at most N·k.

    Users by common items, or items by common users: ``nodes``, ``contexts`` ``(P,)`` int64 are distinct pairs of the
    two. Gives node, other node (int64) and the number of shared contexts (float32), most shared first, ties by number;
    pairs that share fewer than ``least`` are no edges.
    """
    rows, columns, counts = _kept(_together, nodes.numpy(), contexts.numpy(), size, k, least)
    return rows, columns, counts
