"""Files as arrays and tables, with one clear line for every way in which they can be wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from nbkit.errors import UserError, nearest


def existing(path: Path, what: str) -> Path:
    """The path itself.

    Raises:
        UserError: there is no such file or folder.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{what} {str(path)!r} does not exist")
    return path


def load_array(path: Path) -> np.ndarray:
    """A feature table ``(I, D)`` float32 from a ``.npy`` file of any float type; pickles are refused.

    Raises:
        UserError: missing, truncated or object file, wrong shape or dtype, NaN or infinity (with its place).
    """
    existing(path, "feature file")
    try:
        with open(path, "rb") as file:
            table = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError, BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npy array of numbers ({str(error)[:90]})") from None
    if not isinstance(table, np.ndarray) or table.dtype.kind != "f" or table.ndim != 2:
        found = f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else "an archive of arrays"
        raise UserError(f"{path}: {found}; expected a float16, float32 or float64 table (items, dimensions)")
    with np.errstate(over="ignore"):
        table = np.ascontiguousarray(table, dtype=np.float32)
    check_finite(table, str(path))
    return table


def check_finite(table: np.ndarray, where: str) -> None:
    """Refuse NaN and infinity, naming the row and the column of the first."""
    finite = np.isfinite(table)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise UserError(f"{where}: {table[row, column]} at row {row}, column {column}; expected finite numbers")


def load_features(files: dict[str, Path], rows: int | None = None) -> dict[str, np.ndarray]:
    """Feature tables by modality, all with the same number of rows.

    Raises:
        UserError: a file with another number of rows than ``rows``, or than the first file.
    """
    tables: dict[str, np.ndarray] = {}
    for modality, path in files.items():
        table = load_array(path)
        if rows is not None and len(table) != rows:
            raise UserError(f"{path}: {len(table)} rows; expected {rows}, one an item")
        tables[modality], rows = table, len(table)
    return tables


def choose_modalities(files: dict[str, Path], wanted: Sequence[str] | None, folder: Path) -> dict[str, Path]:
    """The feature files to read, in sorted order.

    Without a wish: all, except variants such as ``text_mmrec`` where a plain ``text`` exists too.

    Raises:
        UserError: a wanted modality that the folder does not have.
    """
    if wanted is None:
        return {m: files[m] for m in sorted(files) if "_" not in m or m.split("_")[0] not in files}
    for modality in wanted:
        if modality not in files:
            raise UserError(f"{folder}: no features for modality {modality!r}; {nearest(modality, files)}")
    return {m: files[m] for m in wanted}


def load_parquet(path: Path, required: Iterable[str]) -> pd.DataFrame:
    """A Parquet table.

    Raises:
        UserError: missing or unreadable file, or a required column that is not there.
    """
    existing(path, "table")
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise UserError(f"{path}: not a readable Parquet file ({str(error)[:90]})") from None
    require_columns(table, required, path)
    return table.reset_index(drop=True)


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a Parquet file; UserError where it cannot be read."""
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({str(error)[:90]})") from None


def require_columns(table: pd.DataFrame, required: Iterable[str], path: Path) -> None:
    """Refuse a table without one of the required columns."""
    for column in required:
        if column not in table:
            raise UserError(f"{path}: column {column!r} is missing; {nearest(column, table.columns)}")


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: missing file, or text that is not JSON.
    """
    try:
        return json.loads(existing(path, "file").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({str(error)[:90]})") from None


def id_array(values: pd.Series, path: Path, column: str) -> np.ndarray:
    """A column of ids as an array of integers or text, dtype kept.

    Raises:
        UserError: an empty id (with its row), or ids that are neither integers nor text.
    """
    empty = np.flatnonzero(values.isna())
    if len(empty):
        raise UserError(f"{path}: {column} is empty in {place(values, empty[0])}; expected an id")
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.to_numpy()
    if pd.api.types.is_float_dtype(values.dtype) or pd.api.types.is_bool_dtype(values.dtype):
        raise UserError(f"{path}: {column} holds {values.dtype} ({values.iloc[0]!r}); expected integers or text")
    return values.astype(str).to_numpy(dtype=str)


def unique_ids(ids: np.ndarray, path: Path, column: str) -> np.ndarray:
    """The ids themselves.

    Raises:
        UserError: an id that occurs twice, with both rows.
    """
    duplicated = np.flatnonzero(pd.Index(ids).duplicated())
    if len(duplicated):
        again = duplicated[0]
        first = np.flatnonzero(ids == ids[again])[0]
        raise UserError(f"{path}: {column} {ids[again].item()!r} occurs at rows {first} and {again}; expected once")
    return ids


def rows_of(values: np.ndarray, ids: np.ndarray, path: Path, column: str) -> np.ndarray:
    """The row number of each value in an id table: ``(E,)`` int64.

    Raises:
        UserError: a value that is not in the table, with its row.
    """
    rows = pd.Index(ids).get_indexer(pd.Index(values)).astype(np.int64)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        value = values[unknown[0]].item()
        known = f"{ids[0].item()!r} … {ids[-1].item()!r}" if len(ids) else "none"
        raise UserError(
            f"{path}: unknown {column} {value!r} at row {unknown[0]} ({len(unknown):,} such rows); "
            f"expected one of {len(ids):,} known ids ({known})"
        )
    return rows


def integers(values: pd.Series, path: Path, column: str, low: int | None = None) -> np.ndarray:
    """A column as int64.

    Raises:
        UserError: the first value that is not a whole number (or lies below ``low``), with its row.
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(numbers) | (numbers != np.floor(numbers))
    if low is not None:
        bad |= numbers < low
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        expected = "a whole number" if low is None else f"a whole number from {low}"
        value = _plain(values.iloc[row])
        raise UserError(f"{path}: {column} {value!r} in {place(values, row)}; expected {expected}")
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.to_numpy(dtype=np.int64)  # beyond 2**53 a float would lose digits
    return numbers.astype(np.int64)


def place(values: pd.Series | pd.DataFrame, k: int) -> str:
    """Where the k-th entry stands: ``line 7`` of a text whose index numbers the lines, else ``row 5``."""
    return f"{values.index.name or 'row'} {values.index[k]}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
