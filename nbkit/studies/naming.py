"""Executors by name, as a command line, a notebook parameter or the environment gives them.

>>> executor_of("pool:4,threads=1")
Pool(jobs=4, threads=1, devices=('auto',), attempts=3, tick_seconds=1.0)
"""

from __future__ import annotations

import os
import re
from importlib import import_module
from typing import NamedTuple

from nbkit import config
from nbkit.errors import UserError, nearest
from nbkit.studies.executors import Executor

VARIABLE = "NBKIT_EXECUTOR"


class _Kind(NamedTuple):
    """Where an executor lives, imported when it is asked for, and the setting that a bare value is of."""

    module: str
    name: str
    bare: str


KINDS = {
    "inline": _Kind("nbkit.studies.executors", "Inline", "device"),
    "pool": _Kind("nbkit.studies.pool", "Pool", "jobs"),
    "ray": _Kind("nbkit.studies.cluster", "Ray", "address"),
}


def executor_of(given: Executor | str | None = None) -> Executor:
    """An executor as it is, or the one of a name; none, or an empty name: what ``NBKIT_EXECUTOR`` says, else inline.

    A name is ``inline``, ``pool`` or ``ray``, then a colon and its settings with commas between: ``pool:4``,
    ``pool:jobs=4,threads=1``, ``ray:auto``. The first may be a bare value: a device, a number of jobs, an address.

    Raises:
        UserError: an unknown name or setting, a wrong value, or an executor whose library is not installed.
    """
    if given is not None and not isinstance(given, str):
        return given
    spec = given or os.environ.get(VARIABLE, "") or "inline"
    where = f"executor {spec!r}" + ("" if given else f" (from {VARIABLE})")
    name, _, text = spec.partition(":")
    if name not in KINDS:
        raise UserError(f"{where}: unknown executor {name!r}; {nearest(name, KINDS)}")
    kind = KINDS[name]
    try:
        made = getattr(import_module(kind.module), kind.name)
    except ModuleNotFoundError as error:
        raise UserError(f"{where}: needs {error.name!r}, which is not installed") from None
    parts = [part.strip() for part in re.split(r",(?![^\[]*\])", text)] if text else []  # a list has commas of its own
    if parts and not re.match(r"\w+=", parts[0]):
        parts[0] = f"{kind.bare}={parts[0]}"
    executor: Executor = config.build(made, config.parse_assignments(made, parts, where=where), where=where)
    return executor
