"""The one door to the test split: opened once per finished run, and the opening is on record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from nbkit.data.dataset import MultimodalDataset, TrainingView
from nbkit.data.sequences import Past, joined
from nbkit.errors import UserError
from nbkit.evaluation.ranking import Evaluator, Ranker
from nbkit.runs import RunFolder

Masking = Literal["train", "train+valid"]
MASKINGS: tuple[Masking, ...] = ("train", "train+valid")

PER_USER, PLACES, METRICS, OPENED = "per_user.parquet", "places.parquet", "metrics.json", "test_opened.json"


@dataclass(frozen=True)
class Tables:
    """What a ranking leaves: ``users``, one row a ranked user (split, masking, user row and id, number of relevant
    items, every metric), and ``places``, one row a held-out pair (split, masking, user, item, rank).

    ``rank`` is the 0-based place among all items, -1 where it is beyond the largest K.
    """

    users: pd.DataFrame
    places: pd.DataFrame


def ranking_tables(data: TrainingView, evaluator: Evaluator, ranker: Ranker, split: str, masking: str) -> Tables:
    """Rank once, keep it by user and by held-out pair."""
    users = evaluator.users.cpu().numpy()
    row, item, place = evaluator.places(ranker)
    columns = {name: values.cpu().numpy() for name, values in evaluator.metrics(row, place).items()}
    head = {"split": split, "masking": masking}
    by_user = {
        "user": users,
        "user_id": np.asarray(data.user_ids)[users].astype(str),
        "relevant": evaluator.relevant.cpu().numpy(),
    }
    rank = torch.where(place < max(evaluator.ks), place, -1).cpu().numpy()
    pairs = {"user": users[row.cpu().numpy()], "item": item.cpu().numpy(), "rank": rank}
    order = np.lexsort((pairs["item"], pairs["user"]))
    return Tables(
        pd.DataFrame({**head, **by_user, **columns}),
        pd.DataFrame({**head, **{name: values[order] for name, values in pairs.items()}}),
    )


def mean_metrics(table: pd.DataFrame) -> dict[str, float]:
    """Means over users of every metric column."""
    return {name: float(table[name].mean()) for name in table.columns if "@" in name}


def validation_evaluator(data: TrainingView, *, ks: Sequence[int], device: Any = "cpu") -> Evaluator:
    """Full ranking of the validation pairs, training items masked; models see training events before them."""
    view = data.sealed()
    past = Past(view, view.train, view.valid)
    pairs = (view.valid.pairs(), [view.train.pairs()])
    return Evaluator(*pairs, view.num_users, view.num_items, ks=ks, device=device, past=past)


def final_test(
    run: RunFolder,
    dataset: MultimodalDataset,
    ranker: Ranker,
    *,
    ks: Sequence[int] = (5, 10, 20, 50),
    device: Any = "cpu",
) -> dict[str, dict[str, float]]:
    """Test metrics of a finished run under both maskings; a second call gives the recorded numbers back.

    ``train`` masks training items only, as MMRec does; ``train+valid`` also those seen in validation, as is proper.
    Under both a model sees of each user the training and validation events before the first test pair.
    Per-user rows are added to the run's ``per_user.parquet``, ranks of held-out pairs to ``places.parquet``, means to
    ``metrics.json``, the opening to ``test_opened.json``.

    Raises:
        UserError: the run is not finished.
    """
    if run.status != "done":
        raise UserError(f"run {run.id} is {run.status}; expected a finished run before the test split is opened")
    metrics = run.read_json(METRICS)
    if (run / OPENED).exists() and "test" in metrics:
        return dict(metrics["test"])
    kept = {name: run.read_table(name) for name in (PER_USER, PLACES) if (run / name).exists()}
    run.write_json(OPENED, {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "data": dataset.fingerprint})
    tables = _test_tables(dataset, ranker, ks, device)
    parts = {PER_USER: [t.users for t in tables.values()], PLACES: [t.places for t in tables.values()]}
    for name, found in parts.items():
        seen = [table[table["split"] != "test"] for table in (kept.get(name),) if table is not None]
        run.write_table(name, pd.concat([*seen, *found], ignore_index=True))
    metrics["test"] = {masking: mean_metrics(table.users) for masking, table in tables.items()}
    run.write_json(METRICS, metrics)
    return dict(metrics["test"])


def reference_test(
    dataset: MultimodalDataset, ranker: Ranker, *, ks: Sequence[int] = (5, 10, 20, 50)
) -> dict[Masking, pd.DataFrame]:
    """Per-user test scores, by masking, of a ranker that was neither trained nor selected (popularity, say)."""
    return {masking: table.users for masking, table in _test_tables(dataset, ranker, ks, "cpu").items()}


def _test_tables(dataset: MultimodalDataset, ranker: Ranker, ks: Sequence[int], device: Any) -> dict[Masking, Tables]:
    held_out, train, valid = dataset.test.open("final_test"), dataset.train.pairs(), dataset.valid.pairs()
    exclude = {"train": [train], "train+valid": [train, valid]}
    past = Past(dataset.sealed(), joined(dataset.train, dataset.valid), held_out)
    tables: dict[Masking, Tables] = {}
    for masking in MASKINGS:
        pairs = (held_out.pairs(), exclude[masking])
        evaluator = Evaluator(*pairs, dataset.num_users, dataset.num_items, ks=ks, device=device, past=past)
        tables[masking] = ranking_tables(dataset, evaluator, ranker, "test", masking)
    return tables
