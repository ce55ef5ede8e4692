"""Reading data sets from folders: the layout is recognised, everything is checked, ids are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nbkit import config
from nbkit.data.dataset import MultimodalDataset
from nbkit.data.readers import files
from nbkit.data.readers.mmrec import read_mmrec
from nbkit.data.readers.parquet import read_parquet
from nbkit.data.readers.raw import interaction_tables, read_raw
from nbkit.data.readers.sparse import read_sparse, split_files
from nbkit.data.readers.tables import SUFFIXES
from nbkit.data.readers.writer import write_parquet
from nbkit.errors import UserError, nearest

__all__ = [
    "READERS",
    "SUFFIXES",
    "detect",
    "read",
    "read_mmrec",
    "read_parquet",
    "read_raw",
    "read_sparse",
    "reader",
    "write_parquet",
]

READERS: dict[str, Callable[..., MultimodalDataset]] = {
    "parquet": read_parquet,
    "mmrec": read_mmrec,
    "sparse": read_sparse,
    "raw": read_raw,
}


def detect(path: Path) -> str:
    """The layout of a folder or file: ``parquet``, ``mmrec``, ``sparse`` or ``raw``.

    Raises:
        UserError: nothing there, or nothing that looks like a data set.
    """
    path = files.existing(Path(path), "data set")
    if path.is_file():
        if path.suffix == ".inter":
            return "mmrec"
        if path.suffix in SUFFIXES:
            return "raw"
        raise UserError(f"{path}: no data set file; expected a folder, .inter, {', '.join(SUFFIXES)}")
    if (path / "interactions.parquet").exists():
        columns = files.parquet_columns(path / "interactions.parquet")
        return "parquet" if {"user_id", "item_id"} <= set(columns) else "raw"
    if any(path.glob("*.inter")):
        return "mmrec"
    if "train" in split_files(path):
        return "sparse"
    if interaction_tables(path):
        return "raw"
    raise UserError(
        f"{path}: no data set in it; expected interactions.parquet, NAME.inter, trnMat.pkl "
        "or a table such as interactions.csv"
    )


def reader(layout: str) -> Callable[..., MultimodalDataset]:
    """The reader of a layout; UserError with the nearest one otherwise."""
    if layout not in READERS:
        raise UserError(f"unknown layout {layout!r}; {nearest(layout, READERS)}")
    return READERS[layout]


def read(path: Path, layout: str | None = None, **options: Any) -> MultimodalDataset:
    """The data set at a path; options are those of its layout's reader (``split``, ``modalities``, …).

    Raises:
        UserError: an unknown layout or option, or whatever the reader refuses.
    """
    layout = layout or detect(path)
    function = reader(layout)
    return function(Path(path), **config.check(function, options, where=f"{layout} data set {path}"))
