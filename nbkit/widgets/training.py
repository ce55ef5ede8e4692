"""Training inside a notebook: a bar with figures while it runs, lines in a log when headless.

State (``TrainingState``) holds what is shown, without drawing; ``bar_html`` computes the picture;
``TrainingView`` shows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from nbkit.runs import RunFolder
from nbkit.studies.experiment import Experiment, run_experiment
from nbkit.training.callbacks import Callback, LogProgress, Stop
from nbkit.widgets.base import headless


@dataclass
class TrainingState(Callback):
    """What a viewer of a fit may want to know; updated from the training thread."""

    title: str = ""
    status: str = "waiting"
    epoch: int = 0
    epochs: int = 1
    best: float | None = None
    metric: str = "recall@20"
    row: Mapping[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def started(self, epoch: int, epochs: int, steps: int) -> None:
        self.status, self.epoch, self.epochs, self.began = "training", epoch, epochs, time.monotonic()

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        self.row, self.epoch = dict(row), int(row["epoch"])
        score = row.get(f"valid_{self.metric}")
        if score is not None and (self.best is None or score > self.best):
            self.best = score

    def ended(self, status: str) -> None:
        self.status = status


def bar_html(state: TrainingState) -> str:
    """The state as one line of HTML: a bar, the epoch, loss and validation metric, seconds."""
    share = 100 if state.status == "finished" else round(100 * state.epoch / max(state.epochs, 1))
    parts = [f"epoch {state.epoch} of at most {state.epochs}"]
    if "loss" in state.row:
        parts.append(f"loss {state.row['loss']:.4f}")
    if state.best is not None:
        parts.append(f"{state.metric} {state.row.get(f'valid_{state.metric}', state.best):.4f} (best {state.best:.4f})")
    parts.append(f"{time.monotonic() - state.began:.0f} s")
    return (
        f'<div style="font-family:sans-serif;font-size:14px"><b>{escape(state.title)}</b> {escape(state.status)}'
        f'<div style="background:#8884;border-radius:4px;height:8px;margin:4px 0">'
        f'<div style="background:#0072B2;border-radius:4px;height:8px;width:{share}%"></div></div>'
        f"{escape(' · '.join(parts))}</div>"
    )


class TrainingView(Callback):
    """The state drawn in a notebook, at most five times a second, with a Stop button beside it.

    A kernel hears a button only between two cells. Who waits in a cell (:func:`train`) stops with the toolbar's ■
    instead, so there the button is left out.
    """

    def __init__(self, state: TrainingState, stop: Stop, *, button: bool) -> None:
        from IPython.display import display
        from ipywidgets import HTML, Button, HBox, Layout

        self.state, self._drawn = state, 0.0
        self.bar = HTML(bar_html(state), layout=Layout(flex="1"))
        self.button = Button(description="Stop", icon="stop", layout=Layout(width="90px"))
        self.button.on_click(lambda _: stop.press())
        display(HBox([self.bar, self.button] if button else [self.bar]))

    def _draw(self, *, now: bool = False) -> None:
        if now or time.monotonic() - self._drawn > 0.2:
            self._drawn = time.monotonic()
            self.bar.value = bar_html(self.state)

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        self._draw()

    def ended(self, status: str) -> None:
        self.button.disabled = True
        self._draw(now=True)


class Training:
    """A run in a worker thread, so that the notebook stays alive: go on to other cells, press Stop, ask for the result.

    ``options`` are those of :func:`nbkit.studies.experiment.run_experiment`.
    """

    def __init__(self, experiment: Experiment, *, button: bool = True, **options: Any) -> None:
        self._stop = Stop()
        self.state = TrainingState(
            title=f"{experiment.model}, seed {experiment.seed},", metric=experiment.training.metric
        )
        self._callbacks = [self.state, TrainingView(self.state, self._stop, button=button), self._stop]
        self._outcome: RunFolder | BaseException | None = None
        self._thread = threading.Thread(target=self._work, args=(experiment, options), daemon=True)
        self._thread.start()

    def _work(self, experiment: Experiment, options: dict[str, Any]) -> None:
        try:
            self._outcome = run_experiment(experiment, callbacks=self._callbacks, **options)
        except BaseException as error:  # handed to whoever asks for the result
            self._outcome = error

    def stop(self) -> None:
        """End after the batch at hand; what is finished is kept."""
        self._stop.press()

    def result(self) -> RunFolder:
        """Wait for the run; interrupting the kernel while waiting stops the training, too."""
        try:
            while self._thread.is_alive():
                self._thread.join(0.1)
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


def train(experiment: Experiment, *, interactive: bool | None = None, **options: Any) -> RunFolder:
    """Run an experiment and show how it goes.

    ``interactive`` trains in a thread, under a bar, and interrupting the kernel (■) stops it with everything finished
    kept; else it trains inline with log lines. None decides by whether somebody watches.

    ``options`` are those of :func:`nbkit.studies.experiment.run_experiment`.
    """
    if interactive if interactive is not None else not headless():
        return Training(experiment, button=False, **options).result()
    return run_experiment(experiment, callbacks=[LogProgress(f"{experiment.model} seed {experiment.seed}")], **options)
