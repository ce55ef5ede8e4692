"""Tables as people have them (CSV, TSV, JSON lines, Parquet): lines numbered, columns recognised."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from nbkit.data.readers import files
from nbkit.errors import UserError, nearest

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
# What people call these columns, in lower case and letters only; the first match wins.
NAMES = {
    "user": ("userid", "user", "uid", "reviewerid", "customerid", "visitorid"),
    "item": ("itemid", "item", "iid", "parentasin", "asin", "movieid", "productid", "videoid"),
    "rating": ("rating", "overall", "score", "stars"),
    "timestamp": ("timestamp", "unixreviewtime", "unixtime", "datetime", "date", "time", "reviewtime"),
    "behavior": ("behavior", "behaviour", "behaviortype", "event", "eventtype", "action"),
}


def read_table(path: Path) -> pd.DataFrame:
    """A table whose cells are text as written (Parquet and JSON: as stored); its index numbers the lines.

    Raises:
        UserError: missing, empty or unreadable file, with the line where there is one.
    """
    files.existing(path, "table")
    if path.suffix == ".parquet":
        table = files.load_parquet(path, ())
    elif path.suffix in (".jsonl", ".json"):
        table = _read_json_lines(path)
    elif path.suffix in (".csv", ".tsv"):
        table = _read_text(path, "\t" if path.suffix == ".tsv" else ",")
    else:
        raise UserError(f"{path}: unknown kind of table {path.suffix!r}; expected one of {', '.join(SUFFIXES)}")
    if not len(table):
        raise UserError(f"{path}: no rows; expected at least one")
    return table


def _read_text(path: Path, separator: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except pd.errors.EmptyDataError:
        raise UserError(f"{path}: the file is empty; expected a header and rows") from None
    except (ValueError, OSError) as error:  # ParserError and UnicodeDecodeError are ValueErrors
        raise UserError(f"{path}: not readable as columns of text ({str(error).strip()[:90]})") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise UserError(f"{path}: more fields in a line than in the header; expected one name a field")
    table.index = pd.RangeIndex(2, len(table) + 2, name="line")  # line 1 is the header
    return table[(table.fillna("") != "").any(axis=1)]


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows, numbers = [], []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as text ({str(error)[:90]})") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON ({str(error)[:60]}): {line[:40]!r}") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number} is {line[:40]!r}; expected an object with named fields")
        rows.append(row)
        numbers.append(number)
    return pd.DataFrame(rows, index=pd.Index(numbers, name="line", dtype=np.int64))


def column(table: pd.DataFrame, role: str, name: str | None, path: Path) -> str | None:
    """The column of a role: the one named, or the one with a usual name; None where there is none.

    Raises:
        UserError: the named column is missing, or no column looks like the user or the item.
    """
    if name is not None:
        files.require_columns(table, (name,), path)
        return name
    plain = {re.sub("[^a-z]", "", str(c).split(":")[0].lower()): str(c) for c in reversed(table.columns)}
    found = next((plain[usual] for usual in NAMES[role] if usual in plain), None)
    if found is None and role in ("user", "item"):
        raise UserError(f"{path}: no {role} column; name it by {role}=…, {nearest(role, table.columns)}")
    return found


def text_ids(values: pd.Series, path: Path) -> np.ndarray:
    """Ids as text; UserError naming the line of the first that is empty."""
    empty = np.flatnonzero(values.isna() | (values.astype(str).str.strip() == ""))
    if len(empty):
        raise UserError(f"{path}: {values.name} is empty in {files.place(values, empty[0])}; expected an id")
    return values.astype(str).to_numpy(dtype=str)


def unix_times(values: pd.Series, path: Path) -> np.ndarray:
    """Unix seconds from seconds, milli-, micro- or nanoseconds (told apart by size), or from dates as UTC.

    Raises:
        UserError: the first value that is neither, with its line.
    """
    numbers = pd.to_numeric(values, errors="coerce") if values.dtype.kind != "M" else values.isna().astype(float)
    if values.dtype.kind != "M" and numbers.notna().all():
        seconds = numbers.to_numpy(dtype=np.float64)
        # 1e11 seconds is the year 5138: anything that large counts smaller units.
        unit = next((u for limit, u in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)) if np.median(seconds) > limit), 1.0)
        return np.floor(seconds / unit).astype(np.int64)
    times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
    if times.isna().any():
        times = pd.to_datetime(values, utc=True, errors="coerce", format="mixed")
    wrong = np.flatnonzero(times.isna())
    if len(wrong):
        value, place = values.iloc[wrong[0]], files.place(values, wrong[0])
        raise UserError(f"{path}: {values.name} {value!r} in {place}; expected unix seconds or a date")
    return times.dt.tz_convert(None).to_numpy().astype("datetime64[s]").astype(np.int64)


def feature_rows(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Ids as text ``(N,)`` and features ``(N, D)`` float32 of a feature file.

    ``image.npy`` takes its ids from ``image_ids.txt`` (one a line) beside it; a table has an id column and
    either one column of lists or numbers in all others.

    Raises:
        UserError: no ids, more or fewer ids than rows, an id that occurs twice, a cell that is no number.
    """
    if path.suffix == ".npy":
        table = files.load_array(path)
        beside = path.with_name(f"{path.stem}_ids.txt")
        if not beside.exists():
            raise UserError(f"{path}: {beside.name} is missing beside it; expected the id of each row, one a line")
        ids = np.array(beside.read_text(encoding="utf-8").split("\n"), dtype=str)
        ids = ids[:-1] if len(ids) and not ids[-1] else ids
        if len(ids) != len(table):
            raise UserError(f"{path}: {len(table)} rows, but {beside.name} has {len(ids)} ids; expected equally many")
        return files.unique_ids(np.char.strip(ids), beside, "id"), table
    frame = read_table(path)
    name = column(frame.rename(columns={"id": "item_id"}), "item", None, path)
    name = "id" if name not in frame else str(name)
    ids = files.unique_ids(text_ids(frame[name], path), path, name)
    return ids, _numbers(frame.drop(columns=name), path)


def _numbers(cells: pd.DataFrame, path: Path) -> np.ndarray:
    if cells.shape[1] == 1 and isinstance(cells.iloc[0, 0], list | np.ndarray):
        lengths = cells.iloc[:, 0].map(np.size)
        odd = np.flatnonzero(lengths != lengths.iloc[0])
        if len(odd):
            found, usual, place = lengths.iloc[odd[0]], lengths.iloc[0], files.place(cells, odd[0])
            raise UserError(f"{path}: {found} numbers in {place}; expected {usual}, as in the first")
        cells = pd.DataFrame(np.stack(list(cells.iloc[:, 0])), index=cells.index)
    numbers = cells.apply(pd.to_numeric, errors="coerce")
    wrong = np.argwhere(~np.isfinite(numbers.to_numpy(dtype=np.float64)))
    if len(wrong):
        row, k = wrong[0]
        raise UserError(
            f"{path}: {cells.iloc[row, k]!r} in {files.place(cells, row)}, column {cells.columns[k]!r}; "
            "expected a finite number"
        )
    return numbers.to_numpy(dtype=np.float32)
