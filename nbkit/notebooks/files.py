"""Notebook files: read with one clear error, written whole or not at all, found below a folder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from nbkit.errors import UserError
from nbkit.paths import write_atomic

GOLDEN = "nbval-check-output"


def read(path: str | Path) -> NotebookNode:
    """The notebook in a file, as format 4.5; cells without an id of their own get one from their content.

    Raises:
        UserError: no such file, not JSON, or not a notebook of format 4.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"notebook {str(path)!r}: {error.strerror}; expected an .ipynb file") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"notebook {str(path)!r}: not UTF-8 text at byte {error.start}; expected an .ipynb file"
        ) from None
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"notebook {str(path)!r}, line {error.lineno}: not JSON ({error.msg})") from None
    if not isinstance(raw, dict) or raw.get("nbformat") != 4:
        found = raw.get("nbformat") if isinstance(raw, dict) else type(raw).__name__
        raise UserError(f"notebook {str(path)!r}: format {found!r}; expected a notebook of format 4")
    try:
        notebook = nbformat.v4.reads(text)
        _complete_ids(notebook)
        nbformat.validate(notebook, relax_add_props=True)
    except (nbformat.ValidationError, AttributeError, KeyError, TypeError) as error:
        reason = getattr(error, "message", "") or repr(error)
        raise UserError(f"notebook {str(path)!r}: not a valid notebook ({reason[:120]})") from None
    return notebook


def _complete_ids(notebook: NotebookNode) -> None:
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        if not cell.get("id") or cell.id in seen:
            cell["id"] = hashlib.sha256(f"{number}\0{cell.source}".encode()).hexdigest()[:8]
        seen.add(cell.id)
    notebook["nbformat_minor"] = max(notebook.get("nbformat_minor", 0), 5)


def text_of(notebook: NotebookNode) -> str:
    """The file content of a notebook, laid out as JupyterLab does."""
    return nbformat.v4.writes(notebook).rstrip("\n") + "\n"


def write(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook whole or not at all; UserError where the folder is read-only or the disk full."""
    write_atomic(path, text_of(notebook))


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


def is_golden(cell: NotebookNode) -> bool:
    """Whether the output of this cell is kept in the repository and compared by nbval."""
    return cell.cell_type == "code" and GOLDEN in tags(cell)


def first_line(cell: NotebookNode, width: int = 60) -> str:
    """The first line of a cell that says something, shortened."""
    lines: list[Any] = [line.strip() for line in cell.source.splitlines() if line.strip()]
    line = next((line for line in lines if not line.startswith(("#", "%"))), lines[0] if lines else "")
    return line if len(line) <= width else line[: width - 1] + "…"


def notebooks_in(path: str | Path) -> list[Path]:
    """The notebook itself, or every notebook below a folder, sorted; checkpoints of JupyterLab are left out.

    Raises:
        UserError: neither a notebook nor a folder.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(
            p for p in path.rglob("*.ipynb") if not any(part.startswith(".") for part in p.relative_to(path).parts)
        )
    if path.suffix != ".ipynb" or not path.exists():
        raise UserError(f"notebook {str(path)!r}: no such notebook; expected an .ipynb file or a folder of them")
    return [path]
