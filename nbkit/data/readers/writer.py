"""Writing a data set in the Parquet layout: whole or not at all, and read back equal."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from nbkit.data.dataset import MultimodalDataset
from nbkit.data.splits import NAMES
from nbkit.errors import UserError

_OPTIONAL = ("timestamp", "behavior", "rating")


def write_parquet(
    dataset: MultimodalDataset,
    folder: Path,
    *,
    features: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
) -> Path:
    """Write everything that the data set holds, its test split and truth included; returns the folder.

    All goes to a temporary folder beside the target, which is then renamed. With ``features="float32"`` a
    read-back has the same fingerprint; float16 halves the size at a relative error of about 5e-4.

    Raises:
        UserError: the folder exists (with ``overwrite`` a folder of this layout is replaced), it cannot be
            written, or the features do not fit into float16. What was there before stays as it was.
    """
    folder = Path(folder).absolute()
    if folder.exists() and not (overwrite and (folder / "interactions.parquet").is_file()):
        expected = "or one of this layout" if overwrite else "or overwrite=True"
        raise UserError(f"{folder}: exists already; expected a new folder, {expected}")
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    replaced = folder.with_name(f"{temporary.name}.old")
    try:
        temporary.mkdir(parents=True)
        _write(dataset, temporary, np.dtype(features))
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
    except OSError as error:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); expected a writable place") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return folder


def _write(dataset: MultimodalDataset, folder: Path, precision: np.dtype[Any]) -> None:
    parts = dict(zip(NAMES, (dataset.train, dataset.valid, dataset.test.open("rewrite")), strict=True))
    present = {n: [c for c in _OPTIONAL if getattr(p, c) is not None] for n, p in parts.items()}
    events = {
        "user_id": _ids(dataset.user_ids)[np.concatenate([p.user for p in parts.values()])],
        "item_id": _ids(dataset.item_ids)[np.concatenate([p.item for p in parts.values()])],
        "split": np.repeat(np.array(NAMES, dtype=object), [len(p) for p in parts.values()]),
    }
    for column in (c for c in _OPTIONAL if any(c in columns for columns in present.values())):
        # A split without the column gets zeros; "columns" below says not to read them.
        values = [getattr(p, column) for p in parts.values()]
        dtype = next(v.dtype for v in values if v is not None)
        filled = [np.zeros(len(p), dtype) if v is None else v for p, v in zip(parts.values(), values, strict=True)]
        events[column] = np.concatenate(filled)
    if "behavior" in events:
        if not dataset.behaviors:
            raise UserError(f"{dataset.name}: interactions have behaviour codes, and there are no names for them")
        events["behavior"] = np.array(dataset.behaviors, dtype=object)[events["behavior"]]
    pd.DataFrame(events).to_parquet(folder / "interactions.parquet", index=False)
    pd.DataFrame({"user_id": _ids(dataset.user_ids)}).to_parquet(folder / "users.parquet", index=False)
    items = pd.DataFrame() if dataset.item_table is None else dataset.item_table.reset_index(drop=True)
    items = items.drop(columns="item_id", errors="ignore")
    items.insert(0, "item_id", _ids(dataset.item_ids))
    try:
        items.to_parquet(folder / "items.parquet", index=False)
    except (ValueError, TypeError) as error:  # pyarrow's way to say that a column mixes kinds
        raise UserError(f"{dataset.name}: item table cannot be written ({str(error)[:90]})") from None
    for modality, table in dataset.features.items():
        np.save(folder / f"{modality}.npy", _narrow(table, precision, modality))
    for modality, near in dataset.neighbours.items():
        item, rank = np.indices(near.shape)
        ids = _ids(dataset.item_ids)
        graph = {"item_id": ids[item.ravel()], "neighbor_id": ids[near.ravel()], "rank": rank.ravel()}
        pd.DataFrame(graph).to_parquet(folder / f"knn_{modality}.parquet", index=False)
    _write_truth(dataset, folder, precision)
    settings = {
        "name": dataset.name,
        "caveat": dataset.caveat,
        "clock": dataset.clock,
        "behaviors": list(dataset.behaviors),
        "feature_rows": "items.parquet",
        "item_table": [] if dataset.item_table is None else list(dataset.item_table),
        "columns": present,
        "truth": dataset.truth is not None,
        "fingerprint": dataset.fingerprint,
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "dataset.json").write_text(text + "\n", encoding="utf-8")


def _ids(ids: np.ndarray) -> np.ndarray:
    ids = np.asarray(ids)
    return ids.astype(object) if ids.dtype.kind == "U" else ids


def _narrow(table: np.ndarray, dtype: np.dtype[Any], modality: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = table.astype(dtype)
    if not np.isfinite(narrow).all():
        raise UserError(f"features {modality!r} reach {np.abs(table).max():g}; expected at most 65504 for float16")
    return narrow


def _write_truth(dataset: MultimodalDataset, folder: Path, dtype: np.dtype[Any]) -> None:
    truth = dataset.truth
    if truth is None:
        return
    (folder / "truth").mkdir()
    arrays = {"noisy_pairs": truth.noisy_pairs, "missing_pairs": truth.missing_pairs}
    arrays |= {f"noisy_rows.{m}": rows for m, rows in truth.noisy_rows.items()}
    arrays |= {f"clean_features.{m}": _narrow(t, dtype, m) for m, t in truth.clean_features.items()}
    np.savez(folder / "truth" / "arrays.npz", **arrays)  # type: ignore[arg-type]
    for name in ("relevant", "nuisance"):
        table = getattr(truth, name)
        if table is not None:
            table.to_parquet(folder / "truth" / f"{name}.parquet", index=False)
