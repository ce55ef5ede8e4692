"""``nbkit study``: many runs from one small file; what is there is taken, what is missing is computed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.cli import console, executors
from nbkit.cli.options import RunsDir, TableFile, check_table_file, write_table
from nbkit.cli.results import over_seeds
from nbkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from nbkit.studies.planning import Plan

app = typer.Typer(help="Studies: many runs from one small file; run, show.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="Declaration of a study.")]


@app.command("run")
def run_study(
    file: File,
    who: executors.Who = None,
    jobs: executors.Jobs = None,
    threads: executors.Threads = None,
    test: Annotated[bool, typer.Option("--test", help="Open the test split of each finished run.")] = False,
    retry: Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")] = False,
    device: executors.Devices = "auto",
    address: executors.Address = None,
    gpus: executors.Gpus = None,
    shared: executors.Shared = False,
    root: RunsDir = None,
) -> None:
    """Compute the runs of a study that are missing.

    A table of the file is one of grid, robustness, ablation, sweep; its keys are the arguments of the function of that
    name. Finished runs are not computed again, interrupted ones go on, failed ones are kept.

    \b
    Example of a file, noise.toml:
      [robustness]
      models = ["lightgcn", "freedom"]
      operators = ["add_random_edges", "row_shuffle"]
      rates = [0, 0.1, 0.2]
      training = { epochs = 50 }

    \b
    Examples:
      nbkit study run noise.toml --jobs 2
      nbkit study run noise.toml --retry-failed --test
      nbkit study run noise.toml --executor ray --address head:6379 --gpus 0.5 --shared
    """
    from nbkit.studies import declaration
    from nbkit.studies.planning import plan
    from nbkit.studies.running import Progress, execute

    study = declaration.read(file)
    executor = executors.executor(
        who, jobs=jobs, threads=threads, device=device, address=address, gpus=gpus, shared=shared
    )
    ends: Counter[str] = Counter()
    with Progress(study.name) as progress:
        for outcome in execute(study, executor, root=root, test=test, retry_failed=retry, watch=progress):
            if outcome.fresh:
                ends[outcome.status] += 1
                if outcome.reason:
                    console.note(f"{outcome.experiment.title}: {outcome.reason}")
    planned = plan(study, root, device=executor.device)
    _summary(planned)
    if ends["stopped"]:
        console.note("nbkit: stopped by Ctrl-C; finished runs are kept, the same command goes on")
        raise typer.Exit(130)
    if not planned.complete:
        states = ", ".join(f"{count} {state}" for state, count in planned.counts.items() if state != "done")
        raise UserError(
            f"study {study.name!r} lacks {len(planned.missing)} of {len(study)} runs ({states}); "
            f"`nbkit study show {file}` says why, --retry-failed tries failed ones again"
        )


@app.command()
def show(
    file: File,
    out: TableFile = None,
    device: executors.Devices = "auto",
    root: RunsDir = None,
) -> None:
    """Show how far a study is: runs by model and noise, what failed and why, and the time left.

    \b
    Examples:
      nbkit study show noise.toml
      nbkit study show noise.toml --out noise.csv
    """
    from nbkit.studies import declaration
    from nbkit.studies.planning import plan, results
    from nbkit.training.loop import pick_device

    check_table_file(out)
    first = device.partition(",")[0]
    pick_device(first)
    study = declaration.read(file)
    planned = plan(study, root, device=first)
    if out is not None:
        write_table(out, results(study, root, partial=True))
        console.say(f"{len(planned.runs)} runs, {len(planned.missing)} of them missing: {out}")
        return
    _summary(planned)
    for each in planned.missing:
        if each.reason:
            console.say(f"failed: {each.experiment.title} ({each.label}): {each.reason}")


def _summary(planned: Plan) -> None:
    """One row a model, data set and noise: how many runs are in which state, what they score, and the time left."""
    table = planned.frame()
    metric = planned.runs[0].experiment.training.metric
    scores = [each.scores(metric) for each in planned.runs]
    splits = [split for split in ("valid", "test") if any(split in found for found in scores)]
    states = [state for state in ("done", "failed", "stopped", "running", "new") if state in set(table["status"])]
    keys = [key for key in ("model", "data", "noise", "settings") if key == "model" or table[key].nunique() > 1]
    rows: list[list[Any]] = []
    for values, part in table.groupby(keys, sort=False):
        counts = part["status"].value_counts()
        reached = [over_seeds([scores[n][split] for n in part.index if split in scores[n]]) for split in splits]
        rows.append([*values, *(int(counts.get(state, 0)) or None for state in states), *reached, _left(part)])
    found = [f"{split} {metric}" for split in splits]
    heads = [*keys, *("missing" if state == "new" else state for state in states), *found, "time left"]
    console.print_table(heads, rows)
    console.say(str(planned))


def _left(part: pd.DataFrame) -> str:
    from nbkit.studies.planning import time_left

    missing = part[part["status"] != "done"]
    return time_left(missing["seconds"].sum(), int(missing["seconds"].isna().sum())) if len(missing) else ""
