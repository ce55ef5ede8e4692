"""Options that several commands share, and how a run is named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from nbkit.data.dataset import MultimodalDataset
    from nbkit.runs import RunFolder
    from nbkit.studies.experiment import Experiment

RunsDir = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Folder of runs (default: runs, or $NBKIT_RUNS)."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, the beginning of one, or the run's folder.")]
DataOfRun = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="Where the run's data lies now (default: where it lay then)."),
]
TableFile = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the whole table, .csv or .parquet, instead of printing."),
]
_WRITERS: dict[str, Any] = {
    ".csv": lambda table: table.to_csv(index=False),
    ".parquet": lambda table: table.to_parquet(index=False),
}


def check_table_file(out: Path | None, *others: str) -> None:
    """Refuse a name that says no known kind of table, nor one of the ``others``, before anything is computed."""
    if out is not None and out.suffix not in (*_WRITERS, *others):
        raise UserError(f"--out {str(out)!r}; expected a name ending in {' or '.join((*_WRITERS, *others))}")


def write_table(out: Path, table: pd.DataFrame) -> None:
    """Write a table as its name says, whole or not at all."""
    from nbkit.paths import write_atomic

    write_atomic(out, _WRITERS[out.suffix](table))


def open_run(text: str, root: Path | None) -> RunFolder:
    """The run of that id, beginning of an id, or folder; UserError when there is none or more than one."""
    from nbkit.runs import RunFolder
    from nbkit.studies.store import RunStore

    if "/" in text and (Path(text) / "settings.json").exists():
        return RunFolder(text)
    return RunStore(root).find(text)


def experiment_of(run: RunFolder) -> Experiment:
    """The experiment that a run holds."""
    from nbkit.studies.experiment import Experiment

    return Experiment.from_dict(run.read_json("settings.json"))


def data_of(run: RunFolder, spec: str | None) -> MultimodalDataset:
    """The data that a run was trained on, its noise included, read from another place if ``spec`` says so."""
    from dataclasses import replace

    experiment = experiment_of(run)
    return (replace(experiment, data=spec) if spec else experiment).load_data()
