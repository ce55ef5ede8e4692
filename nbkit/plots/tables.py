"""One formatter for the small tables that notebooks show and goldens compare."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd


def number(value: Any, digits: int = 4) -> str:
    """A number as a reader wants it: ``digits`` significant ones, thousands apart, integers whole, nothing for nan.

    >>> number(0.123456), number(12345), number(float("nan")), number(True)
    ('0.1235', '12,345', '–', 'True')
    """
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        return str(value)
    if math.isnan(float(value)):
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}" if abs(value) >= 1e-4 else f"{value:.{max(digits - 2, 0)}e}"


def table(frame: pd.DataFrame, digits: int = 4) -> pd.DataFrame:
    """The frame with every cell as text, numbers through :func:`number`: equal on every machine that agrees so far."""
    return frame.map(lambda value: number(value, digits) if not isinstance(value, str) else value)


def markdown(frame: pd.DataFrame, digits: int = 4) -> str:
    """The frame as a Markdown table, for a README or an issue."""
    text = table(frame, digits)
    head = "| " + " | ".join(map(str, text.columns)) + " |"
    rule = "|" + "---|" * len(text.columns)
    return "\n".join([head, rule, *("| " + " | ".join(map(str, row)) + " |" for row in text.itertuples(index=False))])


def latex(frame: pd.DataFrame, digits: int = 4) -> str:
    """The frame as a LaTeX ``tabular``, for a paper."""
    text = table(frame, digits)
    escape = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "–": "--"})
    rows = [list(text.columns), *text.to_numpy().tolist()]
    lines = [" & ".join(str(cell).translate(escape) for cell in row) + r" \\" for row in rows]
    columns = "l" + "r" * (len(text.columns) - 1)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
        ]
    )
