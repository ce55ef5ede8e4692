"""``nbkit train``: one model, one data set, one or more seeds; computed once, resumed when interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nbkit.cli import console
from nbkit.cli.options import Device, RunsDir
from nbkit.cli.results import print_metrics
from nbkit.errors import TrainingDivergedError

if TYPE_CHECKING:
    from nbkit.data.dataset import MultimodalDataset
    from nbkit.runs import RunFolder
    from nbkit.studies.experiment import Experiment


def train(
    model: Annotated[str, typer.Argument(help="Name of a model; `nbkit models` lists them.")],
    data: Annotated[
        str, typer.Option(metavar="SPEC", help="Built-in data set or the path of a data folder.")
    ] = "boutique:small",
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(metavar="0,1,2", help="Several seeds, one run each, instead of --seed.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Settings chosen for a data set (`nbkit models MODEL`), or a file .toml."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Setting of the model; see `nbkit models MODEL`."),
    ] = None,
    training: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="NAME=VALUE", help="Setting of the training: epochs, lr, batch_size …"),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(metavar="OPERATOR:RATE[:SEED]", help="Noise put into the data before training."),
    ] = None,
    test: Annotated[bool, typer.Option("--test", help="Open the test split of each finished run.")] = False,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Train a model and keep the run.

    A finished run is not computed again, an interrupted one goes on.

    \b
    Examples:
      nbkit train lightgcn --data boutique:small --seed 0
      nbkit train freedom --seeds 0,1,2 --set layers=2 --train epochs=50 --test
      nbkit train lightgcn --data path/to/baby --preset baby --seeds 0,1,2 --test
      nbkit train diffcl --preset best.toml --seeds 0,1,2
      nbkit train lightgcn --noise add_random_edges:0.2 --noise row_shuffle:0.1:7
    """
    from dataclasses import replace

    from nbkit import config
    from nbkit.models.base import model_class
    from nbkit.paths import runs_dir, writable_folder
    from nbkit.studies.experiment import Experiment, Noise
    from nbkit.studies.presets import starts
    from nbkit.training.loop import TrainSettings, pick_device

    cls, chosen = model_class(model), starts([model], preset)[model]
    experiment = Experiment(
        model=model,
        data=data,
        noise=tuple(Noise.parse(text, where="--noise") for text in noise or ()),
        model_settings={
            **chosen.settings,
            **config.parse_assignments(cls, settings or [], where="--set"),
        },
        training=TrainSettings(
            **{**chosen.training, **config.parse_assignments(TrainSettings, training or [], where="--train")}
        ),
    )
    pick_device(device)
    checked = config.settings_of(Experiment)["seed"]
    numbers = (
        [checked.parse(text.strip(), "--seeds") for text in seeds.split(",")]
        if seeds
        else [checked.check(seed, "--seed")]
    )
    writable_folder(root or runs_dir(), "runs folder")
    dataset = experiment.load_data()
    finished, failed = [], False
    for number in dict.fromkeys(numbers):
        try:
            finished.append(_one(replace(experiment, seed=number), dataset, root, device, test))
        except TrainingDivergedError as error:  # the other seeds are still worth their time
            console.complain(f"seed {number}: {error}")
            failed = True
    if finished:
        print_metrics([run.read_json("metrics.json") for run in finished])
        if dataset.caveat:
            console.say(f"caveat: {dataset.caveat}")
    if failed:
        raise typer.Exit(2)


def _one(experiment: Experiment, dataset: MultimodalDataset, root: Path | None, device: str, test: bool) -> RunFolder:
    from nbkit.paths import runs_dir
    from nbkit.runs import RunFolder
    from nbkit.studies.experiment import run_experiment, was_cut_short
    from nbkit.training.callbacks import Callback, progress

    class Resumed(Callback):
        def started(self, epoch: int, epochs: int, steps: int) -> None:
            if epoch:
                console.note(f"{title}: goes on after epoch {epoch}")

    folder = RunFolder((root or runs_dir()) / experiment.run_id(dataset))
    before = folder.status
    title = f"{experiment.model} seed {experiment.seed}"
    run = run_experiment(
        experiment, dataset, root=root, device=device, callbacks=[Resumed(), progress(title)], test=test
    )
    if run.status != "done":
        goes_on = "goes on from its last checkpoint" if (run / "checkpoint.safetensors").exists() else "starts it again"
        console.note(f"nbkit: stopped by Ctrl-C; run {run.id} is kept in {str(run.path)!r}, the same command {goes_on}")
        raise typer.Exit(130)
    fitted = run.read_json("metrics.json")["fit"]
    how = (
        f"already computed ({fitted['epochs']} epochs, best {fitted['best_epoch']})"
        if before == "done"
        else f"{fitted['epochs']} epochs in {fitted['wall_seconds']:.1f} s, best {fitted['best_epoch']}"
    )
    console.say(f"{title}: run {run.id}, {how}")
    if was_cut_short(run):
        console.note(
            f"{title}: its validation was rising again when patience ended it after epoch {fitted['epochs']}; "
            f"try more, as --train patience={4 * experiment.training.patience}"
        )
    return run
