"""What may watch a fit: progress in a terminal or a log, and a way to stop it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import TextIO


class Callback:
    """Told what happens during a fit; every method does nothing by default."""

    def started(self, epoch: int, epochs: int, steps: int) -> None:
        """The fit begins after ``epoch`` finished epochs, of at most ``epochs``, with ``steps`` batches each."""

    def stepped(self, step: int) -> None:
        """Batch ``step`` of the current epoch has been trained on."""

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        """One more line of the history stands."""

    def ended(self, status: str) -> None:
        """The fit is over: ``finished``, ``stopped`` or ``failed``."""


class Stop(Callback):
    """A switch that ends a fit after the batch at hand; safe to press from another thread."""

    def __init__(self) -> None:
        self._pressed = threading.Event()

    def press(self) -> None:
        self._pressed.set()

    @property
    def pressed(self) -> bool:
        return self._pressed.is_set()

    def stepped(self, step: int) -> None:
        if self.pressed:
            raise KeyboardInterrupt


def _figures(row: Mapping[str, float]) -> dict[str, str]:
    shown = {"loss": row["loss"]} | {k.removeprefix("valid_"): v for k, v in row.items() if k.startswith("valid_")}
    return {name: f"{value:.4f}" for name, value in list(shown.items())[:3]}


class TerminalProgress(Callback):
    """A tqdm bar over epochs with loss and validation metric."""

    def __init__(self, title: str = "") -> None:
        self.title = title

    def started(self, epoch: int, epochs: int, steps: int) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=epochs, initial=epoch, desc=self.title, unit="epoch", dynamic_ncols=True)

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        self.bar.set_postfix(_figures(row), refresh=False)
        self.bar.update()

    def ended(self, status: str) -> None:
        self.bar.set_description(f"{self.title} {status}".strip())
        self.bar.close()


class LogProgress(Callback):
    """One line every few seconds, for logs and headless notebooks."""

    def __init__(self, title: str = "", *, every: float = 5.0, file: TextIO | None = None) -> None:
        self.title, self.every, self.file = title, every, file

    def started(self, epoch: int, epochs: int, steps: int) -> None:
        self.epochs, self.last, self.begin, self.first = epochs, time.monotonic(), time.monotonic(), epoch

    def epoch_ended(self, row: Mapping[str, float]) -> None:
        self.row = row
        now = time.monotonic()
        if now - self.last >= self.every:
            self.last = now
            self._say(f"epoch {row['epoch']:g} of at most {self.epochs}")

    def ended(self, status: str) -> None:
        if getattr(self, "row", None) is not None:
            self._say(f"{status} after {self.row['epoch']:g} epochs, {time.monotonic() - self.begin:.1f} s")

    def _say(self, text: str) -> None:
        figures = ", ".join(f"{name} {value}" for name, value in _figures(self.row).items())
        print(f"{self.title}: {text}; {figures}".strip(": "), file=self.file or sys.stderr, flush=True)


def progress(title: str = "") -> Callback:
    """The progress that suits where we are: a bar in a terminal, lines elsewhere."""
    return TerminalProgress(title) if sys.stderr.isatty() else LogProgress(title)
