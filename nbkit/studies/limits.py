"""What a table of results is read against: a list that knows nobody, and a ranker that knows everything planted."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from nbkit.data import catalog
from nbkit.data.dataset import MultimodalDataset
from nbkit.evaluation import final, references

POPULARITY, PERFECT = "popularity", "perfect knowledge"


def known_limits(
    dataset: MultimodalDataset,
    spec: str,
    *,
    ks: Sequence[int] = (5, 10, 20, 50),
    masking: final.Masking = "train",
) -> dict[str, pd.DataFrame]:
    """Per-user test scores of popularity and, on built-in planted data, of perfect knowledge, by name.

    Neither is trained nor selected, so showing them beside finished runs gives nothing away. ``spec`` is the name that
    the data set was loaded by. Columns are those of a run's ``per_user.parquet``.
    """
    limits = {POPULARITY: final.reference_test(dataset, references.popularity(dataset), ks=ks)[masking]}
    oracle = catalog.perfect_knowledge(spec)
    if oracle is not None:
        tables = final.reference_test(dataset, lambda users: torch.from_numpy(oracle.score(users.numpy())), ks=ks)
        limits[PERFECT] = tables[masking]
    return limits
