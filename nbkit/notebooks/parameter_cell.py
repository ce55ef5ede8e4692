"""The parameters cell of a notebook: one line a parameter, typed, and checked before any kernel starts."""

from __future__ import annotations

import ast
import io
import os
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from nbkit.config import Setting
from nbkit.errors import UserError, nearest
from nbkit.notebooks.files import read, tags
from nbkit.notebooks.types import as_source, from_text, lengths_fit, takes_text, type_of

_FORM = "expected name: type = value  # help"
_TYPES = "expected bool, int, float, str, list[...], tuple[...], Literal[...], or one of them | None"


@dataclass(frozen=True)
class Parameter(Setting):
    """A line of the parameters cell: a setting that also knows its line and how its type was written."""

    declared: str = ""
    line: int = 0

    @property
    def source(self) -> str:
        """The default as Python source."""
        return as_source(self.default)

    def check(self, value: Any, where: str) -> Any:
        """The value in the declared type; text is read as on a command line, NumPy and paths are converted.

        Raises:
            UserError: the wrong type, or a value outside of a Literal.
        """
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str):
            return self.parse(value, where)
        return self._checked(value.tolist() if hasattr(value, "tolist") else value, where)

    def parse(self, text: str, where: str) -> Any:
        """The value of a text in the declared type: ``3``, ``true``, ``none``, ``a,b`` or ``[1, 2]``.

        Raises:
            UserError: the text does not read as that type.
        """
        try:
            value = from_text(self.type, text if self.type is str else text.strip())
        except (ValueError, SyntaxError):
            raise UserError(f"{where}: {self.name} = {text!r}; expected {self.type_name}") from None
        return self._checked(value, where)

    def _checked(self, value: Any, where: str) -> Any:
        checked = super().check(value, where)
        if not lengths_fit(self.type, checked):
            raise UserError(f"{where}: {self.name} = {value!r}; expected {self.type_name}")
        return checked


def parameters(path: str | Path) -> list[Parameter]:
    """The parameters that a notebook declares, in order.

    Raises:
        UserError: no, or more than one, cell tagged ``parameters``, or a line in it of another form (it is
            named).
    """
    notebook = read(path)
    number = parameters_cell(notebook, str(path))
    return parse_cell(notebook.cells[number].source, f"{path}, parameters cell (cell {number + 1})")


def parameters_cell(notebook: NotebookNode, where: str) -> int:
    """Which cell is tagged ``parameters``; UserError unless there is exactly one."""
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    found = [n for n in code if "parameters" in tags(notebook.cells[n])]
    if len(found) != 1:
        raise UserError(f"{where}: {len(found)} code cells are tagged 'parameters', expected one")
    return found[0]


def parse_cell(source: str, where: str) -> list[Parameter]:
    """The parameters that the source of a parameters cell declares.

    Raises:
        UserError: a line not of the form ``name: type = value  # help``, a name used twice, a mistyped
            default.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        text = (error.text or "").strip()
        raise UserError(f"{where}, line {error.lineno}: {text!r} is not Python; {_FORM}") from None
    comments = _comments(source)
    found: dict[str, Parameter] = {}
    for statement in tree.body:
        here = f"{where}, line {statement.lineno}"
        parameter = _parse_line(statement, here, comments.get(statement.lineno, ""))
        if parameter.name in found:
            raise UserError(f"{here}: {parameter.name!r} was declared before, on line {found[parameter.name].line}")
        found[parameter.name] = parameter
    return list(found.values())


def _parse_line(statement: ast.stmt, here: str, comment: str) -> Parameter:
    text = ast.unparse(statement)
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            pass
        case _:
            raise UserError(f"{here}: {text!r}; {_FORM}")
    if statement.end_lineno != statement.lineno:
        raise UserError(f"{here}: {text!r} goes on until line {statement.end_lineno}; {_FORM}, on one line")
    try:
        kind = type_of(annotation)
    except (ValueError, SyntaxError):
        raise UserError(f"{here}: {name!r} is of type {ast.unparse(annotation)}; {_TYPES}") from None
    try:
        default = ast.literal_eval(value)
    except ValueError:
        raise UserError(f"{here}: {name} = {ast.unparse(value)}; expected a plain value") from None
    parameter = Parameter(name, kind, default, None, comment, ast.unparse(annotation), statement.lineno)
    # A default is Python, not text from a command line: '3' is no int here, and 'none' no None.
    if isinstance(default, str) and (not takes_text(kind) or parameter.check(default, here) != default):
        raise UserError(f"{here}: {name} = {default!r}; expected {parameter.type_name}")
    return replace(parameter, default=parameter.check(default, here))


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}


def check_parameters(path: str | Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given values in their declared types; text is read as on a command line.

    Raises:
        UserError: an unknown name (with the nearest), a mistyped value, one outside its choices, a broken
            cell.
    """
    known = {p.name: p for p in parameters(path)}
    where = f"notebook {Path(path).name}"
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown parameter {name!r}; {nearest(name, known)}")
    return {name: known[name].check(value, where) for name, value in values.items()}


def cli_help(path: str | Path, *, width: int = 100) -> str:
    """The parameters of a notebook as a plain-text table: name, type, default, help."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False)
    for title in ("parameter", "type", "default", "help"):
        table.add_column(title, no_wrap=title == "parameter", overflow="fold")
    for p in parameters(path):
        table.add_row(p.name, Text(p.declared), Text(p.source), Text(p.help))
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, force_terminal=False).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines()) + "\n"
