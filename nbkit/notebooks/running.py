"""Headless runs of a notebook: refused early, written whole, one line when a cell fails."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import nbformat
from nbformat import NotebookNode

from nbkit.errors import UserError
from nbkit.notebooks.cleaning import cleaned
from nbkit.notebooks.files import first_line, is_golden, read, tags, write
from nbkit.notebooks.parameter_cell import check_parameters, parameters, parameters_cell
from nbkit.notebooks.types import as_source
from nbkit.paths import writable_folder

if TYPE_CHECKING:
    from nbkit.notebooks.kernels import Stop

HEADLESS = "NBKIT_HEADLESS"  # set to 1 in the kernel: nobody is there to press a button
EXECUTED = "NBKIT_NOTEBOOK"  # where the executed notebook will be, for the provenance of its figures
_MARKER = "papermill-error-cell-tag"
_INJECTED = "injected-parameters"


class Watch(Protocol):
    """Somebody who is told how far a notebook is."""

    def cell(self, number: int, total: int, line: str) -> None:
        """A code cell begins; ``line`` is its first."""

    def printed(self, line: str) -> None:
        """A cell printed a line."""


def run_notebook(
    path: str | Path,
    values: Mapping[str, Any],
    output: str | Path,
    *,
    cwd: str | Path | None = None,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    watch: Watch | None = None,
    stop: Stop | None = None,
) -> Path:
    """Execute a notebook with these parameter values into ``output``, which is written when all is done.

    ``values`` may be text, as from a command line. The kernel works in ``cwd`` (default: the current folder) and sees
    ``NBKIT_HEADLESS=1``, and ``env`` beside our own environment. ``timeout`` is in seconds a cell. If a cell fails,
    what was done so far is kept as ``<output>.failed.ipynb``. Several notebooks may be executed at a time, each in a
    thread; ``stop`` reaches them from another one.

    Raises:
        UserError: an unknown or mistyped parameter (before a kernel starts), a failing cell, a cell that takes too
            long, a kernel that dies, a place that cannot be written to.
        Stopped: by ``stop``; nothing is written.
    """
    path, output = Path(path), Path(output)
    values = check_parameters(path, values)
    folder = Path(cwd) if cwd is not None else Path.cwd()
    if not folder.is_dir():
        raise UserError(f"working folder {str(folder)!r}: no such folder; expected one for the kernel of {path.name}")
    if output.suffix != ".ipynb" or output.is_dir():
        raise UserError(f"output {str(output)!r}: expected the name of an .ipynb file")
    if output.exists() and output.samefile(path):
        raise UserError(f"output {str(output)!r} is the notebook itself; expected another file")
    writable_folder(output.parent, "output folder")
    notebook = read(path)
    # Injected here, not by papermill: it would turn tuples into text.
    if values:
        lines = [
            "# Parameters of this run",
            *(f"{name} = {as_source(value)}" for name, value in values.items()),
        ]
        cell = nbformat.v4.new_code_cell("\n".join(lines), metadata={"tags": [_INJECTED]}, id="injected")
        notebook.cells.insert(parameters_cell(notebook, str(path)) + 1, cell)
    result = _execute(notebook, folder, {EXECUTED: str(output.absolute()), **(env or {})}, timeout, watch, stop)
    every = {p.name: p.default for p in parameters(path)} | values
    result.notebook.metadata["nbkit"] = {
        **result.notebook.metadata.get("nbkit", {}),
        "parameters": {name: as_source(value) for name, value in every.items()},
    }
    result.notebook.metadata["papermill"] |= {
        "input_path": path.name,
        "output_path": output.name,
        "parameters": {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()},
    }
    failed = output.with_name(f"{output.stem}.failed.ipynb")
    if result.failure:
        write(failed, result.notebook)
        raise UserError(f"notebook {path.name}: {result.failure}; what it did so far is in {str(failed)!r}")
    write(output, result.notebook)
    failed.unlink(missing_ok=True)
    return output


def regold(path: str | Path, *, cwd: str | Path | None = None, timeout: float | None = None) -> Path:
    """Run a notebook with its defaults, store the outputs of its golden cells in it and strip the rest.

    The kernel works in ``cwd`` (default: the notebook's folder, as nbval does); its runs and figures go to a
    folder that is deleted afterwards, so that no golden comes from an older run.

    Raises:
        UserError: as :func:`run_notebook`; the notebook is then left as it was.
    """
    path = Path(path)
    parameters(path)  # refused before a kernel starts
    source = read(path)
    where = Path(cwd) if cwd is not None else path.absolute().parent
    with tempfile.TemporaryDirectory(prefix="nbkit-") as aside:  # computed anew, and no litter in the repository
        env = {"NBKIT_RUNS": f"{aside}/runs", "NBKIT_FIGURES": f"{aside}/figures"}
        result = _execute(read(path), where, env, timeout)
    if result.failure:
        raise UserError(f"notebook {path.name}: {result.failure}; its goldens were left as they were")
    executed = {cell.id: cell for cell in result.notebook.cells}
    for cell in source.cells:
        if is_golden(cell):
            cell["outputs"] = executed[cell.id].outputs
    write(path, cleaned(source))
    return path


class _Result(NamedTuple):
    notebook: NotebookNode
    failure: str


class Log:
    """Tells on stderr which cell begins, after how many seconds, and what cells print."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def cell(self, number: int, total: int, line: str) -> None:
        self._say(f"[{number:>2}/{total}] {time.monotonic() - self.began:6.1f} s  {line}")

    def printed(self, line: str) -> None:
        self._say(f"        {line}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


class _Stream:
    """What nbclient writes the printed output of cells to while they run."""

    def __init__(self, printed: Callable[[str], None]) -> None:
        self.printed = printed

    def write(self, text: str) -> None:
        for line in text.replace("\r", "\n").splitlines():
            if line.strip():
                self.printed(line.rstrip())

    def flush(self) -> None: ...


def _execute(
    notebook: NotebookNode,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None,
    watch: Watch | None = None,
    stop: Stop | None = None,
) -> _Result:
    """The executed notebook, also a failed one, and in words why it failed; the given one is left alone."""
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from nbkit.notebooks.kernels import Stop, Stopped, kernels

    stop = Stop() if stop is None else stop
    live: list[NotebookNode] = []  # papermill returns nothing when a cell fails, so take hold of what it works on
    at = 0

    def started(cell: NotebookNode, cell_index: int) -> None:
        nonlocal at
        at = cell_index
        if stop.asked:
            raise Stopped
        if watch and cell.cell_type == "code" and cell.source.strip():
            number, total = _number(notebook, cell_index), _number(notebook, len(notebook.cells) - 1)
            watch.cell(number, total, first_line(cell))

    stream = _Stream(watch.printed) if watch else None
    failure = ""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what goes wrong is told once, by us
    with (
        tempfile.TemporaryDirectory(prefix="nbkit-") as folder,
        kernels({**os.environ, HEADLESS: "1", **env}) as kernel,
        stop.reaching(kernel),
    ):
        source = Path(folder) / "notebook.ipynb"
        write(source, notebook)
        try:
            papermill.execute_notebook(
                str(source).replace("{", "{{").replace("}", "}}"),  # papermill formats the path
                None,
                kernel_name="python3",
                progress_bar=False,
                request_save_on_cell_execute=False,
                autosave_cell_every=0,
                execution_timeout=timeout,
                kernel_manager_class=kernel.manager,
                resources={"metadata": {"path": str(cwd)}},
                on_notebook_start=lambda notebook: live.append(notebook),
                on_cell_start=started,
                on_cell_execute=kernel.now_busy,
                on_cell_executed=kernel.now_idle,
                stdout_file=stream,
                stderr_file=stream,
            )
        except papermill.PapermillExecutionError:
            pass  # told from the cells below: papermill also counts cells that are meant to raise
        except CellTimeoutError:
            failure = f"{_place(notebook, at)} took longer than {timeout:g} s"
        except DeadKernelError:
            words = kernel.last_words() or "no message; out of memory?"
            failure = f"{_place(notebook, at)}: the kernel died ({words})"
        except (NoSuchKernel, RuntimeError) as error:
            if stop.asked:
                raise Stopped from None
            if live:
                raise
            reason = kernel.last_words() or error
            raise UserError(
                f"the python3 kernel did not start ({reason}); expected ipykernel to be installed"
            ) from None
    done = live[0]
    failure = failure or _failed_cell(done, notebook)
    if failure and stop.asked:  # a cell that was interrupted, a kernel that was killed
        raise Stopped
    done.metadata.pop("widgets", None)  # each FigureWidget would keep 5 MB of plotly.js in the file
    return _Result(done, failure)


def _failed_cell(done: NotebookNode, notebook: NotebookNode) -> str:
    """Which cell failed and how, nothing if none did; papermill's marks of wanted errors are removed."""
    cells = [cell for cell in done.cells if _MARKER not in tags(cell)]
    for number, cell in enumerate(cells):
        errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
        if errors and "raises-exception" not in tags(cell) and not _clean_exit(errors[0]):
            said = " ".join(f"{errors[0].ename}: {errors[0].evalue}".split())
            return f"{_place(notebook, number)} raised {said[:300]}"
    done["cells"] = cells
    return ""


def _clean_exit(error: NotebookNode) -> bool:
    return error.ename == "SystemExit" and error.evalue in ("", "0")


def _number(notebook: NotebookNode, index: int) -> int:
    """A cell as its author counts it: from 1, without the injected one."""
    return index + 1 - sum(_INJECTED in tags(cell) for cell in notebook.cells[: index + 1])


def _place(notebook: NotebookNode, index: int) -> str:
    return f"cell {_number(notebook, index)} ({first_line(notebook.cells[index], 40)})"
