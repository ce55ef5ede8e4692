"""What the command line prints: rich tables in a terminal, plain text in a pipe, one line for errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

Row = Sequence[Any]


def cell(value: Any) -> str:
    """A value as a reader wants it in a table: 4 digits after the point, nothing for None and NaN."""
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.1f}"
    return str(value)


def _is_number(text: str) -> bool:
    return (
        text.replace(",", "")
        .replace(".", "", 1)
        .replace("±", "")
        .replace(" ", "")
        .lstrip("-")
        .replace(".", "")
        .isdigit()
    )


def print_table(columns: Sequence[str], rows: Sequence[Row], title: str = "") -> None:
    """Rows under their column names; numbers stand to the right."""
    texts = [[cell(value) for value in row] for row in rows]
    right = [bool(texts) and all(_is_number(row[i]) for row in texts if row[i]) for i in range(len(columns))]
    if sys.stdout.isatty():
        _print_rich(columns, texts, right, title)
        return
    widths = [max(len(name), *(len(row[i]) for row in texts), 0) for i, name in enumerate(columns)]
    if title:
        print(title)
    for row in [list(columns), *texts]:
        padded = (text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True))
        print("  ".join(padded).rstrip())


def _print_rich(columns: Sequence[str], texts: Sequence[Sequence[str]], right: Sequence[bool], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, number in zip(columns, right, strict=True):
        table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in texts:
        table.add_row(*map(Text, row))
    Console().print(table)


def say(text: str) -> None:
    """One line of result."""
    print(text, flush=True)


def note(text: str) -> None:
    """One line beside the results, on stderr, so that a pipe gets results only."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """The one line of a user's mistake."""
    note(f"nbkit: error: {' '.join(str(text).split())}")
