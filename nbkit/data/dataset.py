"""The data set every room agrees on: train and validation in the open, the test split under a seal."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import pandas as pd

from nbkit.errors import SealedTestError, UserError

RATED, GOOD_RATING = "rated", 4  # a good rating stands in for a deep behaviour where there is one kind of event


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Interactions:
    """Events of users with items, one row an event, held as equally long arrays.

    Shapes: every array is ``(E,)``. ``user`` and ``item`` are row numbers (int64) into the data set's id tables,
    ``timestamp`` is int64 (unix seconds, or the order within the user: see ``TrainingView.clock``),
    ``behavior`` holds int8 codes into ``TrainingView.behaviors``, ``rating`` is float32.

    Raises:
        UserError: arrays of different length, or an optional column that is not one value a row.
    """

    user: np.ndarray
    item: np.ndarray
    timestamp: np.ndarray | None = None
    behavior: np.ndarray | None = None
    rating: np.ndarray | None = None

    def __post_init__(self) -> None:
        dtypes = {
            "user": np.int64,
            "item": np.int64,
            "timestamp": np.int64,
            "behavior": np.int8,
            "rating": np.float32,
        }
        for name, dtype in dtypes.items():
            column = getattr(self, name)
            if column is None:
                continue
            column = np.ascontiguousarray(column, dtype=dtype)
            if column.shape != (len(self.user),):
                raise UserError(f"interactions: column {name!r} has shape {column.shape}, expected ({len(self.user)},)")
            object.__setattr__(self, name, _read_only(column))

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: np.ndarray) -> Interactions:
        """The chosen rows (an index or a boolean mask over ``E``), in the order given."""
        kept: dict[str, Any] = {name: None if (c := getattr(self, name)) is None else c[rows] for name in _COLUMNS}
        return Interactions(**kept)

    def pairs(self) -> np.ndarray:
        """Distinct (user, item) pairs, sorted by user, then item: ``(P, 2)`` int64."""
        if not len(self):
            return np.empty((0, 2), dtype=np.int64)
        return np.unique(np.stack([self.user, self.item], axis=1), axis=0)

    def frame(self) -> pd.DataFrame:
        """The same rows as a table, absent columns left out."""
        return pd.DataFrame({name: c for name in _COLUMNS if (c := getattr(self, name)) is not None})


_COLUMNS = tuple(f.name for f in dataclasses.fields(Interactions))


class SealedSplit:
    """The test interactions: their number is known, their content only to whoever breaks the seal by name."""

    def __init__(self, interactions: Interactions) -> None:
        self.__interactions = interactions

    def __len__(self) -> int:
        return len(self.__interactions)

    def __repr__(self) -> str:
        return f"<sealed test split of {len(self)} interactions>"

    def open(self, purpose: str) -> Interactions:
        """Hand out the test interactions; only the final test and the data writers of this package may call it."""
        if purpose not in ("final_test", "rewrite"):
            raise SealedTestError(
                f"the test split is sealed: asked for {purpose!r}; only evaluation.final_test(run) opens it"
            )
        return self.__interactions


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about noise, because it was planted or injected; every part may be empty.

    Shapes: ``noisy_pairs`` ``(N, 2)`` observed training pairs that are noise; ``missing_pairs`` ``(M, 2)`` genuine
    pairs that are not observed; ``noisy_rows[modality]`` ``(I,)`` bool, items whose feature row was touched;
    ``clean_features[modality]`` ``(I, D_m)`` the features before they were touched;
    ``relevant`` and ``nuisance`` one row an item, categorical attributes that do and do not drive preference.
    """

    noisy_pairs: np.ndarray = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    missing_pairs: np.ndarray = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    noisy_rows: Mapping[str, np.ndarray] = field(default_factory=dict)
    clean_features: Mapping[str, np.ndarray] = field(default_factory=dict)
    relevant: pd.DataFrame | None = None
    nuisance: pd.DataFrame | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingView:
    """Everything of a data set that training, early stopping, sweeps and callbacks may see: no test split.

    Shapes: ``user_ids`` ``(U,)`` and ``item_ids`` ``(I,)`` original ids; ``features[m]`` ``(I, D_m)`` float32, row k
    belongs to ``item_ids[k]``; ``neighbours[m]`` ``(I, k)`` int64 published nearest items where a source ships them;
    ``item_table`` one row an item, in order (``title``, ``category``, ``image``: SVG text or encoded bytes).
    ``clock`` says what timestamps are: ``"unix"`` seconds, ``"order"`` within the user, or None.
    ``caveat`` is printed wherever results on this data set are reported.

    Raises:
        UserError: duplicate ids, row numbers outside the id tables, a feature table that is not one finite row an item.
    """

    name: str
    user_ids: np.ndarray
    item_ids: np.ndarray
    train: Interactions
    valid: Interactions
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    neighbours: Mapping[str, np.ndarray] = field(default_factory=dict)
    item_table: pd.DataFrame | None = None
    behaviors: tuple[str, ...] = ()
    clock: str | None = None
    caveat: str = ""
    fingerprint: str = ""

    def __post_init__(self) -> None:
        for label, ids in (("user", self.user_ids), ("item", self.item_ids)):
            values, counts = np.unique(ids, return_counts=True)
            if len(values) != len(ids):
                raise UserError(
                    f"{self.name}: duplicate {label} id {str(values[counts > 1][0])!r}; every id must occur once"
                )
        for split in self._splits():
            part = self.train if split == "train" else self.valid
            self._check_rows(split, part)
        for modality, table in self.features.items():
            self._check_features(modality, table)
        for modality, near in self.neighbours.items():
            if near.ndim != 2 or len(near) != self.num_items or near.min() < 0 or near.max() >= self.num_items:
                raise UserError(
                    f"{self.name}: neighbours {modality!r} have shape {near.shape}, "
                    f"expected ({self.num_items}, k) item rows"
                )
        if self.item_table is not None and len(self.item_table) != self.num_items:
            raise UserError(
                f"{self.name}: item table has {len(self.item_table)} rows, expected {self.num_items} (one an item)"
            )
        frozen = {m: _read_only(np.ascontiguousarray(f, dtype=np.float32)) for m, f in self.features.items()}
        object.__setattr__(self, "features", MappingProxyType(frozen))
        object.__setattr__(self, "neighbours", MappingProxyType({m: _read_only(n) for m, n in self.neighbours.items()}))

    def _splits(self) -> tuple[str, ...]:
        return ("train", "valid")

    def _check_rows(self, split: str, part: Interactions) -> None:
        for label, rows, size in (("user", part.user, self.num_users), ("item", part.item, self.num_items)):
            bad = np.flatnonzero((rows < 0) | (rows >= size))
            if len(bad):
                raise UserError(
                    f"{self.name}: {split} row {bad[0]} has {label} {rows[bad[0]]}, expected 0 … {size - 1}"
                )

    def _check_features(self, modality: str, table: np.ndarray) -> None:
        if table.ndim != 2 or len(table) != self.num_items:
            raise UserError(
                f"{self.name}: features {modality!r} have shape {table.shape}, "
                f"expected ({self.num_items}, D): one row an item"
            )
        finite = np.isfinite(table)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise UserError(
                f"{self.name}: features {modality!r} hold {table[row, column]} at row {row} "
                f"(item {str(self.item_ids[row])!r}), column {column}; expected finite numbers"
            )

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.item_ids)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the feature tables, sorted."""
        return tuple(sorted(self.features))

    def sealed(self) -> TrainingView:
        """This data without its test split."""
        return self

    def __repr__(self) -> str:
        shapes = ", ".join(f"{m} {self.features[m].shape[1]}" for m in self.modalities) or "none"
        return (
            f"{type(self).__name__}({self.name!r}: {self.num_users:,} users, {self.num_items:,} items, "
            f"{len(self.train):,} train + {len(self.valid):,} valid interactions, features: {shapes})"
        )


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class MultimodalDataset(TrainingView):
    """A whole data set: a training view, the sealed test split and, where noise was planted, the truth about it."""

    test: SealedSplit
    truth: Truth | None = None

    def __post_init__(self) -> None:
        if isinstance(self.test, Interactions):
            object.__setattr__(self, "test", SealedSplit(self.test))
        super().__post_init__()
        self._check_rows("test", self.test.open("rewrite"))
        object.__setattr__(self, "fingerprint", self._hash())

    def _hash(self) -> str:
        digest = hashlib.sha256()

        def add(label: str, value: Any) -> None:
            digest.update(label.encode())
            if isinstance(value, np.ndarray):
                array = value.astype(str) if value.dtype.kind in "OU" else np.ascontiguousarray(value)
                digest.update(f"{array.shape}{array.dtype.kind}".encode())
                digest.update("\0".join(array.ravel()).encode() if array.dtype.kind == "U" else array.tobytes())

        add("users", np.asarray(self.user_ids))
        add("items", np.asarray(self.item_ids))
        for split, part in (
            ("train", self.train),
            ("valid", self.valid),
            ("test", self.test.open("rewrite")),
        ):
            for column in _COLUMNS:
                add(f"{split}.{column}", getattr(part, column))
        for kind, tables in (("features", self.features), ("neighbours", self.neighbours)):
            for modality in sorted(tables):
                add(f"{kind}.{modality}", tables[modality])
        digest.update("\0".join(self.behaviors).encode())
        return digest.hexdigest()

    def sealed(self) -> TrainingView:
        """This data without its test split: what training may see."""
        return self._view

    @cached_property
    def _view(self) -> TrainingView:
        names = [f.name for f in dataclasses.fields(TrainingView)]
        return TrainingView(**{name: getattr(self, name) for name in names})

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed and a new fingerprint."""
        return dataclasses.replace(self, **changes)
