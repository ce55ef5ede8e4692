"""``nbkit data``: which data there is, what is in it, whether it is sound, and how to convert it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nbkit.cli import console
from nbkit.errors import UserError

app = typer.Typer(help="Data sets: list, describe, check, convert.", no_args_is_help=True)

Spec = Annotated[
    str, typer.Argument(metavar="SPEC", help="boutique:SIZE, or a data folder or file; settings after a '?'.")
]


@app.command("list")
def list_data() -> None:
    """List the data sets that need no files, and the kinds of noise.

    \b
    Example:
      nbkit data list
    """
    from nbkit.data import catalog, corrupt

    console.print_table(["data", "users", "items"], [[b.spec, b.users, b.items] for b in catalog.builtin()])
    console.say("or the path of a folder or file: Parquet, MMRec, DiffMM and MMSSL layouts, csv, jsonl\n")
    kinds = [[o.name, o.kind, o.unit, o.help] for o in corrupt.operators().values()]
    console.print_table(["noise", "damages", "rate", "meaning"], kinds)


@app.command()
def describe(spec: Spec) -> None:
    """Show sizes, density, features, times, degrees and known noise.

    \b
    Examples:
      nbkit data describe boutique:small
      nbkit data describe 'my/folder?modalities=image'
    """
    from nbkit.data import catalog

    table = catalog.describe(catalog.load(spec))
    values = table.iloc[0].to_dict()
    console.print_table(["", "value"], [[name, _plain(value)] for name, value in values.items()])


def _plain(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@app.command()
def check(spec: Spec) -> None:
    """Look for what makes results wrong: leaks, cold users, odd features.

    Exit code 1 when there is an error; warnings and notes are told only.

    \b
    Example:
      nbkit data check my/folder
    """
    from nbkit.data import catalog

    findings = catalog.check(catalog.load(spec))
    if not findings:
        console.say(f"{spec}: nothing to complain about")
        return
    rows = [[f.level, f.what, f.count, f.example] for f in findings]
    console.print_table(["level", "what", "count", "for example"], rows)
    if any(f.level == "error" for f in findings):
        raise typer.Exit(1)


@app.command()
def convert(
    source: Spec,
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder in the Parquet layout.")],
    split: Annotated[
        str | None, typer.Option(help="Cut anew: random, leave-one-out or temporal (default: as it is).")
    ] = None,
    k_core: Annotated[
        int | None, typer.Option(min=1, help="Keep users and items with that many partners (raw tables).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of a random split.")] = None,
    float16: Annotated[bool, typer.Option("--float16", help="Features at half the size.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a folder of this layout.")] = False,
) -> None:
    """Write a data set in the Parquet layout, whole or not at all.

    \b
    Examples:
      nbkit data convert ratings.csv my/folder --k-core 5 --split temporal
      nbkit data convert path/to/mmrec/baby my/baby --float16
    """
    from nbkit.data import catalog
    from nbkit.data.readers import write_parquet

    wishes = {"split": split, "seed": seed, "core_user": k_core, "core_item": k_core}
    options = {name: value for name, value in wishes.items() if value is not None}
    if k_core is not None and not _is_raw(source):
        raise UserError(f"--k-core: {source!r} has its own ids and features; expected a raw table to cut down")
    dataset = catalog.load(source, **options)
    width: Any = "float16" if float16 else "float32"
    written = write_parquet(dataset, target, features=width, overwrite=overwrite)
    console.say(f"{dataset!r}: {written}")


def _is_raw(source: str) -> bool:
    from nbkit.data import readers

    path = Path(source.partition("?")[0])
    return not source.startswith("boutique") and path.exists() and readers.detect(path) == "raw"
