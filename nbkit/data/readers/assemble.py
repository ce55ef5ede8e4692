"""From a table of events to a data set: types checked, behaviours coded, split as the file says or anew."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from nbkit.config import Seed
from nbkit.data import splits
from nbkit.data.dataset import GOOD_RATING, RATED, Interactions, MultimodalDataset
from nbkit.data.readers import files
from nbkit.errors import UserError, nearest
from nbkit.repro import numpy_generator

# Settings that several readers share.
Modalities = Annotated[tuple[str, ...] | None, "feature tables to load; all where left out"]
Split = Annotated[splits.SplitName | None, "how to cut; as the file says where left out"]
Target = Annotated[str | None, "behaviour that is held out, or 'rated' (a rating of 4 or more); any where left out"]
SplitSeed = Annotated[Seed, "seed of a random split"]


def event_columns(events: pd.DataFrame, path: Path, behaviors: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The optional columns of a table of events as arrays: timestamp, rating and behaviour codes.

    Raises:
        UserError: a timestamp that is not whole, a rating that is no number, an unknown behaviour.
    """
    columns: dict[str, np.ndarray] = {}
    if "timestamp" in events:
        columns["timestamp"] = files.integers(events["timestamp"], path, "timestamp")
    if "rating" in events:
        columns["rating"] = ratings(events["rating"], path)
    if "behavior" in events:
        codes = pd.Index(behaviors).get_indexer(pd.Index(events["behavior"].astype(str)))
        unknown = np.flatnonzero(codes < 0)
        if len(unknown):
            value, place = events["behavior"].iloc[unknown[0]], files.place(events, unknown[0])
            raise UserError(f"{path}: behavior {value!r} in {place}; {nearest(str(value), behaviors)}")
        columns["behavior"] = codes
    return columns


def ratings(values: pd.Series, path: Path) -> np.ndarray:
    """A column of ratings as float32; UserError naming the row of the first that is no number."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise UserError(f"{path}: rating {values.iloc[bad[0]]!r} in {files.place(values, bad[0])}; expected a number")
    return numbers.astype(np.float32)


def behavior_names(column: pd.Series, path: Path) -> tuple[str, ...]:
    """Names of the behaviours of a column, sorted; their places are the codes.

    Raises:
        UserError: an empty cell, or more names than codes.
    """
    empty = np.flatnonzero(column.isna())
    if len(empty):
        raise UserError(f"{path}: behavior is empty in {files.place(column, empty[0])}; expected a name such as 'view'")
    names = tuple(sorted(column.astype(str).unique()))
    if len(names) > 127:
        raise UserError(f"{path}: {len(names)} different behaviors, such as {names[0]!r}; expected at most 127")
    return names


def split_codes(column: pd.Series, path: Path) -> np.ndarray:
    """``train``, ``valid`` and ``test`` as codes 0, 1, 2; UserError naming the row of anything else."""
    codes = pd.Index(splits.NAMES).get_indexer(pd.Index(column.astype(str)))
    bad = np.flatnonzero(codes < 0)
    if len(bad):
        value = column.iloc[bad[0]]
        raise UserError(f"{path}: split {value!r} in {files.place(column, bad[0])}; expected train, valid or test")
    return codes


def cut(
    events: Interactions,
    codes: np.ndarray | None,
    *,
    how: splits.SplitName | None,
    target: str | None,
    seed: int,
    behaviors: tuple[str, ...],
    clock: str | None,
    where: Path,
) -> tuple[Interactions, Interactions, Interactions]:
    """Train, validation and test: by the given codes, or anew where ``how`` is named or there are no codes.

    Without either, each user's last pair is held out where there is time, random pairs where there is none.

    Raises:
        UserError: an unknown target behaviour, or a point in time asked for where only the order is known.
    """
    if codes is not None and how is None:
        train, valid, test = (events.take(np.flatnonzero(codes == code)) for code in range(3))
        return train, valid, test
    counted = None
    if target in behaviors:
        counted = np.asarray(events.behavior) == behaviors.index(target)
    elif target == RATED and events.rating is not None:
        counted = events.rating >= GOOD_RATING
    elif target is not None:
        names = behaviors if events.rating is None else (*behaviors, RATED)
        raise UserError(f"{where}: no behaviour {target!r}; {nearest(target, names)}")
    if how == "temporal" and clock == "order":
        raise UserError(
            f"{where}: split 'temporal' needs clock times, and only the order within each user is known; "
            "expected 'leave-one-out' or 'random'"
        )
    how = how or ("random" if events.timestamp is None else "leave-one-out")
    return splits.split_interactions(events, how, numpy_generator(seed, "split"), target=counted)


def dataset(
    name: str, where: Path, parts: tuple[Interactions, Interactions, Interactions], **fields: Any
) -> MultimodalDataset:
    """The data set of three splits, refused where there is nothing to train on."""
    train, valid, test = parts
    if not len(train):
        raise UserError(f"{where}: no training interactions; expected at least one")
    return MultimodalDataset(name=name, train=train, valid=valid, test=test, **fields)  # type: ignore[arg-type]


def item_table(table: pd.DataFrame | None, pictures: Mapping[Any, Any] | None = None) -> pd.DataFrame | None:
    """The item table with ``title``, ``category`` and ``image`` filled from what the source calls them."""
    if table is None:
        return None
    table = table.reset_index(drop=True)
    synonyms = {
        "title": ("title", "name", "keywords"),
        "category": ("category", "categories", "genres", "genre", "topic"),
    }
    for column, names in synonyms.items():
        source = next((n for n in names if n in table), None)
        if source is not None and source != column:
            table[column] = table[source]
    if pictures is not None and "image" not in table:
        table["image"] = pd.Series([pictures.get(i) for i in table["item_id"]], dtype=object)
    return table
