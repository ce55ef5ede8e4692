"""``nbkit evaluate``: the test split of a finished run, opened once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
        bool, typer.Option("--bound", help="Also popularity and, on built-in data, perfect knowledge.")
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
        raise UserError(f"run {found.id} is {found.status}; expected a finished run before its test is opened")
    if (found / final.OPENED).exists() and "test" in found.read_json(final.METRICS):
        when = found.read_json(final.OPENED)["time"]
        console.say(f"run {found.id}: the test split was opened at {when}; recorded numbers")
    else:
        _open_test(found, data, device)
        console.say(f"run {found.id}: test split opened, on record in {str(found / final.OPENED)!r}")
    print_metrics([found.read_json(final.METRICS)], _limits(found, data) if bound else None)
    caveat = found.read_json("environment.json")["dataset"]["caveat"]
    if caveat:
        console.say(f"caveat: {caveat}")


def _open_test(run: RunFolder, data: str | None, device: str) -> None:
    from nbkit.evaluation import final
    from nbkit.studies.experiment import load_model
    from nbkit.training.loop import pick_device

    where, dataset = pick_device(device), data_of(run, data)
    model = load_model(run, dataset).to(where)
    with run.hold():
        final.final_test(run, dataset, model, ks=experiment_of(run).ks, device=where)


def _limits(run: RunFolder, data: str | None) -> dict[tuple[str, str], dict[str, dict[str, float]]]:
    """Test metrics of popularity and, on built-in data, of perfect knowledge, by split and masking."""
    from nbkit.evaluation import final
    from nbkit.studies.limits import PERFECT, known_limits

    experiment, dataset = experiment_of(run), data_of(run, data)
    found: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for masking in final.MASKINGS:
        tables = known_limits(dataset, experiment.data, ks=experiment.ks, masking=masking)
        found["test", masking] = {name: final.mean_metrics(table) for name, table in tables.items()}
    if PERFECT not in tables:
        console.note(f"perfect knowledge is known on built-in data alone, not on {experiment.data!r}")
    return found
