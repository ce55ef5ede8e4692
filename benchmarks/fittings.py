"""What single models of MMRec need beside what all need: settings, graphs that scripts make, parts put right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partialmethod
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nbkit.data.dataset import MultimodalDataset
from nbkit.neighbours import together

USER_GRAPH, ITEM_GRAPH = "user_graph_dict.npy", "item_graph_dict_2.npy"
USERS_TAKEN = 40  # what DualGNN takes of each user's list

# Settings that MMRec's files list several values of: one value each.
SETTINGS: dict[str, dict[str, Any]] = {
    "BPR": {"reg_weight": 0.1},
    "LightGCN": {"n_layers": 2, "reg_weight": 1e-4},
    "VBPR": {"reg_weight": 1.0},
    "FREEDOM": {"dropout": 0.9, "reg_weight": 1e-3},
    "BM3": {"n_layers": 1, "dropout": 0.3, "reg_weight": 0.1},
    "MGCN": {"cl_loss": 0.01},
    "PGL": {"dropout": 0.2, "reg_weight": 0.0, "mode": "local"},
    "DualGNN": {"aggr_mode": "add", "learning_rate": 1e-3, "reg_weight": 1e-3},
    "DAMRS": {"kl_weight": 1, "neighbor_weight": 1e-3, "n_mm_layers": 1, "n_ui_layers": 2, "learning_rate": 1e-3},
    "SLMRec": {"learning_rate": 1e-3, "ssl_temp": 0.2, "ssl_alpha": 0.01, "reg": 1e-3},
    "MMGCN": {"reg_weight": 1e-3, "learning_rate": 1e-3},
}

Lists = dict[int, list[list[float]]]


def lists(nodes: np.ndarray, contexts: np.ndarray, size: int, k: int, *, least: int = 1, fill: bool = False) -> Lists:
    """Each node's k others that share most contexts, and how many: ``{node: [others, numbers]}``, MMRec's form.

    With ``fill``, a list that is shorter, but not empty, is made up to k with weight -inf, which a softmax makes 0:
    MMRec would repeat random ones of it, which weigh more then.
    """
    rows, others, counts = together(torch.from_numpy(nodes), torch.from_numpy(contexts), size, k, least=least)
    bounds = torch.searchsorted(rows, torch.arange(size + 1)).tolist()
    found: Lists = {}
    for node, (start, end) in enumerate(pairwise(bounds)):
        missing = k - (end - start) if fill and end > start else 0
        found[node] = [others[start:end].tolist() + [0] * missing, counts[start:end].tolist() + [-np.inf] * missing]
    return found


def _save(graph: Lists, path: Path) -> None:
    np.save(path, np.array(graph, dtype=object), allow_pickle=True)


def _users_by_items(dataset: MultimodalDataset, folder: Path) -> None:
    users, items = dataset.train.pairs().T
    _save(lists(users, items, dataset.num_users, USERS_TAKEN, fill=True), folder / USER_GRAPH)


def _items_by_users(dataset: MultimodalDataset, folder: Path) -> None:
    # The two items that share most users, at least two of them: DA-MRS reads this file and no script writes it.
    users, items = dataset.train.pairs().T
    _save(lists(items, users, dataset.num_items, 2, least=2), folder / ITEM_GRAPH)


def _narrow_all(module: Any) -> None:
    """MMGCN narrows its images to 256 and leaves texts as wide as they are; here both are narrowed."""
    module.GCN.__init__ = partialmethod(module.GCN.__init__, dim_latent=256)


def _whole_graph(model: Any) -> None:
    """PGL with a mode that is neither of its two: over the whole graph, so that its loss draws no edges."""
    if model.mode == "whole":
        model.sub_graph = model.norm_adj


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True)
class Fitting:
    """Called with the data and their folder, with the model's module, with the model.

    ``constants`` are tensors of the model that are no parameters and yet keep their random start.
    """

    files: Callable[[MultimodalDataset, Path], None] = _nothing
    module: Callable[[Any], None] = _nothing
    model: Callable[[Any], None] = _nothing
    constants: tuple[str, ...] = ()


FITTINGS = {
    "DAMRS": Fitting(files=_items_by_users),
    "DualGNN": Fitting(files=_users_by_items),
    "MMGCN": Fitting(module=_narrow_all, constants=("id_embedding", "v_gcn.preference", "t_gcn.preference")),
    "PGL": Fitting(model=_whole_graph),
}
