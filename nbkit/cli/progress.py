"""How far several notebooks are: a line each that moves in a terminal, a line each now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbkit.cli import console

if TYPE_CHECKING:
    from nbkit.notebooks.reproducing import Running

EVERY = 10.0  # seconds between two lines about the same notebook in a log


class Live:
    """Shows what is running; other lines are said above it."""

    def __init__(self) -> None:
        self._live: Any = None
        self._told: dict[str, float] = {}

    def __enter__(self) -> Live:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live as Moving

            self._live = Moving(console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._live.start()
        return self

    def __call__(self, running: Sequence[Running]) -> None:
        if self._live is not None:
            from rich.text import Text

            lines = [Text(told(each), no_wrap=True, overflow="ellipsis") for each in running]
            self._live.update(Text("\n").join(lines))
            return
        now = time.monotonic()
        for each in running:
            if now - self._told.setdefault(each.name, each.began) >= EVERY:
                self._told[each.name] = now
                console.note(f"  {told(each)}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.stop()
            console.say(text)
            self._live.start()
        else:
            console.say(text)

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()


def told(running: Running) -> str:
    """``30_robustness: cell 7 of 22, 45 s, usually 73 s; what it said last``."""
    where = f"cell {running.number} of {running.total}" if running.total else "its kernel starts"
    usual = f", usually {running.usual:.0f} s" if running.usual else ""
    said = f"; {running.said}" if running.said else ""
    return f"{running.name}: {where}, {running.seconds:.0f} s{usual}{said}"
