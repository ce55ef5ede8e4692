"""What may be wrong with data that can be read: leaks, cold users, odd features, stale neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from nbkit.data.dataset import Interactions, MultimodalDataset


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed: how bad, what, how often, and one example in words.

    An ``error`` makes results wrong, a ``warning`` should be known beside them, a ``note`` is a fact.
    """

    level: Literal["error", "warning", "note"]
    what: str
    count: int
    example: str = ""


def check(dataset: MultimodalDataset) -> list[Finding]:
    """Everything noticed about a data set, the worst first; nothing of a test pair is told but its user."""
    found = [finding for look in _LOOKS for finding in look(dataset) if finding.count]
    return sorted(found, key=lambda f: ("error", "warning", "note").index(f.level))


def pair_counts(dataset: MultimodalDataset) -> dict[str, int]:
    """Number of distinct pairs in each split."""
    return {name: len(np.unique(keys)) for name, keys in _keys(dataset).items()}


def _splits(dataset: MultimodalDataset) -> dict[str, Interactions]:
    return {"train": dataset.train, "valid": dataset.valid, "test": dataset.test.open("rewrite")}


def _keys(dataset: MultimodalDataset) -> dict[str, np.ndarray]:
    return {name: part.user * dataset.num_items + part.item for name, part in _splits(dataset).items()}


def _first(label: str, ids: np.ndarray, rows: np.ndarray) -> str:
    return f"{label} {ids[rows[0]].item()!r}" if len(rows) else ""


def _leaks(dataset: MultimodalDataset) -> Iterator[Finding]:
    for (a, first), (b, second) in combinations(_keys(dataset).items(), 2):
        both = np.intersect1d(first, second)
        user = _first("user", dataset.user_ids, both // dataset.num_items)
        yield Finding("error", f"pairs in {a} and in {b}", len(both), user)


def _histories(dataset: MultimodalDataset) -> Iterator[Finding]:
    degree = np.bincount(dataset.train.pairs()[:, 0], minlength=dataset.num_users)
    trained = np.bincount(dataset.train.item, minlength=dataset.num_items) > 0
    full = np.flatnonzero(degree >= trained.sum())
    what = "users who trained on every item, so that no negative can be drawn"
    yield Finding("error", what, len(full), _first("user", dataset.user_ids, full))
    seen = np.zeros(dataset.num_users, dtype=bool)
    for name, part in _splits(dataset).items():
        seen[part.user] = True
        if name == "train":
            continue
        yield Finding("warning", f"the {name} split is empty", int(not len(part)))
        cold = np.unique(part.user[degree[part.user] == 0])
        what = f"{name} users without training history"
        yield Finding("warning", what, len(cold), _first("user", dataset.user_ids, cold))
        new = part.item[~trained[part.item]]
        yield Finding("warning", f"{name} interactions with items that never occur in training", len(new))
    idle, unsold = np.flatnonzero(~seen), np.flatnonzero(~trained)
    yield Finding("note", "users without any interaction", len(idle), _first("user", dataset.user_ids, idle))
    what = "items that never occur in training"
    yield Finding("note", what, len(unsold), _first("item", dataset.item_ids, unsold))


def _events(dataset: MultimodalDataset) -> Iterator[Finding]:
    repeated = len(dataset.train) - len(dataset.train.pairs())
    yield Finding("note", "training events that repeat a pair", repeated)
    for name, part in _splits(dataset).items():
        if dataset.clock == "unix" and part.timestamp is not None:
            odd = int((part.timestamp <= 0).sum())
            yield Finding("warning", f"{name} interactions without a real time (not after 1970)", odd)


def _features(dataset: MultimodalDataset) -> Iterator[Finding]:
    for modality in dataset.modalities:
        table = dataset.features[modality]
        norm = np.sqrt(np.einsum("id,id->i", table, table, dtype=np.float64))

        def item(rows: np.ndarray) -> str:
            return _first("item", dataset.item_ids, rows)

        empty = np.flatnonzero(norm == 0)
        yield Finding("warning", f"{modality} rows of zeros", len(empty), item(empty))
        same = dataset.num_items > 1 and not (table != table[0]).any()
        yield Finding("error", f"{modality} rows are all the same", dataset.num_items if same else 0)
        dead = np.flatnonzero(table.min(axis=0) == table.max(axis=0))
        yield Finding("note", f"{modality} dimensions with one value only", 0 if same else len(dead))
        rows = np.flatnonzero(norm)
        distinct = len({table[row].tobytes() for row in rows})
        what = f"{modality} rows that repeat another item's"
        yield Finding("note", what, 0 if same else len(rows) - distinct)
        usual = float(np.median(norm[rows])) if len(rows) else 0.0
        far = rows[(norm[rows] > 10 * usual) | (norm[rows] < usual / 10)]
        example = f"{item(far)}: {norm[far[0]]:.3g} against {usual:.3g}" if len(far) else ""
        yield Finding("warning", f"{modality} rows ten times longer or shorter than usual", len(far), example)


def _neighbours(dataset: MultimodalDataset, sample: int = 300) -> Iterator[Finding]:
    """Compare published neighbours with the nearest by cosine, for some items evenly spaced."""
    for modality, near in dataset.neighbours.items():
        own = int((near == np.arange(dataset.num_items)[:, None]).any(axis=1).sum())
        yield Finding("note", f"{modality} neighbour lists that hold the item itself", own)
        if modality not in dataset.features:
            yield Finding("note", f"{modality} neighbours without {modality} features", len(near))
            continue
        table = dataset.features[modality]
        unit = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12)
        items = np.unique(np.linspace(0, dataset.num_items - 1, sample).astype(np.int64))
        cosine = unit[items] @ unit.T
        nearest = np.argpartition(-cosine, min(near.shape[1], dataset.num_items) - 1, axis=1)[:, : near.shape[1]]
        share = float(np.mean([np.isin(n, k).mean() for n, k in zip(near[items], nearest, strict=True)]))
        what = f"{modality} neighbours that the {modality} features do not explain"
        example = f"{share:.0%} of the published are among the nearest (of {len(items)} items)"
        yield Finding("warning", what, round((1 - share) * near.size) if share < 0.5 else 0, example)


def _caveat(dataset: MultimodalDataset) -> Iterator[Finding]:
    yield Finding("note", f"caveat: {dataset.caveat}", int(bool(dataset.caveat)))


_LOOKS: tuple[Callable[[MultimodalDataset], Iterator[Finding]], ...] = (
    _leaks,
    _histories,
    _events,
    _features,
    _neighbours,
    _caveat,
)
