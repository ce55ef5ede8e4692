"""All runs of a folder as one table: found, listed, compared, exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from nbkit import config
from nbkit.errors import UserError
from nbkit.paths import runs_dir, write_atomic
from nbkit.runs import RunFolder


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of dotted names.

    >>> flatten({"a": {"b": 1}, "c": [2]})
    {'a.b': 1, 'c': [2]}
    """
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else key
        if isinstance(inner, dict):
            found |= flatten(inner, name)
        else:
            found[name] = inner
    return found


# What people want to know of a run, and what they call it.
_COLUMNS = {
    "run": "run",
    "status": "status",
    "model": "model",
    "dataset": "data",
    "seed": "seed",
    "fit.epochs": "epochs",
    "valid.train.recall@20": "valid recall@20",
    "test.train.recall@20": "test recall@20",
    "test.train+valid.recall@20": "test, valid masked",
    "noise": "noise",
}


def read_by_people(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of :meth:`RunStore.frame` that people read, under their names, by model, data and seed.

    Columns that nothing stands in are left out; counts are whole numbers although some run has none.
    """
    table = frame.copy()
    if "noise" in table:
        table["noise"] = table["noise"].map(_noise)
    table = table.sort_values([column for column in ("model", "dataset", "seed") if column in table])
    kept = [name for name in _COLUMNS if name in table and table[name].replace("", None).notna().any()]
    whole = {name: table[name].astype("Int64") for name in ("seed", "fit.epochs") if name in kept}
    return table.assign(**whole)[kept].rename(columns=_COLUMNS).reset_index(drop=True)


def _noise(value: Any) -> str:
    """Noise of a run's settings in the words of the command line."""
    return ", ".join(f"{n['operator']}:{n['rate']:g}" for n in value) if isinstance(value, list) else ""


class RunStore:
    """The runs below a folder. Many processes may write runs; nobody shares a file, so nothing needs a server."""

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = runs_dir() if root is None else Path(root)

    def runs(self) -> list[RunFolder]:
        """Every run folder, by id."""
        if not self.root.is_dir():
            return []
        return [RunFolder(path) for path in sorted(self.root.iterdir()) if (path / "settings.json").exists()]

    def find(self, prefix: str) -> RunFolder:
        """The one run whose id begins so.

        Raises:
            UserError: none does, or more than one.
        """
        found = [run for run in self.runs() if run.id.startswith(prefix)]
        if len(found) != 1:
            kind = "no run" if not found else f"{len(found)} runs"
            raise UserError(f"{kind} in {str(self.root)!r} begin with {prefix!r}; expected one id of `nbkit runs list`")
        return found[0]

    def frame(self) -> pd.DataFrame:
        """One row a run: id, status, dotted settings, data, and metrics as ``valid.train.recall@20`` and the like."""
        rows = []
        for run in self.runs():
            row: dict[str, Any] = {"run": run.id, "status": run.status}
            try:
                row |= flatten(run.read_json("settings.json"))
                environment = run.read_json("environment.json")
                row |= {"dataset": environment["dataset"]["name"], "caveat": environment["dataset"]["caveat"]}
                row["device"] = environment.get("device", "")
                if row["status"] == "done":
                    row |= flatten(run.read_json("metrics.json"))
            except (UserError, KeyError) as error:
                row |= {"status": "damaged", "reason": str(error)}
            rows.append(row)
        return pd.DataFrame(rows)

    def per_user(self, runs: list[str] | None = None, *, split: str = "valid", masking: str = "train") -> pd.DataFrame:
        """Per-user scores of finished runs as one table with a ``run`` column, differing columns united.

        Raises:
            UserError: no such scores are there.
        """
        import duckdb

        wanted = [run for run in self.runs() if run.status == "done" and (runs is None or run.id in runs)]
        files = [str(run / "per_user.parquet") for run in wanted]
        if not files:
            raise UserError(f"no finished run in {str(self.root)!r}; train one first")
        with duckdb.connect() as connection:
            table: pd.DataFrame = connection.execute(
                "select parse_path(filename)[-2] as run, * exclude (filename) "
                "from read_parquet(?, union_by_name=true, filename=true) where split = ? and masking = ?",
                [files, split, masking],
            ).df()
        if table.empty:
            hint = "; open the test split of a run first (nbkit evaluate)" if split == "test" else ""
            raise UserError(f"no scores with split {split!r} and masking {masking!r}{hint}")
        return table

    def diff(self, *prefixes: str) -> pd.DataFrame:
        """Settings that differ between runs, one row a setting, one column a run."""
        columns = {}
        for prefix in prefixes:
            run = self.find(prefix)
            columns[run.id] = flatten(run.read_json("settings.json")) | {
                "data sha256": run.read_json("environment.json")["dataset"]["data"][:16]
            }
        table = pd.DataFrame(
            {run: {k: config.canonical_json(v) for k, v in column.items()} for run, column in columns.items()}
        )
        return table[table.nunique(axis=1, dropna=False) > 1]

    def export(self, path: Path) -> Path:
        """The table of all runs as ``.csv``, ``.parquet`` or ``.json``.

        Raises:
            UserError: another suffix, or a place that cannot be written.
        """
        table, path = self.frame(), Path(path)
        texts = table.map(lambda v: json.dumps(v) if isinstance(v, list | dict) else v)
        writers = {
            ".csv": lambda: texts.to_csv(index=False).encode(),
            ".parquet": lambda: texts.to_parquet(index=False),
            ".json": lambda: texts.to_json(orient="records", indent=2).encode(),
        }
        if path.suffix not in writers:
            raise UserError(f"export to {str(path)!r}; expected a name ending in {', '.join(writers)}")
        write_atomic(path, writers[path.suffix]())
        return path
