"""Which notebooks there are, and which of them come after which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from nbformat import NotebookNode

from nbkit.errors import UserError, nearest
from nbkit.notebooks.files import read


@dataclass(frozen=True)
class Node:
    """A notebook of a folder, and the names (without ``.ipynb``) of those whose work it goes on from."""

    path: Path
    after: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.stem


def graph_of(folder: str | Path) -> dict[str, Node]:
    """The notebooks of a folder by name, each behind all that it comes after.

    A notebook says so in its metadata: ``"nbkit": {"after": ["30_robustness"]}``.

    Raises:
        UserError: metadata of another form, a name that is no notebook of the folder, notebooks after each other.
    """
    nodes = {path.stem: Node(path, after(read(path), str(path))) for path in sorted(Path(folder).glob("*.ipynb"))}
    for node in nodes.values():
        for name in node.after:
            if name not in nodes:
                raise UserError(f"notebook {str(node.path)!r} comes after {name!r}; {nearest(name, nodes)}")
    try:
        order = list(TopologicalSorter({name: node.after for name, node in nodes.items()}).static_order())
    except CycleError as error:
        circle = " after ".join(reversed(error.args[1]))
        raise UserError(f"notebooks of {str(folder)!r} wait for each other: {circle}; expected no circle") from None
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[before] for before in nodes[name].after), default=-1)
    return {name: nodes[name] for name in sorted(nodes, key=lambda name: (depth[name], name))}


def after(notebook: NotebookNode, where: str) -> tuple[str, ...]:
    """What a notebook says that it comes after; UserError where it says so in another form."""
    own = notebook.metadata.get("nbkit", {})
    names = own.get("after", []) if isinstance(own, dict) and set(own) <= {"after"} else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"notebook {where!r}: metadata nbkit = {own!r}; expected {{'after': ['name', …]}}")
    return tuple(dict.fromkeys(names))


def chosen(nodes: Mapping[str, Node], only: str | None) -> dict[str, Node]:
    """The notebooks whose name matches one of the patterns, with commas between; all without one."""
    patterns = [part.strip() for part in (only or "*").split(",")]
    return {name: node for name, node in nodes.items() if any(matches(node, pattern) for pattern in patterns)}


def matches(node: Node, pattern: str) -> bool:
    """Whether a shell pattern is of this notebook's name, with or without its ending."""
    return fnmatch(node.name, pattern) or fnmatch(node.path.name, pattern)


def behind(nodes: Mapping[str, Node], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the beginning of each notebook to the end of the longest chain behind it."""
    longest: dict[str, float] = {}
    for name in reversed(list(nodes)):  # those that wait stand behind what they wait for
        later: Iterable[float] = (longest[other] for other, node in nodes.items() if name in node.after)
        longest[name] = seconds.get(name, 0.0) + max(later, default=0.0)
    return longest
