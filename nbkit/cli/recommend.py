"""``nbkit recommend``: what a finished run recommends to whom."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbkit.cli import console
from nbkit.cli.options import (
    DataOfRun,
    Device,
    RunId,
    RunsDir,
    TableFile,
    check_table_file,
    data_of,
    open_run,
    write_table,
)
from nbkit.errors import UserError

if TYPE_CHECKING:
    from nbkit.data.dataset import MultimodalDataset


def recommend(
    run: RunId,
    users: Annotated[str | None, typer.Option(metavar="ID,ID", help="Users by their original ids.")] = None,
    users_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Text file with one user id a line.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every user of the data.")] = False,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Items a user.")] = 10,
    out: TableFile = None,
    data: DataOfRun = None,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Recommend items that users have not seen.

    Users and items are named by their original ids.

    \b
    Examples:
      nbkit recommend 3fa9c1 --users u17,u42 -k 5
      nbkit recommend 3fa9c1 --all -k 20 --out recommendations.parquet
    """
    from nbkit.studies.experiment import load_model
    from nbkit.studies.recommend import recommendations
    from nbkit.training.loop import pick_device

    if sum((users is not None, users_file is not None, everyone)) != 1:
        raise UserError("expected exactly one of --users ID,ID, --users-file FILE and --all")
    check_table_file(out)
    found, where = open_run(run, root), pick_device(device)
    dataset = data_of(found, data)
    rows = None if everyone else user_rows(_wanted(users, users_file), dataset)
    table = recommendations(load_model(found, dataset).to(where), dataset, rows, k)
    if out is None:
        console.print_table(list(table.columns), table.astype(object).to_numpy().tolist())
    else:
        write_table(out, table)
        console.say(f"{len(table):,} rows, {table['user_id'].nunique():,} users: {out}")


def _wanted(users: str | None, users_file: Path | None) -> list[str]:
    if users_file is None:
        return [text.strip() for text in (users or "").split(",") if text.strip()]
    try:
        return [line.strip() for line in users_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--users-file {str(users_file)!r}: {error}; expected a text file with one id a line") from None


def user_rows(wanted: Sequence[str], dataset: MultimodalDataset) -> list[int]:
    """Row numbers of users given by their original ids.

    Raises:
        UserError: nobody, or an id that the data does not have; it names the nearest.
    """
    if not wanted:
        raise UserError("--users: no id; expected one or more original user ids")
    row = {str(user): number for number, user in enumerate(dataset.user_ids.tolist())}
    for user in wanted:
        if user not in row:
            close = difflib.get_close_matches(user, row, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(
                f"unknown user {user!r}; {hint}(expected one of {len(row):,} ids such as {next(iter(row))!r})"
            )
    return [row[user] for user in dict.fromkeys(wanted)]
