"""Noise in the features: rates are shares of I items (of D dimensions for dropout), decibels for white noise.

Every operator changes the named modalities, by default all. Published neighbours of a changed modality are
left out of the new data set: they were computed from the clean features and would give them away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nbkit.data.corrupt.truth import merge_truth
from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError, nearest


def gaussian(
    dataset: MultimodalDataset,
    rate: float,
    generator: np.random.Generator,
    *,
    modalities: Sequence[str] | None = None,
) -> tuple[MultimodalDataset, Truth]:
    """Add white noise at a signal-to-noise ratio of ``rate`` dB, in each modality against its mean square.

    x' = x + σ ε with σ² = mean(x²) / 10^(rate / 10). Rows of zeros are items without that modality and stay
    so.
    """
    tables = {}
    for modality in _chosen(dataset, modalities):
        clean = dataset.features[modality]
        noise = generator.standard_normal(clean.shape, dtype=np.float32)
        present = clean.any(axis=1, keepdims=True)
        energy = np.einsum("id,id->", clean, clean, dtype=np.float64)
        sigma = np.sqrt(energy / max(present.sum() * clean.shape[1], 1)) * 10 ** (-rate / 20)
        tables[modality] = clean + np.float32(sigma) * noise * present
    return _changed(dataset, tables)


def dimension_dropout(
    dataset: MultimodalDataset,
    rate: float,
    generator: np.random.Generator,
    *,
    modalities: Sequence[str] | None = None,
) -> tuple[MultimodalDataset, Truth]:
    """Set ``round(rate · D)`` dimensions of every item to zero, drawn anew for each item and modality."""
    tables = {}
    for modality in _chosen(dataset, modalities):
        table = dataset.features[modality].copy()
        count = round(rate * table.shape[1])
        order = np.argsort(generator.random(table.shape, dtype=np.float32), axis=1)
        np.put_along_axis(table, order[:, :count], 0, axis=1)
        tables[modality] = table
    return _changed(dataset, tables)


def row_shuffle(
    dataset: MultimodalDataset,
    rate: float,
    generator: np.random.Generator,
    *,
    modalities: Sequence[str] | None = None,
) -> tuple[MultimodalDataset, Truth]:
    """Overwrite the rows of ``round(rate · I)`` items by the clean row of a random other item.

    Items are drawn independently in each modality: some lose all their content, most of those touched keep a
    part. Source: the content noise of DA-MRS, without its accumulation over rates.
    """
    tables = {}
    for modality in _chosen(dataset, modalities):
        clean = dataset.features[modality]
        rows = _some(dataset, rate, generator)
        other = (rows + generator.integers(1, max(dataset.num_items, 2), size=len(rows))) % dataset.num_items
        table = clean.copy()
        table[rows] = clean[other]
        tables[modality] = table
    return _changed(dataset, tables)


def missing_modality(
    dataset: MultimodalDataset,
    rate: float,
    generator: np.random.Generator,
    *,
    modalities: Sequence[str] | None = None,
) -> tuple[MultimodalDataset, Truth]:
    """Set the rows of ``round(rate · I)`` items to zero, drawn independently in each modality."""
    tables = {}
    for modality in _chosen(dataset, modalities):
        table = dataset.features[modality].copy()
        table[_some(dataset, rate, generator)] = 0
        tables[modality] = table
    return _changed(dataset, tables)


def cross_modal_swap(
    dataset: MultimodalDataset,
    rate: float,
    generator: np.random.Generator,
    *,
    modalities: Sequence[str] | None = None,
) -> tuple[MultimodalDataset, Truth]:
    """Let ``round(rate · I)`` items swap their rows pairwise, each pair in one random modality only.

    Unlike with ``row_shuffle`` a touched item contradicts itself in exactly one modality and is right in the
    others, and each table keeps exactly the rows it had. An odd item out turns its pair into a ring of three;
    a single item has nobody to swap with and stays.
    """
    names = _chosen(dataset, modalities)
    tables = {modality: dataset.features[modality].copy() for modality in names}
    rows = _some(dataset, rate, generator)
    if len(rows) > 1:
        ring = np.minimum(np.arange(len(rows)) // 2, len(rows) // 2 - 1)  # (n,) number of the item's ring
        starts = np.flatnonzero(np.diff(ring, prepend=-1))
        partner = np.roll(rows, -1)
        partner[np.append(starts[1:], len(rows)) - 1] = rows[starts]
        modality_of = generator.integers(len(names), size=len(starts))[ring]
        for k, modality in enumerate(names):
            mine = modality_of == k
            tables[modality][rows[mine]] = dataset.features[modality][partner[mine]]
    return _changed(dataset, tables)


def _chosen(dataset: MultimodalDataset, modalities: Sequence[str] | None) -> tuple[str, ...]:
    if not dataset.features:
        raise UserError(f"data set {dataset.name!r} has no features; content noise needs at least one modality")
    for modality in modalities or ():
        if modality not in dataset.features:
            raise UserError(f"{dataset.name}: unknown modality {modality!r}; {nearest(modality, dataset.features)}")
    return tuple(modalities) if modalities is not None else dataset.modalities


def _some(dataset: MultimodalDataset, rate: float, generator: np.random.Generator) -> np.ndarray:
    return generator.permutation(dataset.num_items)[: round(rate * dataset.num_items)]


def _changed(dataset: MultimodalDataset, tables: dict[str, np.ndarray]) -> tuple[MultimodalDataset, Truth]:
    """The data set with these tables; touched is what differs from before."""
    touched = {m: (table != dataset.features[m]).any(axis=1) for m, table in tables.items()}
    differ = {m for m, rows in touched.items() if rows.any()}
    stale = differ | {m.split("_")[0] for m in differ}  # the graph of text_mmrec is filed under text
    own = Truth(
        noisy_rows={m: touched[m] for m in sorted(differ)},
        clean_features={m: dataset.features[m] for m in sorted(differ)},
    )
    changed = dataset.replace(
        features={**dataset.features, **tables},
        neighbours={m: near for m, near in dataset.neighbours.items() if m not in stale},
        truth=merge_truth(dataset.truth, own),
    )
    return changed, own
