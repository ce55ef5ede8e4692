"""``nbkit tune``: the settings of one or more models, chosen on validation under the same budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nbkit.cli import console
from nbkit.cli.options import Device, RunsDir, check_table_file, write_table
from nbkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from nbkit.studies.datasets import Datasets
    from nbkit.studies.search import Search
    from nbkit.training.callbacks import Callback

WHOLE = ("best_epoch", "epochs", "seconds")


def tune(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL...]", help="Names of models.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="Built-in data set or the path of a data folder.")
    ] = "boutique:small",
    trials: Annotated[int, typer.Option(help="Settings tried for each model; the first is its defaults.")] = 8,
    sampler: Annotated[
        Literal["grid", "random", "tpe"],
        typer.Option(help="Points of the model's grid in an order by hash, or draws from the ranges it spans."),
    ] = "grid",
    prune: Annotated[
        bool, typer.Option("--prune", help="End a trial whose best validation is below the median at its epoch.")
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Trials computed at a time, each in a process of its own; 1: in this one.")
    ] = 1,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Begin with this preset, where a model has it, or with a file's, .toml."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Setting of every trial; the models must all have it."),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="NAME=VALUE", help="Setting of every training: epochs, patience, metric …"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the runs and of what is drawn.")] = 0,
    export: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Write the best settings as a preset, a table a model.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all trials to a file, too, .csv or .parquet.")
    ] = None,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Choose settings on validation, as many trials for each model.

    Trials come from the model's declared grid. What was tried is not tried
    again, so a larger budget goes on where the smaller one ended; pruned and
    failed trials count. The test split stays sealed.

    \b
    Examples:
      nbkit tune lightgcn --trials 4 --train epochs=30
      nbkit tune mgcn freedom bm3 --data path/to/baby --preset baby --trials 6 --train patience=5
      nbkit tune diffcl --sampler tpe --prune --trials 20 --workers 2 --export best.toml
    """
    from nbkit.models.base import model_class
    from nbkit.paths import runs_dir, writable_folder
    from nbkit.studies import presets, tuning
    from nbkit.studies.datasets import Datasets
    from nbkit.training.loop import pick_device

    check_table_file(out)
    if export is not None:
        presets.check_name(export)
    if trials < 1:
        raise UserError(f"trials = {trials}; expected 1 or more")
    pick_device(device)
    searches = _searches(models, data, preset, settings or [], training or [], seed, sampler, prune)
    writable_folder(root or runs_dir(), "runs folder")
    datasets = Datasets()
    dataset = datasets.clean(data)
    for search in searches:  # before the first of them is trained for an hour
        start = search.space.start
        model_class(start.model).check(dataset.sealed(), start.model_settings)
    tables: list[pd.DataFrame] = []
    chosen = {}
    try:
        for search in searches:
            stopped = _run(search, trials, workers, device, root, datasets)
            tables.append(tuning.table(search, trials, root=root, datasets=datasets))
            if len(tables[-1]):
                _report(search, tables[-1], trials, data, root, None if stopped else export, stopped=stopped)
            if stopped:
                console.note("nbkit: stopped by Ctrl-C; finished trials are kept, the same command goes on")
                raise typer.Exit(130)
            if tuning.best(tables[-1], root=root) is not None:
                chosen[search.space.start.model] = tuning.preset_of(search, tables[-1], root=root, datasets=datasets)
    finally:
        if out is not None and tables:
            write_table(out, _joined(tables))
        if export is not None and chosen:
            console.say(f"best settings as presets: {presets.write(chosen, export)}")
    if dataset.caveat:
        console.say(f"caveat: {dataset.caveat}")
    if not chosen:
        raise UserError("no trial finished, the notes say why; where losses diverge, try a smaller lr")


def _run(search: Search, trials: int, workers: int, device: str, root: Path | None, datasets: Datasets) -> bool:
    """Compute the trials of a model; whether it was stopped."""
    from nbkit.studies.running import Progress
    from nbkit.studies.tuning import tune
    from nbkit.training.callbacks import progress

    model = search.space.start.model

    def watching(number: int, label: str) -> Sequence[Callback]:
        return [progress(f"{model} trial {number + 1} of {trials} ({label})")]

    with Progress(f"tune {model}") as watch:
        try:
            how: dict[str, Any] = {"root": root, "device": device, "workers": workers, "datasets": datasets}
            tune(search, trials, **how, watching=watching, watch=watch)
        except KeyboardInterrupt:
            return True
    return False


def _searches(
    models: list[str],
    data: str,
    preset: str | None,
    settings: list[str],
    training: list[str],
    seed: int,
    sampler: Any,
    prune: bool,
) -> list[Search]:
    """The search of each model; a preset is for the models that have it, one of them at least."""
    from nbkit import config
    from nbkit.models.base import model_class
    from nbkit.studies.presets import starts
    from nbkit.studies.tuning import search_for
    from nbkit.training.loop import TrainSettings

    common = config.parse_assignments(TrainSettings, training, where="--train")
    found = []
    for model, start in starts(models, preset).items():
        fixed = config.parse_assignments(model_class(model), settings, where=f"--set, model {model}")
        if preset and start.source == "defaults":
            console.note(f"{model} has no preset {preset!r}: it starts from its defaults")
        given: dict[str, Any] = {"data": data, "settings": fixed, "training": common, "seed": seed, "preset": start}
        found.append(search_for(model, **given, sampler=sampler, prune=prune))
    return found


def _report(
    search: Search,
    table: pd.DataFrame,
    wanted: int,
    data: str,
    root: Path | None,
    preset: Path | None,
    *,
    stopped: bool,
) -> None:
    """The trials of one model, best first, and the command that trains the best one over seeds."""
    from nbkit.studies import tuning
    from nbkit.studies.commands import train_command

    whole = {name: table[name].map(lambda v: f"{v:.0f}", na_action="ignore") for name in WHOLE if name in table}
    columns = ["settings", "score", *WHOLE, "run", "note"]
    heads = ["settings", f"valid {search.metric}", "best epoch", "epochs", "seconds", "run", ""]
    few = f", its grid has no more ({wanted} were asked for)" if len(table) < wanted and not stopped else ""
    ends = table["state"].value_counts()
    lost = "".join(f", {ends[state]} {state}" for state in ("pruned", "failed", "stopped") if state in ends)
    title = f"{search.space.start.model}: {len(table)} trials{few}{lost}; chosen on validation"
    console.print_table(heads, table.assign(**whole).reindex(columns=columns).to_numpy().tolist(), title=title)
    best = tuning.best(table, root=root)
    if best is not None:
        console.say(f"best: {train_command(replace(best, data=data), preset=preset)}\n")


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """All tables as one; no model varies what another does."""
    import pandas as pd

    return pd.concat([table for table in tables if len(table)], ignore_index=True)
