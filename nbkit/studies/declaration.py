"""A study as a small TOML file: the builder's name is a table, its arguments are the keys.

::

    name = "noise on the shop"

    [robustness]
    models = ["lightgcn", "freedom"]
    operators = ["add_random_edges", "row_shuffle"]
    rates = [0, 0.1, 0.2]
    training = { epochs = 50 }
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from nbkit import config
from nbkit.errors import UserError, nearest
from nbkit.paths import read_toml, write_atomic
from nbkit.studies.study import BUILDERS, Study


def read(path: str | Path) -> Study:
    """The study of a file; several tables, also of the same builder (``[[grid]]``), make one study together.

    Raises:
        UserError: a file that is missing or no TOML, an unknown builder or argument (with the nearest), a wrong value.
    """
    where = f"study {str(path)!r}"
    content = read_toml(path, where, "a declaration such as `[grid]` with models = [...]")
    name = content.pop("name", Path(path).stem)
    if not isinstance(name, str):
        raise UserError(f"{where}: name = {name!r}; expected str")
    studies = []
    for builder, tables in content.items():
        if builder not in BUILDERS:
            raise UserError(f"{where}: unknown key {builder!r}; {nearest(builder, ['name', *BUILDERS])}")
        for table in tables if isinstance(tables, list) else [tables]:
            if not isinstance(table, Mapping):
                raise UserError(f"{where}: {builder} = {table!r}; expected a table [{builder}]")
            studies.append(BUILDERS[builder](name=name, **_checked(builder, table, f"{where}, {builder}")))
    if not studies:
        raise UserError(f"{where} declares no runs; expected a table, one of {', '.join(BUILDERS)}")
    return reduce(Study.__add__, studies)


def write(study: Study, path: str | Path) -> Path:
    """Write the declaration that made a study; TOML keeps tables of one builder together.

    Raises:
        UserError: a study that no builder made, or a place that cannot be written.
    """
    if not study.declaration:
        raise UserError(
            f"study {study.name!r} was not made by a builder ({', '.join(BUILDERS)}); it has no declaration"
        )
    lines = [f"name = {config.toml(study.name)}"]
    for builder, arguments in study.declaration:
        lines += ["", f"[[{builder}]]"]
        lines += [f"{name} = {config.toml(value)}" for name, value in arguments.items() if value is not None]
    write_atomic(Path(path), "\n".join(lines) + "\n")
    return Path(path)


def _checked(builder: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The arguments of a builder, each of the type that it declares."""
    make = BUILDERS[builder]
    hints = typing.get_type_hints(make)
    known = {
        name: config.Setting(name, hints[name], parameter.default, None, "")
        for name, parameter in inspect.signature(make).parameters.items()
        if name != "name"
    }
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown key {name!r}; {nearest(name, known)}")
    for name, setting in known.items():
        if setting.required and name not in values:
            raise UserError(f"{where}: key {name!r} is missing; expected {setting.type_name}")
    return {name: known[name].check(value, where) for name, value in values.items()}
