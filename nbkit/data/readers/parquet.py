"""The Parquet layout: ``interactions.parquet``, a ``<modality>.npy`` for each modality, and the items.

| file | content |
| --- | --- |
| ``interactions.parquet`` | user_id, item_id; optional split, rating, behavior, timestamp or position |
| ``<modality>.npy`` | features; row k is item_id k, or row k of ``items.parquet`` where ids are not 0 … I-1 |
| ``items.parquet``, ``users.parquet`` | optional: all ids, and columns such as title and category |
| ``posters.parquet`` | optional: item_id, jpeg |
| ``knn_<modality>.parquet`` | optional: item_id, neighbor_id and cosine or rank |
| ``dataset.json``, ``caveat.txt`` | optional: name, caveat, clock, behaviors; the writer adds the first |
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from nbkit.data.dataset import Interactions, MultimodalDataset, Truth
from nbkit.data.readers import assemble, files
from nbkit.errors import UserError


def read_parquet(
    folder: Path,
    *,
    modalities: assemble.Modalities = None,
    split: assemble.Split = None,
    target: assemble.Target = None,
    seed: assemble.SplitSeed = 0,
) -> MultimodalDataset:
    """A folder in the Parquet layout.

    A named ``split`` cuts anew and leaves the file's own split aside; without a split column the last pair of
    each user in time is held out, or random pairs where there is no time. Without ``modalities`` all feature
    tables are read, except variants such as ``text_mmrec`` beside a ``text``.

    Raises:
        UserError: whatever is missing, damaged, unknown or misaligned, with file and row.
    """
    folder = files.existing(Path(folder), "data set")
    known = _settings(folder)
    path = folder / "interactions.parquet"
    table = files.load_parquet(path, ("user_id", "item_id"))
    if not len(table):
        raise UserError(f"{path}: no rows; expected interactions")

    chosen = files.choose_modalities({p.stem: p for p in sorted(folder.glob("*.npy"))}, modalities, folder)
    features = files.load_features(chosen)
    rows = len(next(iter(features.values()))) if features else None
    item_ids, items = _items(folder, table, rows, in_order=known.get("feature_rows") == "items.parquet")
    if rows is not None and rows != len(item_ids):
        raise UserError(f"{next(iter(chosen.values()))}: {rows} rows; expected {len(item_ids)}, one an item")
    user_ids = _users(folder, table)

    clock = known.get("clock")
    if clock is None and ("timestamp" in table or "position" in table):
        clock = "unix" if "timestamp" in table else "order"
    if "timestamp" not in table and "position" in table:
        table = table.rename(columns={"position": "timestamp"})
    behaviors = tuple(known.get("behaviors", ()))
    if "behavior" in table and not behaviors:
        behaviors = assemble.behavior_names(table["behavior"], path)
    parts = assemble.cut(
        _events(table, path, user_ids, item_ids, behaviors),
        assemble.split_codes(table["split"], path) if "split" in table else None,
        how=split,
        target=target,
        seed=seed,
        behaviors=behaviors,
        clock=clock,
        where=folder,
    )
    return assemble.dataset(
        known.get("name", folder.resolve().name),
        folder,
        _without_absent(parts, known.get("columns")) if split is None else parts,
        user_ids=user_ids,
        item_ids=item_ids,
        features=features,
        neighbours=_neighbours(folder, item_ids, None if modalities is None else tuple(chosen)),
        item_table=_as_written(assemble.item_table(items, _pictures(folder)), known),
        behaviors=behaviors,
        clock=clock,
        caveat=_caveat(folder, known, tuple(chosen)),
        truth=_truth(folder, known),
    )


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.exists():
        return {}
    known = files.load_json(path)
    if not isinstance(known, dict):
        raise UserError(f"{path}: holds {type(known).__name__}; expected settings by name")
    return known


def _items(
    folder: Path, events: pd.DataFrame, rows: int | None, *, in_order: bool
) -> tuple[np.ndarray, pd.DataFrame | None]:
    """Item ids in the order of the feature rows, and the item table in that order."""
    path = folder / "items.parquet"
    if path.exists():
        table = files.load_parquet(path, ("item_id",))
        ids = files.unique_ids(files.id_array(table["item_id"], path, "item_id"), path, "item_id")
        numbers = ids.dtype.kind in "iu" and len(ids) and ids.min() == 0 and ids.max() == len(ids) - 1
        if numbers and not in_order:
            order = np.argsort(ids)
            return ids[order], table.iloc[order]
        return ids, table
    ids = files.id_array(events["item_id"], folder / "interactions.parquet", "item_id")
    if rows is None:
        return np.unique(ids).astype(np.int64 if ids.dtype.kind in "iu" else str), None
    if ids.dtype.kind not in "iu":
        raise UserError(f"{path} is missing; expected the ids of the feature rows, as item ids are no row numbers")
    return np.arange(rows), None


def _users(folder: Path, events: pd.DataFrame) -> np.ndarray:
    path = folder / "users.parquet"
    if path.exists():
        table = files.load_parquet(path, ("user_id",))
        return files.unique_ids(files.id_array(table["user_id"], path, "user_id"), path, "user_id")
    ids = np.unique(files.id_array(events["user_id"], folder / "interactions.parquet", "user_id"))
    return ids.astype(np.int64) if ids.dtype.kind in "iu" else ids


def _events(
    table: pd.DataFrame, path: Path, user_ids: np.ndarray, item_ids: np.ndarray, behaviors: tuple[str, ...]
) -> Interactions:
    ids = {c: files.id_array(table[c], path, c) for c in ("user_id", "item_id")}
    user = files.rows_of(ids["user_id"], user_ids, path, "user_id")
    item = files.rows_of(ids["item_id"], item_ids, path, "item_id")
    return Interactions(user, item, **assemble.event_columns(table, path, behaviors))


def _without_absent(
    parts: tuple[Interactions, Interactions, Interactions], columns: dict[str, list[str]] | None
) -> tuple[Interactions, Interactions, Interactions]:
    """Each split with only the columns that it had when it was written."""
    if columns is None:
        return parts
    train, valid, test = (
        Interactions(p.user, p.item, **{c: getattr(p, c) for c in columns.get(name, ())})
        for name, p in zip(("train", "valid", "test"), parts, strict=True)
    )
    return train, valid, test


def _as_written(table: pd.DataFrame | None, known: dict[str, Any]) -> pd.DataFrame | None:
    """The item table with only the columns that it had when it was written."""
    columns = known.get("item_table", () if table is None else list(table))
    return None if table is None or not columns else table[list(columns)]


def _pictures(folder: Path) -> dict[Any, bytes] | None:
    path = folder / "posters.parquet"
    if not path.exists():
        return None
    table = files.load_parquet(path, ("item_id", "jpeg"))
    return dict(zip(table["item_id"], table["jpeg"], strict=True))


def _neighbours(folder: Path, item_ids: np.ndarray, modalities: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """Published neighbours of the modalities, nearest first: ``(I, k)`` int64 each."""
    found = {}
    for path in sorted(folder.glob("knn_*.parquet")):
        modality = path.stem.removeprefix("knn_")
        # The graph of a variant such as text_mmrec is filed under its plain name.
        if modalities is not None and modality not in {m for full in modalities for m in (full, full.split("_")[0])}:
            continue
        table = files.load_parquet(path, ("item_id", "neighbor_id"))
        if "rank" in table:
            distance = table["rank"].to_numpy(dtype=np.float64)
        else:
            files.require_columns(table, ("cosine",), path)
            distance = -table["cosine"].to_numpy(dtype=np.float64)
        ids = {c: files.id_array(table[c], path, c) for c in ("item_id", "neighbor_id")}
        item = files.rows_of(ids["item_id"], item_ids, path, "item_id")
        near = files.rows_of(ids["neighbor_id"], item_ids, path, "neighbor_id")
        counts = np.bincount(item, minlength=len(item_ids))
        k = int(counts[0])
        odd = np.flatnonzero(counts != k)
        if len(odd):
            raise UserError(
                f"{path}: item {item_ids[odd[0]].item()!r} has {counts[odd[0]]} neighbours and "
                f"item {item_ids[0].item()!r} has {k}; expected equally many"
            )
        found[modality] = near[np.lexsort((distance, item))].reshape(len(item_ids), k)
    return found


def _caveat(folder: Path, known: dict[str, Any], modalities: tuple[str, ...]) -> str:
    """What must be said beside results: as ``dataset.json`` or ``caveat.txt`` has it, else by README.md.

    A line of README.md that names ``<modality>.npy`` and says RECONSTRUCTED marks that table.
    """
    if "caveat" in known:
        return str(known["caveat"])
    if (folder / "caveat.txt").exists():
        return " ".join((folder / "caveat.txt").read_text(encoding="utf-8").split())
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8", errors="replace").splitlines() if readme.exists() else []
    named = {m for line in lines if "RECONSTRUCTED" in line for m in re.findall(r"(\w+)\.npy", line)}
    fitted = [m for m in sorted(modalities) if m in named]
    return f"{' and '.join(fitted)} features are RECONSTRUCTED from published neighbour graphs" if fitted else ""


def _truth(folder: Path, known: dict[str, Any]) -> Truth | None:
    path = folder / "truth" / "arrays.npz"
    if not known.get("truth", path.exists()):
        return None
    files.existing(path, "truth")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}: not a readable archive of arrays ({str(error)[:90]})") from None
    tables = {n: folder / "truth" / f"{n}.parquet" for n in ("relevant", "nuisance")}
    return Truth(
        noisy_pairs=arrays["noisy_pairs"],
        missing_pairs=arrays["missing_pairs"],
        noisy_rows={n.partition(".")[2]: a for n, a in arrays.items() if n.startswith("noisy_rows.")},
        clean_features={n.partition(".")[2]: a for n, a in arrays.items() if n.startswith("clean_features.")},
        **{n: files.load_parquet(p, ()) if p.exists() else None for n, p in tables.items()},
    )
