"""The one door to the test split: opened once per finished run, and the opening is on record."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from nbkit.data.dataset import MultimodalDataset, TrainingView
from nbkit.data.sequences import Past, joined
from nbkit.errors import UserError
from nbkit.evaluation.ranking import Evaluator, Ranker
from nbkit.runs import RunFolder

Masking = Literal["train", "train+valid"]
MASKINGS: tuple[Masking, ...] = ("train", "train+valid")

PER_USER, METRICS, OPENED = "per_user.parquet", "metrics.json", "test_opened.json"


def per_user_table(data: TrainingView, evaluator: Evaluator, ranker: Ranker, split: str, masking: str) -> pd.DataFrame:
    """One row a ranked user: split, masking, user row and id, number of relevant items, every metric."""
    users = evaluator.users.cpu().numpy()
    columns = {name: values.cpu().numpy() for name, values in evaluator.per_user(ranker).items()}
    return pd.DataFrame(
        {
            "split": split,
            "masking": masking,
            "user": users,
            "user_id": np.asarray(data.user_ids)[users].astype(str),
            "relevant": evaluator.relevant.cpu().numpy(),
            **columns,
        }
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
    Per-user rows are added to the run's ``per_user.parquet``, means to ``metrics.json``, the opening to
    ``test_opened.json``.

    Raises:
        UserError: the run is not finished.
    """
    if run.status != "done":
        raise UserError(f"run {run.id} is {run.status}; expected a finished run before the test split is opened")
    metrics = run.read_json(METRICS)
    if (run / OPENED).exists() and "test" in metrics:
        return dict(metrics["test"])
    run.write_json(OPENED, {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "data": dataset.fingerprint})
    tables = _test_tables(dataset, ranker, ks, device)
    seen = run.read_table(PER_USER)
    run.write_table(PER_USER, pd.concat([seen[seen["split"] != "test"], *tables.values()], ignore_index=True))
    metrics["test"] = {masking: mean_metrics(table) for masking, table in tables.items()}
    run.write_json(METRICS, metrics)
    return dict(metrics["test"])


def reference_test(
    dataset: MultimodalDataset, ranker: Ranker, *, ks: Sequence[int] = (5, 10, 20, 50)
) -> dict[Masking, pd.DataFrame]:
    """Per-user test scores, by masking, of a ranker that was neither trained nor selected (popularity, say)."""
    return _test_tables(dataset, ranker, ks, "cpu")


def _test_tables(
    dataset: MultimodalDataset, ranker: Ranker, ks: Sequence[int], device: Any
) -> dict[Masking, pd.DataFrame]:
    held_out, train, valid = dataset.test.open("final_test"), dataset.train.pairs(), dataset.valid.pairs()
    exclude = {"train": [train], "train+valid": [train, valid]}
    past = Past(dataset.sealed(), joined(dataset.train, dataset.valid), held_out)
    tables: dict[Masking, pd.DataFrame] = {}
    for masking in MASKINGS:
        pairs = (held_out.pairs(), exclude[masking])
        evaluator = Evaluator(*pairs, dataset.num_users, dataset.num_items, ks=ks, device=device, past=past)
        tables[masking] = per_user_table(dataset, evaluator, ranker, "test", masking)
    return tables
