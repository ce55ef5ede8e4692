"""The house rules of a notebook, each breach as one line."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from nbformat import NotebookNode

from nbkit.errors import UserError
from nbkit.notebooks.files import is_golden, read, text_of
from nbkit.notebooks.parameter_cell import parameters

MAX_BYTES = 60 * 1024
MAX_LINES = 25
_MAGIC = re.compile(r"^(\s*)[%!?].*$", re.MULTILINE)


def lint(path: str | Path) -> list[str]:
    """What breaks the rules in a notebook, one line each; an empty list if nothing does.

    Rules: a title first, one readable parameters cell with a help text for each, at most 60 KB without
    attached pictures, cells of at most 25 lines, no ``def`` or ``class`` outside a folder ``teach``, code
    that parses, golden cells with output.

    Raises:
        UserError: the file is missing or no notebook.
    """
    path = Path(path)
    notebook = read(path)
    found = []
    if not notebook.cells or notebook.cells[0].cell_type != "markdown" or not notebook.cells[0].source.startswith("# "):
        found.append(f"{path}: cell 1: expected a Markdown title ('# …')")
    try:
        found += [
            f"{path}: parameter {p.name!r} has no help; expected '# help' behind it"
            for p in parameters(path)
            if not p.help
        ]
    except UserError as error:
        found.append(str(error))
    size = len(text_of(_without_pictures(notebook)).encode())
    if size > MAX_BYTES:
        found.append(f"{path}: {size / 1024:.0f} KB; expected at most {MAX_BYTES // 1024} KB")
    for number, cell in enumerate(notebook.cells, start=1):
        found += [
            f"{path}: cell {number}: {breach}" for breach in _breaches(cell, teaching="teach" in path.absolute().parts)
        ]
    return found


def _without_pictures(notebook: NotebookNode) -> NotebookNode:
    cells = [NotebookNode({k: v for k, v in cell.items() if k != "attachments"}) for cell in notebook.cells]
    return NotebookNode({**notebook, "cells": cells})


def _breaches(cell: NotebookNode, *, teaching: bool) -> list[str]:
    found = []
    lines = len(cell.source.splitlines())
    if lines > MAX_LINES:
        found.append(f"{lines} lines; expected at most {MAX_LINES}")
    if cell.cell_type != "code":
        return found
    if is_golden(cell) and (not cell.outputs or cell.execution_count != 1):
        found.append(
            "golden cell without output and execution_count = 1: nbval compares nothing; run `nbkit clean --regold`"
        )
    if cell.source.startswith("%%"):
        return found
    try:
        tree = ast.parse(_MAGIC.sub(r"\1pass", cell.source))
    except SyntaxError as error:
        return [*found, f"line {error.lineno} is not Python ({error.msg})"]
    named = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    if named and not teaching:
        found.append(f"defines {named[0].name!r} on line {named[0].lineno}; expected no def or class outside teach/")
    return found
