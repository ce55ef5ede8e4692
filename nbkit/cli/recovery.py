"""``nbkit recovery``: how much of the known noise finished runs find and remove."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.cli import console
from nbkit.cli.options import DataOfRun, Device, RunsDir, TableFile, check_table_file, data_of, open_run, write_table

if TYPE_CHECKING:
    import pandas as pd


def recovery(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN [RUN...]", help="Finished runs; those that differ in seed count as one.")
    ],
    out: TableFile = None,
    data: DataOfRun = None,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Measure denoising directly, where the noise is known.

    Credibility of training pairs beside plain cosines; what features say about attributes that matter (relevant) and
    that do not (nuisance), raw and denoised. Several seeds are averaged, other settings compared pair by pair.

    \b
    Examples:
      nbkit recovery 3fa9c1
      nbkit recovery 3fa9c1 77b0de 0c12aa --out recovery.csv
    """
    from nbkit import repro
    from nbkit.studies import recovery as study
    from nbkit.training.loop import pick_device

    check_table_file(out)
    found, where = [open_run(run, root) for run in runs], pick_device(device)
    seeds = list(next(iter(study.experiments(found).values())))
    table = study.recovery(found, repro.numpy_generator(0, "recovery"), data_of(found[0], data), device=where)
    names = table["experiment"].unique().tolist()
    if out is None:
        covers = "users or items" + (" and seeds" if len(seeds) > 1 else "")
        covers += "; too few seeds to judge by, run three or more" if len(seeds) < 3 else ""
        trained = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        for name in names:
            console.say(f"{name}: {trained}; 95 % intervals over {covers}")
            _print(table[table["experiment"] == name], signed=" - " in name)
    else:
        write_table(out, table)
        console.say(f"{len(table):,} rows, {len(seeds)} seeds, {', '.join(names)}: {out}")
    if caveat := found[0].read_json("environment.json")["dataset"]["caveat"]:
        console.say(f"caveat: {caveat}")


def _print(rows: pd.DataFrame, *, signed: bool) -> None:
    """One table a modality, a column a measure; of the differences those of the last table from the others."""
    for modality in rows["modality"].unique().tolist():
        part = rows[rows["modality"] == modality]
        tables, measures = (part[column].unique().tolist() for column in ("table", "measure"))
        last = [table for table in tables if " - " not in table][-1]
        shown = [table for table in tables if " - " not in table or table.startswith(f"{last} - ")]
        cells = {(r.table, r.measure): _cell(r, signed or " - " in str(r.table)) for r in part.itertuples()}
        what = "pairs ({:,} users)" if modality == "all" else f"{modality} ({{:,}} items)"
        columns = [what.format(part["n"].iloc[0]), *measures]
        console.print_table(columns, [[table, *(cells.get((table, m)) for m in measures)] for table in shown])
        console.say("")


def _cell(row: Any, signed: bool) -> str:
    sign = "+" if signed else ""
    return f"{row.value:{sign}.3f} ({row.low:{sign}.3f} … {row.high:{sign}.3f})"
