"""What is to be executed: which notebooks, with which parameters, into which folder of figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbkit.errors import UserError, nearest
from nbkit.notebooks.graph import Node, chosen, graph_of
from nbkit.notebooks.parameter_cell import check_parameters, parameters
from nbkit.notebooks.record import Record
from nbkit.studies.naming import executor_of

# What a preset asks of the notebooks that have such a parameter; the fast one is their defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"preset": "fast"},
    "paper": {"preset": "paper", "epochs": 1000, "seeds": [0, 1, 2, 3, 4]},
}


@dataclass(frozen=True)
class Plan:
    """The notebooks to execute, in order, the parameters given to each, and where everything goes."""

    folder: Mapping[str, Node]  # all of the folder
    nodes: Mapping[str, Node]  # those that are wanted
    values: Mapping[str, Mapping[str, Any]]
    figures: Path
    record: Record
    data: str = ""  # fingerprint of the data that was given
    executor: str = ""

    def key(self, name: str) -> str:
        """The identity of an execution now."""
        return self.record.key(self.nodes[name], self.values[name], self.data_of(name))

    def data_of(self, name: str) -> str:
        return self.data if "data" in self.values[name] else ""

    def holds(self, name: str) -> bool:
        """Whether there is nothing to do for a notebook, as far as those before it stay as they are."""
        return self.record.holds(name, self.key(name))

    def due(self, force: bool = False) -> list[str]:
        """What will probably be executed: what changed, and all that comes after it."""
        found: list[str] = []
        for name, node in self.nodes.items():
            if force or set(node.after) & set(found) or not self.holds(name):
                found.append(name)
        return found

    def outside(self) -> dict[str, list[str]]:
        """What wanted notebooks come after and is not wanted itself."""
        left = {name: [other for other in node.after if other not in self.nodes] for name, node in self.nodes.items()}
        return {name: others for name, others in left.items() if others}


def plan(
    source: str | Path,
    figures: str | Path,
    *,
    preset: str = "fast",
    data: str | None = None,
    only: str | None = None,
    executor: str = "",
    given: Mapping[str, Any] | None = None,
) -> Plan:
    """What is to be executed; nothing is written yet.

    Preset, data and executor reach the notebooks that have parameters of such names; the executor also reaches every
    study that is given none. What is ``given`` outdoes the preset, in every notebook that has such a parameter.
    ``only`` are shell patterns with commas between. What a chosen notebook comes after is executed with it only if it
    is chosen too.

    Raises:
        UserError: no such notebook, a circle, unknown data, an unknown executor, a value that a parameter cannot have,
            a parameter that none of the notebooks has.
    """
    folder = graph_of(source)
    nodes = chosen(folder, only)
    if not nodes:
        raise UserError(f"no notebook {only or '*'!r} in {str(source)!r}; expected a folder of .ipynb files")
    if executor:
        executor_of(executor)
    wishes = {**PRESETS[preset], "data": data, "executor": executor}
    wishes = {name: value for name, value in wishes.items() if value} | dict(given or {})
    known = {name: [p.name for p in parameters(node.path)] for name, node in nodes.items()}
    for name in given or {}:
        if not any(name in of for of in known.values()):
            every = sorted({parameter for of in known.values() for parameter in of})
            raise UserError(f"parameter {name!r}: none of {len(nodes)} notebooks has it; {nearest(name, every)}")
    values = {
        name: check_parameters(node.path, {key: wishes[key] for key in known[name] if key in wishes})
        for name, node in nodes.items()
    }
    figures = Path(figures).absolute()
    return Plan(folder, nodes, values, figures, Record(figures), _fingerprint(data), executor)


def _fingerprint(data: str | None) -> str:
    from nbkit.data import catalog

    return str(catalog.load(data).fingerprint) if data else ""
