"""``nbkit runs``: what has been computed, how runs differ, and all of it as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nbkit.cli import console
from nbkit.cli.options import RunId, RunsDir, check_table_file, open_run, write_table
from nbkit.cli.results import print_metrics
from nbkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from nbkit.runs import RunFolder

app = typer.Typer(help="Runs: list, show, compare, table, export, and the path of one.", no_args_is_help=True)


@app.command("list")
def list_runs(
    model: Annotated[str | None, typer.Option(help="Only runs of this model.")] = None,
    status: Annotated[str | None, typer.Option(help="Only done, stopped, failed, running or damaged runs.")] = None,
    root: RunsDir = None,
) -> None:
    """List runs, one a line, with their scores.

    \b
    Examples:
      nbkit runs list
      nbkit runs list --model lightgcn --status done
    """
    from nbkit.studies.store import RunStore, read_by_people

    store = RunStore(root)
    table = store.frame()
    for column, wanted in (("model", model), ("status", status)):
        if wanted is not None and len(table):
            table = table[table[column] == wanted]
    if table.empty:
        console.say(f"no such run in {str(store.root)!r}; `nbkit train lightgcn` makes one")
        return
    listed = read_by_people(table)
    console.print_table(listed.columns.tolist(), listed.astype(object).where(listed.notna(), None).to_numpy().tolist())


@app.command()
def show(run: RunId, root: RunsDir = None) -> None:
    """Show one run: settings, metrics, where it was computed and, if it failed, why.

    \b
    Example:
      nbkit runs show 3fa9c1
    """
    from nbkit.studies.store import flatten

    found = open_run(run, root)
    settings = flatten(found.read_json("settings.json"))
    environment = found.read_json("environment.json")
    dataset = environment.pop("dataset")
    console.say(f"run {found.id}: {found.status}, in {str(found.path)!r}")
    if found.reason:
        console.say(f"reason: {found.reason}")
    console.print_table(["setting", "value"], [[name, _text(value)] for name, value in settings.items()])
    console.say("")
    console.print_table(["computed on", ""], [[name, _text(value)] for name, value in flatten(environment).items()])
    if found.status == "done":
        console.say("")
        print_metrics([found.read_json("metrics.json")])
    if dataset["caveat"]:
        console.say(f"caveat: {dataset['caveat']}")


def _text(value: Any) -> str:
    from nbkit import config

    return value if isinstance(value, str) else config.canonical_json(value)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN RUN...", help="Two or more runs.")],
    root: RunsDir = None,
) -> None:
    """Compare runs: the settings in which they differ, then their metrics side by side.

    \b
    Example:
      nbkit runs compare 3fa9c1 77b0de
    """
    from nbkit.studies.store import RunStore, flatten

    if len(runs) < 2:
        raise UserError(f"compare: {len(runs)} run; expected two or more")
    store = RunStore(root)
    found = [store.find(run) for run in runs]
    different = store.diff(*(run.id for run in found))
    if different.empty:
        console.say("the same settings and data")
    else:
        rows = [[name, *values] for name, values in zip(different.index, different.to_numpy().tolist(), strict=True)]
        console.print_table(["differs", *different.columns], rows)
    console.say("")
    metrics = [flatten(run.read_json("metrics.json")) if run.status == "done" else {} for run in found]
    names = list(dict.fromkeys(name for values in metrics for name in values))
    console.print_table(
        ["metric", *(run.id for run in found)], [[name, *(m.get(name) for m in metrics)] for name in names]
    )


@app.command()
def table(
    data: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only runs on data of this name, where there are several."),
    ] = None,
    metric: Annotated[str, typer.Option(help="What is compared: recall@20, ndcg@10 …")] = "recall@20",
    split: Annotated[
        Literal["test", "valid"], typer.Option(help="test, of runs whose test split is open, or valid.")
    ] = "test",
    masking: Annotated[
        Literal["train", "train+valid"],
        typer.Option(help="Whose items are left out of the ranking: train or train+valid."),
    ] = "train",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it: .md or .tex as it is read, .csv or .parquet as it is."),
    ] = None,
    root: RunsDir = None,
) -> None:
    """Rank finished runs on the same data: one row a model and its settings, over seeds.

    With intervals over users, whom each is certainly above (paired per user, Holm-corrected over all pairs), and
    whether the order is the same with every seed.

    \b
    Examples:
      nbkit runs table
      nbkit runs table --data baby --split valid --out baby.md
    """
    from nbkit import repro
    from nbkit.paths import write_atomic
    from nbkit.plots import tables
    from nbkit.studies.standings import RISING, standings, verdict

    suffixes = {".md": tables.markdown, ".tex": tables.latex}
    check_table_file(out, *suffixes)
    found = _on_same_data(data, split, root)
    rows, compared = standings(found, repro.numpy_generator(0, "bootstrap"), metric, split=split, masking=masking)
    words = verdict(compared)
    if rows["epochs"].str.contains(RISING).any():
        words += f" {RISING} marks runs that patience ended while their validation was rising again."
    if out is not None and out.suffix not in suffixes:
        write_table(out, rows)
        console.say(f"{len(rows)} rows: {out}")
        return
    readable = _readable(rows, f"{split} {metric}")
    if out is None:
        console.print_table(list(map(str, readable)), readable.to_numpy().tolist())
        console.say(words)
        return
    write_atomic(out, f"{suffixes[out.suffix](readable)}\n" + (f"\n{words}\n" if out.suffix == ".md" else ""))
    console.say(f"{len(rows)} rows: {out}")


def _on_same_data(data: str | None, split: str, root: Path | None) -> list[RunFolder]:
    """The finished runs on data of that name, with the test split open where that is asked for."""
    from nbkit.studies.planning import tested
    from nbkit.studies.store import RunStore

    store = RunStore(root)
    done = [run for run in store.runs() if run.status == "done" and (split != "test" or tested(run))]
    names = [run.read_json("environment.json")["dataset"]["name"] for run in done]
    known = sorted(set(names))
    if data is None and len(known) > 1:
        raise UserError(f"runs on {len(known)} data sets in {str(store.root)!r}: --data is one of {', '.join(known)}")
    if not known or (data is not None and data not in known):
        opened = " whose test split is open (`nbkit evaluate RUN` opens it)" * (split == "test")
        there = f"there are some on {', '.join(known)}" if known else "there is none"
        raise UserError(f"no finished run on {data or 'any data'} in {str(store.root)!r}{opened}; {there}")
    return [run for run, name in zip(done, names, strict=True) if data in (None, name)]


def _readable(rows: pd.DataFrame, title: str) -> pd.DataFrame:
    """The standings with intervals as text, without columns that say nothing."""
    interval = [f"{mean:.4f} ({low:.4f} – {high:.4f})" for mean, low, high in rows[["mean", "low", "high"]].to_numpy()]
    spread = ["" if value != value else f"{value:.4f}" for value in rows["seed_std"]]
    valid = [f"{value:.4f}" for value in rows["valid"]]
    shown = rows.rename(columns={"mean": title, "seed_std": "± over seeds", "above": "certainly above"})
    shown = shown.assign(valid=valid).drop(columns=["low", "high"])
    shown[title], shown["± over seeds"] = interval, spread
    return shown.loc[:, (shown != "").any()]


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A name ending in .csv, .parquet or .json.")],
    root: RunsDir = None,
) -> None:
    """Write the table of all runs, every setting and metric a column.

    \b
    Example:
      nbkit runs export runs.csv
    """
    from nbkit.studies.store import RunStore

    store = RunStore(root)
    written = store.export(path)
    console.say(f"{len(store.runs())} runs: {written}")


@app.command()
def path(run: RunId, root: RunsDir = None) -> None:
    """Print the folder of a run and nothing else, for scripts.

    \b
    Example:
      ls "$(nbkit runs path 3fa9c1)"
    """
    console.say(str(open_run(run, root).path))
