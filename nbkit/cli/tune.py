"""``nbkit tune``: the settings of one or more models, chosen on validation under the same budget."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from nbkit.cli import console
from nbkit.cli.options import Device, RunsDir, TableFile, check_table_file, write_table
from nbkit.errors import UserError


def tune(
    models: Annotated[list[str], typer.Argument(metavar="MODEL [MODEL...]", help="Names of models.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="Built-in data set or the path of a data folder.")
    ] = "boutique:small",
    trials: Annotated[int, typer.Option(help="Settings tried for each model; the first are its defaults.")] = 8,
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
    out: TableFile = None,
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
    from nbkit import config
    from nbkit.data import catalog
    from nbkit.models.base import model_class
    from nbkit.paths import runs_dir, writable_folder
    from nbkit.studies import tuning
    from nbkit.training.callbacks import progress
    from nbkit.training.loop import TrainSettings, pick_device

    check_table_file(out)
    pick_device(device)
    common = TrainSettings(**config.parse_assignments(TrainSettings, training or [], where="--train"))
    same = [("--data", data), *(("--set", text) for text in settings or ()), *(("--train", t) for t in training or ())]
    plan = {}
    for name in dict.fromkeys(models):
        cls = model_class(name)
        fixed = config.parse_assignments(cls, settings or [], where=f"--set, model {name}")
        start = preset if preset in cls.presets else None
        plan[name] = tuning.trials(name, trials, data=data, settings=fixed, training=common, seed=seed, preset=start)
    writable_folder(root or runs_dir(), "runs folder")
    dataset = catalog.load(data)
    rows: list[dict[str, Any]] = []
    for planned in plan.values():

        def watch(number: int, trial: tuning.Trial, *, of: int = len(planned)) -> list[Any]:
            return [progress(f"{trial.experiment.model} trial {number + 1} of {of} ({trial.label})")]

        rows += (done := list(tuning.tune(planned, dataset, root=root, device=device, watch=watch)))
        if done:
            _report(done, planned, common.metric, same)
        if len(done) < len(planned):
            console.note("nbkit: stopped by Ctrl-C; finished trials are kept, the same command goes on")
            raise typer.Exit(130)
    if out is not None:
        write_table(out, tuning.ranked(rows))
    if dataset.caveat:
        console.say(f"caveat: {dataset.caveat}")


def _report(rows: list[dict[str, Any]], planned: list[Any], metric: str, same: list[tuple[str, str]]) -> None:
    """The trials of one model, best first, and the command that trains the best one over seeds."""
    from nbkit.studies import tuning

    table = tuning.ranked(rows)
    columns = ["settings", "score", "best_epoch", "epochs", "seconds", "run"]
    heads = ["settings", f"valid {metric}", "best epoch", "epochs", "seconds", "run"]
    shown = table.reindex(columns=columns)
    shown["seconds"] = shown["seconds"].map(lambda value: f"{value:.0f}", na_action="ignore")
    for name in ("best_epoch", "epochs"):
        shown[name] = shown[name].map(lambda value: f"{value:.0f}", na_action="ignore")
    model = rows[0]["model"]
    console.print_table(heads, shown.to_numpy().tolist(), title=f"{model}: {len(rows)} trials, chosen on validation")
    if table["score"].isna().all():
        raise UserError(f"model {model}: every trial diverged; expected smaller lr values in its grid")
    best = planned[int(table.iloc[0]["trial"])]
    own = {**best.settings, **best.training}
    rest = [f"{option} {shlex.quote(text)}" for option, text in same if text.partition("=")[0] not in own]
    command = ["nbkit train", model, best.options, *rest, "--seeds 0,1,2 --test"]
    console.say(f"best: {' '.join(filter(None, command))}\n")
