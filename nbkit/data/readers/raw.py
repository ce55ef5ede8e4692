"""Interactions as people have them: columns of any name, ids of any kind, yet to be filtered and cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd

from nbkit.config import Range
from nbkit.data import splits
from nbkit.data.dataset import Interactions, MultimodalDataset
from nbkit.data.readers import assemble, files, tables
from nbkit.errors import UserError

_ITEMS = ("items", "item", "metadata")


def read_raw(
    path: Path,
    *,
    user: Annotated[str | None, "name of the user column"] = None,
    item: Annotated[str | None, "name of the item column"] = None,
    rating: Annotated[str | None, "name of the rating column"] = None,
    timestamp: Annotated[str | None, "name of the time column"] = None,
    behavior: Annotated[str | None, "name of the behaviour column"] = None,
    features: Annotated[Mapping[str, str] | None, "feature file by modality"] = None,
    missing: Annotated[Literal["error", "zero"], "what to do for items without a feature row"] = "error",
    core_user: Annotated[int, Range(0), "least number of items a user"] = 0,
    core_item: Annotated[int, Range(0), "least number of users an item"] = 0,
    modalities: assemble.Modalities = None,
    split: assemble.Split = None,
    target: assemble.Target = None,
    seed: assemble.SplitSeed = 0,
) -> MultimodalDataset:
    """A file of interactions, or a folder with one, ids kept as text; columns not named are recognised.

    Times are unix seconds, milliseconds or dates. A folder may also hold ``items.*`` (an id column, title,
    category) and features matched to items by id: ``<modality>.npy`` with ``<modality>_ids.txt``, or
    ``<modality>_feat.csv`` (``.parquet``) with an id column. Rows are filtered to the k-core, then cut.

    Raises:
        UserError: no such file or column, a line that cannot be read (with its number), an item without
            features, nothing left after the k-core.
    """
    path = files.existing(Path(path), "data set")
    source = _interactions_file(path) if path.is_dir() else path
    table = tables.read_table(source)
    given = {"user": user, "item": item, "rating": rating, "timestamp": timestamp, "behavior": behavior}
    named = {role: tables.column(table, role, name, source) for role, name in given.items()}

    keep = splits.k_core(
        tables.text_ids(table[named["user"]], source),
        tables.text_ids(table[named["item"]], source),
        core_user,
        core_item,
    )
    if not keep.any():
        raise UserError(
            f"{source}: nothing is left of {len(table)} interactions with core_user={core_user} and "
            f"core_item={core_item}; expected smaller values"
        )
    table = table[keep]
    user_ids, users = np.unique(tables.text_ids(table[named["user"]], source), return_inverse=True)
    item_ids, items = np.unique(tables.text_ids(table[named["item"]], source), return_inverse=True)
    columns: dict[str, np.ndarray] = {}
    behaviors: tuple[str, ...] = ()
    if name := named["timestamp"]:
        columns["timestamp"] = tables.unix_times(table[name], source)
    if name := named["rating"]:
        columns["rating"] = assemble.ratings(table[name], source)
    if name := named["behavior"]:
        behaviors = assemble.behavior_names(table[name], source)
        columns["behavior"] = pd.Index(behaviors).get_indexer(pd.Index(table[name].astype(str)))
    clock = "unix" if named["timestamp"] else None
    parts = assemble.cut(
        Interactions(users, items, **columns),
        None,
        how=split,
        target=target,
        seed=seed,
        behaviors=behaviors,
        clock=clock,
        where=source,
    )
    found = _feature_files(path) if path.is_dir() else {}
    found |= {modality: Path(file) for modality, file in (features or {}).items()}
    chosen = files.choose_modalities(found, modalities, path)
    return assemble.dataset(
        path.resolve().stem,
        source,
        parts,
        user_ids=user_ids,
        item_ids=item_ids,
        features={m: _aligned(file, item_ids, missing) for m, file in chosen.items()},
        item_table=_item_table(path, item_ids) if path.is_dir() else None,
        behaviors=behaviors,
        clock=clock,
    )


def interaction_tables(folder: Path) -> list[Path]:
    """The files of a folder that may hold its interactions: tables which are neither items nor features."""
    found = [p for p in sorted(folder.iterdir()) if p.suffix in tables.SUFFIXES and p.is_file()]
    return [p for p in found if p.stem not in _ITEMS and not p.stem.endswith("_feat")]


def _interactions_file(folder: Path) -> Path:
    found = interaction_tables(folder)
    named = [p for p in found if p.stem == "interactions"]
    if len(named or found) != 1:
        listed = ", ".join(p.name for p in found[:5]) or "none"
        raise UserError(f"{folder}: expected one table of interactions (interactions.csv or the like), found {listed}")
    return (named or found)[0]


def _feature_files(folder: Path) -> dict[str, Path]:
    kinds = [p for p in sorted(folder.iterdir()) if p.suffix == ".npy" or p.stem.endswith("_feat")]
    return {p.stem.removesuffix("_feat"): p for p in kinds}


def _aligned(path: Path, item_ids: np.ndarray, missing: str) -> np.ndarray:
    """The feature rows in the order of the items, zeros where ``missing="zero"`` allows them."""
    ids, table = tables.feature_rows(path)
    rows = pd.Index(ids).get_indexer(pd.Index(item_ids))
    absent = np.flatnonzero(rows < 0)
    if len(absent) and missing == "error":
        raise UserError(
            f"{path}: no features for {len(absent)} of {len(item_ids)} items, the first is "
            f"{item_ids[absent[0]].item()!r}; expected a row for every item (or missing='zero')"
        )
    aligned = table[rows]
    aligned[absent] = 0
    return aligned


def _item_table(folder: Path, item_ids: np.ndarray) -> pd.DataFrame | None:
    found = [p for p in sorted(folder.iterdir()) if p.suffix in tables.SUFFIXES and p.stem in _ITEMS]
    if not found:
        return None
    table = tables.read_table(found[0])
    name = tables.column(table.rename(columns={"id": "item_id"}), "item", None, found[0])
    ids = tables.text_ids(table["id" if name not in table else name], found[0])
    files.unique_ids(ids, found[0], "item id")
    aligned = table.set_index(pd.Index(ids)).reindex(item_ids).reset_index(drop=True)
    if "item_id" in aligned:
        aligned = aligned.drop(columns="item_id")
    aligned.insert(0, "item_id", item_ids)
    return assemble.item_table(aligned)
