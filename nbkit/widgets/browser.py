"""Run browser: all runs, one looked into, two compared, its command to copy."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from nbkit.errors import UserError
from nbkit.plots import tables
from nbkit.plots.theme import no_data
from nbkit.plots.training import training_curves
from nbkit.runs import RunFolder
from nbkit.studies.commands import train_command
from nbkit.studies.experiment import Experiment
from nbkit.studies.store import RunStore, flatten, read_by_people
from nbkit.widgets.base import Instrument, Picture

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from ipywidgets import Widget

_HEIGHT = 440  # of the curves, with or without a run


class BrowserState(traitlets.HasTraits):
    """Which runs are looked at, by id: one is shown, two and more are compared."""

    selected = traitlets.Tuple(())


def command_of(run: RunFolder) -> str:
    """The ``nbkit train`` line that makes a run again.

    Raises:
        UserError: the run's settings are missing, damaged, or not of this version.
    """
    experiment = Experiment.from_dict(run.read_json("settings.json"))
    return train_command(experiment, seeds=[experiment.seed])


def provenance(run: RunFolder) -> pd.DataFrame:
    """Where a run comes from: columns what, value."""
    environment = run.read_json("environment.json")
    data = environment.pop("dataset")
    rows = {"data": data["name"], "data sha256": data["data"][:16], "caveat": data["caveat"], **flatten(environment)}
    return pd.DataFrame([(name, str(value)) for name, value in rows.items() if value], columns=["what", "value"])


def measured(runs: list[RunFolder]) -> pd.DataFrame:
    """Metrics of runs side by side, one row a metric, one column a run; empty for runs that are not finished."""
    found = {run.id: flatten(run.read_json("metrics.json")) if run.status == "done" else {} for run in runs}
    return pd.DataFrame(found)


class RunBrowser(Instrument):
    """All runs of a folder as a table to be searched and sorted; what is selected is shown beside it."""

    state: BrowserState

    def __init__(self, root: str | Path | None = None, **state: Any) -> None:
        super().__init__(BrowserState(**state))
        self.store = RunStore(root)

    def listed(self) -> pd.DataFrame:
        """The table of all runs.

        Raises:
            UserError: there is none.
        """
        frame = self.store.frame()
        if frame.empty:
            raise UserError(f"no run in {str(self.store.root)!r}; `nbkit train lightgcn` makes one")
        return read_by_people(frame)

    def runs(self) -> list[RunFolder]:
        """The selected runs.

        Raises:
            UserError: one that is there no more.
        """
        gone = [run for run in self.state.selected if not (self.store.root / run / "settings.json").exists()]
        if gone:
            raise UserError(f"run {gone[0]} is no longer in {str(self.store.root)!r}; refresh the list")
        return [RunFolder(self.store.root / run) for run in self.state.selected]

    def to_static(self) -> go.Figure:
        """The training curves of the selected runs."""
        return self.curves(self.runs())

    def curves(self, runs: list[RunFolder]) -> go.Figure:
        """Losses and validation of the runs that have a history."""
        histories = []
        for run in runs:
            if (run / "history.parquet").exists():
                settings = run.read_json("settings.json")
                name = f"{settings['model']} seed {settings['seed']} ({run.id[:6]})"
                histories.append(run.read_table("history.parquet").assign(run=name))
        found = (
            training_curves(pd.concat(histories, ignore_index=True)) if histories else no_data(why="no run selected")
        )
        return found.update_layout(title={"text": ""}, height=_HEIGHT)

    def content(self) -> Widget:
        from ipywidgets import HTML, Button, HBox, Layout, VBox
        from itables.widget import ITable

        from nbkit.widgets.page import CopyText

        self._rows: list[str] = []  # ids as the table has them
        self._table = ITable(
            pd.DataFrame(), select=True, showIndex=False, lengthMenu=[8, 20, 50], classes="display compact"
        )
        self._table.observe(self.guarded(self._chosen), "selected_rows")
        refresh = Button(description="Refresh", icon="refresh", layout=Layout(width="110px"))
        refresh.on_click(self.guarded(self.refresh))
        self._told, self._copy, self._curves = HTML(), CopyText(), Picture("curves")
        note = HTML("Click a run to look into it; hold Ctrl for a second one to compare.")
        left = VBox([self._told, self._copy], layout=Layout(width="44%", flex="none"))
        right = VBox([self._curves.widget], layout=Layout(width="56%", flex="none"))
        return VBox([HBox([refresh, note]), self._table, HBox([left, right], layout=Layout(width="100%"))])

    def refresh(self) -> None:
        """Read the folder anew."""
        listed = self.listed()
        self._rows, self._table.selected_rows = [], []  # row numbers of before mean nothing now
        self._rows = listed["run"].tolist()
        shown = listed.assign(run=listed["run"].str[:8])
        shown = shown.round(4).astype(object)
        self._table.update(shown.where(shown.notna(), ""))
        self.state.selected = ()

    def _chosen(self) -> None:
        rows = [row for row in self._table.selected_rows if row < len(self._rows)]  # a page may be behind
        self.state.selected = tuple(self._rows[row] for row in rows)

    def draw(self, changed: frozenset[str]) -> None:
        if not self._rows:
            self.refresh()
        runs = self.runs()
        self._copy.text = "\n".join(command_of(run) for run in runs)
        self._told.value = self._tell(runs)
        self._curves.show(self.curves(runs))

    def _tell(self, runs: list[RunFolder]) -> str:
        if not runs:
            return "<p>No run is selected.</p>"
        metrics = measured(runs)
        if len(runs) == 1:
            (run,) = runs
            reason = f": {escape(run.reason)}" if run.reason else ""
            html = f"<p><b>{run.id}</b> is {run.status}{reason}</p>" + _html(provenance(run))
        else:
            different = self.store.diff(*(run.id for run in runs))
            html = "<p><b>What differs</b></p>"
            html += _html(different.reset_index(names="setting")) if len(different) else "<p>nothing</p>"
        if len(metrics):
            html += "<p><b>Metrics</b></p>" + _html(tables.table(metrics.reset_index(names="metric")))
        return f'<div style="max-height:420px;overflow:auto">{html}</div>'


def _html(table: pd.DataFrame) -> str:
    return table.rename(columns=lambda name: name[:8] if len(name) == 16 else name).to_html(
        index=False, border=0, justify="left"
    )
