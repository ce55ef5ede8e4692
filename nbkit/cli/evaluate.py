"""``nbkit evaluate``: the test split of a finished run, opened once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.cli import console
from nbkit.cli.options import DataOfRun, Device, RunId, RunsDir, data_of, experiment_of, open_run
from nbkit.cli.results import print_metrics
from nbkit.errors import UserError

if TYPE_CHECKING:
    from nbkit.runs import RunFolder


def evaluate(
    run: RunId,
    data: DataOfRun = None,
    bound: Annotated[
        bool, typer.Option("--bound", help="Also what perfect knowledge of built-in data would reach.")
    ] = False,
    device: Device = "auto",
    root: RunsDir = None,
) -> None:
    """Open the test split of a finished run, once.

    Prints both maskings; a later call prints the recorded numbers.

    \b
    Examples:
      nbkit evaluate 3fa9c1
      nbkit evaluate 3fa9c1 --bound
      nbkit evaluate 3fa9c1 --data /mnt/data/baby
    """
    from nbkit.evaluation import final

    found = open_run(run, root)
    if found.status != "done":
        raise UserError(
            f"run {found.id} is {found.status}; expected a finished run before its test is opened"
        )
    if (found / final.OPENED).exists() and "test" in found.read_json(final.METRICS):
        when = found.read_json(final.OPENED)["time"]
        console.say(f"run {found.id}: the test split was opened at {when}; recorded numbers")
    else:
        _open_test(found, data, device)
        console.say(f"run {found.id}: test split opened, on record in {str(found / final.OPENED)!r}")
    print_metrics([found.read_json(final.METRICS)], _bound(found) if bound else None)
    caveat = found.read_json("environment.json")["dataset"]["caveat"]
    if caveat:
        console.say(f"caveat: {caveat}")


def _open_test(run: RunFolder, data: str | None, device: str) -> None:
    from nbkit.evaluation import final
    from nbkit.evaluation.ranking import scorer
    from nbkit.studies.experiment import load_model
    from nbkit.training.loop import pick_device

    where, dataset = pick_device(device), data_of(run, data)
    model = load_model(run, dataset).to(where)
    with run.hold():
        final.final_test(run, dataset, scorer(model), ks=experiment_of(run).ks, device=where)


def _bound(run: RunFolder) -> dict[str, Any]:
    """Validation metrics of the ranker that knows what was planted: no model can be expected to do better.

    Raises:
        UserError: the run is not on built-in data, where alone the truth is known.
    """
    import torch

    from nbkit import config
    from nbkit.data import synthetic
    from nbkit.evaluation import final

    experiment = experiment_of(run)
    name, _, query = experiment.data.partition("?")
    family, _, size = name.partition(":")
    if family != "boutique":
        raise UserError(
            f"--bound: run {run.id} is on {name!r}; expected built-in data, where the truth is known"
        )
    settings = [text for text in query.split("&") if text]
    seeds = [text for text in settings if text.startswith("seed=")]
    others = [text for text in settings if text not in seeds]
    oracle = synthetic.perfect_knowledge(
        size or "small",
        **config.parse_assignments(synthetic.boutique, seeds, where=name),
        **config.parse_assignments(synthetic.BoutiqueSettings, others, where=name),
    )
    evaluator = final.validation_evaluator(experiment.load_data(), ks=experiment.ks)
    scores = evaluator.per_user(lambda users: torch.from_numpy(oracle.score(users.numpy())))
    return {"valid": {"train": {metric: float(values.mean()) for metric, values in scores.items()}}}
