"""``nbkit tune``: the settings of one or more models, chosen on validation under the same budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.cli import console
from nbkit.cli.options import Device, RunsDir, check_table_file, write_table
from nbkit.errors import UserError, nearest

if TYPE_CHECKING:
    from nbkit.studies.tuning import Trial

WHOLE = ("best_epoch", "epochs", "seconds")


def tune(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL...]", help="Names of models.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="Built-in data set or the path of a data folder.")
    ] = "boutique:small",
    trials: Annotated[int, typer.Option(help="Settings tried for each model; the first is its defaults.")] = 8,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Begin with this preset, where a model has it.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Setting of every trial; the models must all have it."),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="NAME=VALUE", help="Setting of every training: epochs, patience, metric …"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the runs and of the order of trials.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write all trials to a file, too, .csv or .parquet.")
    ] = None,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Choose settings on validation, as many trials for each model.

    Trials come from the model's declared grid. Finished ones are not computed again, so a larger budget goes on where
    the smaller one ended. The test split stays sealed.

    \b
    Examples:
      nbkit tune lightgcn --trials 4 --train epochs=30
      nbkit tune mgcn freedom bm3 --data path/to/baby --preset baby --trials 6 --train patience=5
    """
    from nbkit.data import catalog
    from nbkit.models.base import model_class
    from nbkit.paths import runs_dir, writable_folder
    from nbkit.studies import tuning
    from nbkit.training.callbacks import progress
    from nbkit.training.loop import pick_device

    check_table_file(out)
    pick_device(device)
    plan = _plan(models, trials, data, preset, settings or [], training or [], seed)
    writable_folder(root or runs_dir(), "runs folder")
    dataset = catalog.load(data)
    for planned in plan:  # before the first of them is trained for an hour
        experiment = planned[0].experiment
        model_class(experiment.model).check(dataset.sealed(), experiment.model_settings)
    rows: list[dict[str, Any]] = []
    try:
        for planned in plan:

            def watch(number: int, trial: tuning.Trial, *, of: int = len(planned)) -> list[Any]:
                return [progress(f"{trial.experiment.model} trial {number + 1} of {of} ({trial.label})")]

            before = len(rows)
            for row in tuning.tune(planned, dataset, root=root, device=device, watch=watch):
                rows.append(row)
            if done := rows[before:]:
                _report(done, planned, trials)
            if len(done) < len(planned):
                console.note("nbkit: stopped by Ctrl-C; finished trials are kept, the same command goes on")
                raise typer.Exit(130)
    finally:
        if out is not None and rows:
            write_table(out, tuning.ranked(rows))
    if dataset.caveat:
        console.say(f"caveat: {dataset.caveat}")
    if all(row["score"] != row["score"] for row in rows):
        raise UserError("no trial finished, the notes say why; where losses diverge, try a smaller lr")


def _plan(
    models: list[str],
    trials: int,
    data: str,
    preset: str | None,
    settings: list[str],
    training: list[str],
    seed: int,
) -> list[list[Trial]]:
    """The trials of each model; a preset is for the models that have it, one of them at least."""
    from nbkit import config
    from nbkit.models.base import model_class
    from nbkit.studies import tuning
    from nbkit.training.loop import TrainSettings

    known = sorted({name for model in models for name in model_class(model).presets})
    if preset is not None and preset not in known:
        found = nearest(preset, known) if known else "there are none"
        raise UserError(f"--preset {preset!r}: none of these models has such a preset; {found}")
    common = config.parse_assignments(TrainSettings, training, where="--train")
    plan = []
    for model in dict.fromkeys(models):
        fixed = config.parse_assignments(model_class(model), settings, where=f"--set, model {model}")
        start = preset if preset in model_class(model).presets else None
        if preset and not start:
            console.note(f"{model} has no preset {preset!r}: it starts from its defaults")
        given: dict[str, Any] = {"data": data, "settings": fixed, "training": common, "seed": seed, "preset": start}
        plan.append(tuning.trials(model, trials, **given))
    return plan


def _report(rows: list[dict[str, Any]], planned: list[Trial], wanted: int) -> None:
    """The trials of one model, best first, and the command that trains the best one over seeds."""
    from nbkit.studies import tuning

    table = tuning.ranked(rows)
    whole = {name: table[name].map(lambda v: f"{v:.0f}", na_action="ignore") for name in WHOLE if name in table}
    columns = ["settings", "score", *WHOLE, "run", "note"]
    heads = ["settings", f"valid {planned[0].experiment.training.metric}", "best epoch", "epochs", "seconds", "run", ""]
    few = f", its grid has no more ({wanted} were asked for)" if len(planned) < wanted else ""
    title = f"{rows[0]['model']}: {len(rows)} trials{few}; chosen on validation"
    console.print_table(heads, table.assign(**whole).reindex(columns=columns).to_numpy().tolist(), title=title)
    best = table.iloc[0]
    if best["score"] == best["score"]:
        console.say(f"best: {tuning.command(planned[int(best['trial'])].experiment)}\n")
