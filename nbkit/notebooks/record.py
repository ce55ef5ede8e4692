"""What was reproduced from what, so that a notebook of which nothing changed is not executed again."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from nbkit.config import canonical_json
from nbkit.notebooks.files import read
from nbkit.notebooks.graph import Node
from nbkit.paths import write_atomic
from nbkit.repro import code_version, installed_versions

FILE = "reproduced.json"


@dataclass(frozen=True)
class Entry:
    """The last good execution of a notebook, and why a later one failed.

    ``key`` hashes what went in, ``files`` came out (paths below the folder of figures), ``values`` are the parameters
    that were given, ``data`` the fingerprint of the data among them.
    """

    key: str = ""
    files: tuple[str, ...] = ()
    seconds: float = 0.0
    values: Mapping[str, Any] | None = None
    data: str = ""
    failure: str = ""


class Record:
    """The entries of a folder of figures, by name of the notebook; each change is on disk at once."""

    def __init__(self, figures: Path) -> None:
        self.figures = figures
        self.path = figures / "notebooks" / FILE
        self.entries = _read(self.path)
        self._lock = threading.Lock()  # notebooks that end at the same time

    def __getitem__(self, name: str) -> Entry:
        return self.entries.get(name, Entry())

    def holds(self, name: str, key: str) -> bool:
        """Whether the notebook was executed with just this, and everything that it made is still there."""
        entry = self[name]
        complete = all((self.figures / file).exists() for file in entry.files)
        return entry.key == key and not entry.failure and complete

    def keep(self, name: str, entry: Entry) -> None:
        """Put down an execution, and delete what an earlier one made and this one did not."""
        with self._lock:
            self._forget(name, entry)
            self.entries[name] = entry
            self._write()

    def _forget(self, name: str, entry: Entry) -> None:
        others = {file for other, each in self.entries.items() if other != name for file in each.files}
        for file in set(self[name].files) - set(entry.files) - others:
            (self.figures / file).unlink(missing_ok=True)

    def fail(self, name: str, reason: str) -> None:
        """Put down why a notebook failed; what an earlier execution made stays, and stays known."""
        with self._lock:
            self.entries[name] = replace(self[name], failure=reason)
            self._write()

    def key(self, node: Node, values: Mapping[str, Any], data: str) -> str:
        """The identity of an execution after what is there now of the notebooks before it.

        It is a hash of the cells without outputs, the parameters, the data by content, the code of nbkit, the versions
        of libraries, and the keys of the notebooks before it. Where data lies and who computes do not count.
        """
        cells = [[cell.cell_type, cell.source] for cell in read(node.path).cells]
        identity = {
            "cells": cells,
            "values": {k: v for k, v in values.items() if k not in ("data", "executor")},
            "data": data,
            "code": package_version(),
            "versions": installed_versions(),
            "after": {name: self[name].key for name in node.after},
        }
        return hashlib.sha256(canonical_json(identity).encode()).hexdigest()

    def outdated(self, nodes: Iterable[Node]) -> set[str]:
        """Notebooks of which cells, code, versions or what comes before them changed since they were executed.

        ``nodes`` stand in order, each behind all that it comes after.
        """
        found: set[str] = set()
        for node in nodes:
            entry = self[node.name]
            changed = entry.key != self.key(node, entry.values or {}, entry.data)
            if entry.key and (changed or found & set(node.after)):
                found.add(node.name)
        return found

    def _write(self) -> None:
        entries = {name: asdict(entry) for name, entry in self.entries.items()}
        write_atomic(self.path, json.dumps(entries, indent=2, sort_keys=True) + "\n")


def _read(path: Path) -> dict[str, Entry]:
    """Nothing from a file that is missing, damaged or of another form: everything is executed then."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: Entry(**{**entry, "files": tuple(entry["files"])}) for name, entry in found.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


@cache
def package_version() -> str:
    """The version of all code of nbkit that a notebook can reach: everything but the command line."""
    import nbkit

    names = [module.name for module in pkgutil.walk_packages(nbkit.__path__, "nbkit.")]
    return code_version(*(name for name in sorted(names) if not name.startswith("nbkit.cli")))
