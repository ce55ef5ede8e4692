"""What is known about noise, added up over the operators that made it."""

from __future__ import annotations

import dataclasses

import numpy as np

from nbkit.data.dataset import Truth


def _without(pairs: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The pairs, sorted, that are not among ``gone``: ``(N, 2)`` each."""
    pairs = np.unique(pairs.reshape(-1, 2), axis=0)
    if not len(pairs) or not len(gone):
        return pairs
    width = int(max(pairs[:, 1].max(), gone[:, 1].max())) + 1
    return pairs[~np.isin(pairs @ [width, 1], gone @ [width, 1])]


def merge_truth(earlier: Truth | None, later: Truth) -> Truth:
    """What is true after both: ``earlier`` about the data that the ``later`` noise was put on.

    Noise that was dropped later is no longer observed, and never was genuine; a genuine pair that was missing
    and is observed later is no longer missing. Clean features are those from before the first touch.
    """
    if earlier is None:
        return later
    noisy = _without(earlier.noisy_pairs, later.missing_pairs)
    missing = _without(earlier.missing_pairs, later.noisy_pairs)
    dropped = _without(later.missing_pairs, earlier.noisy_pairs)
    rows = dict(earlier.noisy_rows)
    for modality, touched in later.noisy_rows.items():
        rows[modality] = touched | rows[modality] if modality in rows else touched
    return dataclasses.replace(
        earlier,
        noisy_pairs=np.unique(np.concatenate([noisy, later.noisy_pairs]), axis=0),
        missing_pairs=np.unique(np.concatenate([missing, dropped]), axis=0),
        noisy_rows=rows,
        clean_features={**later.clean_features, **earlier.clean_features},
    )
