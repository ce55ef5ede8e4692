"""Tiny notebooks, written where a test wants them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """``make(name, *cells)``: text is a Markdown cell, a tuple (source, *tags) a code cell."""

    def build(name: str, *cells: str | tuple[str, ...]) -> Path:
        notebook = nbformat.v4.new_notebook()
        for number, cell in enumerate(cells):
            if isinstance(cell, str):
                notebook.cells.append(nbformat.v4.new_markdown_cell(cell, id=f"cell{number}"))
            else:
                source, *tags = cell
                metadata = {"tags": tags} if tags else {}
                notebook.cells.append(nbformat.v4.new_code_cell(source, metadata=metadata, id=f"cell{number}"))
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, path)
        return path

    return build
