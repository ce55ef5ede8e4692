"""Neighbours that follow from the data alone: alike in one or in all features, occurring together. Kept by content.

Each function is asked with arrays and answers with arrays; the answer is kept in the cache folder under a hash of the
arguments' bytes and of the code that computes it, so a second run, or another model on the same data, reads it there.
``I`` items, ``N`` nodes, ``P`` pairs, ``E`` edges, ``k`` neighbours.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from nbkit import graphs
from nbkit.paths import cache_dir

Arrays = tuple[np.ndarray, ...]
Function = TypeVar("Function", bound=Callable[..., Arrays])

CODE = hashlib.sha256(b"".join(Path(module).read_bytes() for module in (graphs.__file__, __file__))).hexdigest()[:12]
CHUNK = 256  # items whose cosines with all others are held at a time
PRODUCTS = 4_000_000  # co-occurrences counted at a time, and those of one node: bounds memory, however many there are


def _kept(function: Function, *arguments: object) -> tuple[Tensor, ...]:
    """What the function answers, from the cache folder where it was asked before; without one it is computed."""
    folder = cache_dir() / "neighbours" / CODE
    logger = logging.getLogger("joblib")  # joblib tells a damaged file by a traceback; it is computed anew
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():  # a full disk is no reason to stop: what cannot be kept is computed again
            warnings.simplefilter("ignore", joblib.memory.JobLibCollisionWarning)
            warnings.filterwarnings("ignore", message="Unable to cache to disk")
            answer: Arrays = joblib.Memory(folder, verbose=0).cache(function)(*arguments)
    except OSError:
        answer = function(*arguments)
    finally:
        logger.setLevel(level)
    return tuple(map(torch.from_numpy, answer))


def _alike(features: np.ndarray, k: int) -> Arrays:
    near, cosines = graphs.nearest_neighbours(torch.from_numpy(features), k)
    return near.numpy(), cosines.numpy()


def _agreeing(tables: tuple[np.ndarray, ...], k: int) -> Arrays:
    units = [F.normalize(torch.from_numpy(table), dim=1) for table in tables]
    means = [(unit.double().sum(0).square().sum() / len(unit) ** 2).item() for unit in units]
    rows, columns = [], []
    for start in range(0, len(units[0]), CHUNK):
        cosines = [unit[start : start + CHUNK] @ unit.T for unit in units]  # (chunk, I) each
        own = torch.arange(len(cosines[0]))
        agreed = torch.stack([c >= mean for c, mean in zip(cosines, means, strict=True)]).all(0)
        agreed[own, own + start] = True
        near = []
        for cosine in cosines:
            cosine[own, own + start] = 2.0  # an item comes first among its own neighbours, ties or not
            near.append(cosine.masked_fill_(~agreed, -2.0).topk(min(k, len(units[0])), dim=1).indices)
        there = torch.arange(near[0].shape[1]) < agreed.sum(1, keepdim=True)
        rows.append((own + start)[:, None].expand_as(there)[there])
        columns.append(torch.stack([found[there] for found in near]))
    return torch.cat(rows).numpy(), torch.cat(columns, dim=1).numpy()


def _together(nodes: np.ndarray, contexts: np.ndarray, size: int, k: int, least: int) -> Arrays:
    shape = (size, int(contexts.max(initial=-1)) + 1)
    incidence = sparse.csr_array((np.ones(len(nodes), dtype=np.float32), (nodes, contexts)), shape=shape)
    products = (incidence @ incidence.sum(0)).cumsum() // PRODUCTS
    starts = np.flatnonzero(np.diff(products, prepend=-1))
    parts = []
    for start, end in zip(starts, [*starts[1:], size], strict=True):
        counts = sparse.coo_array(incidence[start:end] @ incidence.T)
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


def agreeing(tables: Sequence[Tensor], k: int) -> tuple[Tensor, Tensor]:
    """Each item's up to ``k`` neighbours of highest cosine by each modality, among those that all modalities allow.

    Two items may be neighbours if their cosine is at least the mean cosine of all pairs of items, in every modality;
    an item is a neighbour of itself, and first. The mean is that of the whole ``(I, I)`` table with its diagonal,
    taken from the sum of the unit vectors: ‖Σ_i x_i‖² / I². Memory is a chunk of rows of that table a modality.

    Shapes: ``tables`` ``(I, D_m)`` -> rows ``(E,)``, of all modalities, and columns ``(M, E)``; E at most I·k.
    Source: DA-MRS (Xv et al., KDD 2024), its denoised item graphs.
    """
    rows, columns = _kept(_agreeing, tuple(table.contiguous().numpy() for table in tables), k)
    return rows, columns


def together(nodes: Tensor, contexts: Tensor, size: int, k: int, *, least: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """For each node the ``k`` others that share most contexts with it: edges by row, each ``(E,)``, E at most N·k.

    Users by common items, or items by common users: ``nodes``, ``contexts`` ``(P,)`` int64 are distinct pairs of the
    two. Gives node, other node (int64) and the number of shared contexts (float32), most shared first, ties by number;
    pairs that share fewer than ``least`` are no edges.
    """
    rows, columns, counts = _kept(_together, nodes.numpy(), contexts.numpy(), size, k, least)
    return rows, columns, counts
