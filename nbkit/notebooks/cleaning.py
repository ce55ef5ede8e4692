"""What a notebook keeps in the repository: its cells, and the outputs of golden cells alone."""

from __future__ import annotations

import copy
from pathlib import Path

from nbformat import NotebookNode

from nbkit.notebooks.files import is_golden, notebooks_in, read, text_of, write

_CELL_METADATA = ("editable", "slideshow", "tags")
_NOTEBOOK_METADATA = ("authors", "title")
_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def clean(path: str | Path, check: bool = False) -> list[str]:
    """Strip a notebook, or all below a folder, and say which files changed (with ``check``: would change).

    Golden cells (tag ``nbval-check-output``) keep their output and ``execution_count = 1``: nbval runs a
    cell without a count but does not compare it. Cleaning twice is cleaning once.

    Raises:
        UserError: no such notebook, or a file that is none.
    """
    changed = []
    for file in notebooks_in(path):
        notebook = read(file)
        clean_notebook = cleaned(notebook)
        if text_of(clean_notebook) != file.read_text(encoding="utf-8"):
            changed.append(str(file))
            if not check:
                write(file, clean_notebook)
    return changed


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """A copy without outputs, counts and metadata that change from run to run, but for golden cells."""
    notebook = copy.deepcopy(notebook)
    kept = {k: v for k, v in notebook.metadata.items() if k in _NOTEBOOK_METADATA}
    if after := notebook.metadata.get("nbkit", {}).get("after"):
        kept["nbkit"] = NotebookNode(after=after)
    notebook["metadata"] = NotebookNode(
        kept, kernelspec=NotebookNode(_KERNEL), language_info=NotebookNode(name="python")
    )
    for cell in notebook.cells:
        metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k in _CELL_METADATA})
        if not metadata.get("tags", True):
            del metadata["tags"]
        if cell.metadata.get("jupyter", {}).get("source_hidden"):
            metadata["jupyter"] = NotebookNode(source_hidden=True)
        cell["metadata"] = metadata
        if cell.cell_type == "code":
            _clean_code(cell)
    return notebook


def _clean_code(cell: NotebookNode) -> None:
    if not is_golden(cell) or not cell.outputs:
        cell["outputs"], cell["execution_count"] = [], None
        return
    cell["execution_count"] = 1
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        if output.output_type == "execute_result":
            output["execution_count"] = 1
        last = outputs[-1] if outputs else None
        # A kernel sends a stream in pieces as it pleases: joined, so that the file does not change without
        # need.
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last["text"] += output.text
        else:
            outputs.append(output)
    cell["outputs"] = outputs
