"""``nbkit run`` and ``nbkit clean``: one notebook headless, and what notebooks keep in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nbkit.cli import console
from nbkit.errors import UserError
from nbkit.paths import figures_dir

if TYPE_CHECKING:
    from types import ModuleType


def laboratory() -> ModuleType:
    """The notebook machinery; UserError where its libraries are not installed, as on a bare GPU machine."""
    try:
        from nbkit import notebooks
    except ModuleNotFoundError as error:
        raise UserError(
            f"notebooks need {error.name!r}, which is not installed; install nbkit with its extra 'lab'"
        ) from None
    return notebooks


def run(
    notebook: Annotated[Path, typer.Argument(help="An .ipynb file with a parameters cell.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Value of a notebook parameter."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The executed notebook (default: figures/notebooks/NAME.ipynb)."),
    ] = None,
    params: Annotated[bool, typer.Option("--params", help="List the notebook's parameters and run nothing.")] = False,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a cell may take.")] = None,
) -> None:
    """Run one notebook headless, its parameters checked.

    An unknown or mistyped parameter is refused before a kernel starts.

    \b
    Examples:
      nbkit run notebooks/20_train.ipynb --params
      nbkit run notebooks/20_train.ipynb -p model=freedom -p epochs=50
    """
    lab = laboratory()
    if params:
        console.print_table(
            ["parameter", "type", "default", "meaning"],
            [[p.name, p.declared, p.source, p.help] for p in lab.parameters(notebook)],
        )
        return
    target = out or figures_dir() / "notebooks" / notebook.name
    watch = lab.running.Log()
    console.say(str(lab.run_notebook(notebook, assignments(parameter or []), target, timeout=timeout, watch=watch)))


def assignments(texts: list[str]) -> dict[str, Any]:
    """Values by name from ``name=value`` texts; UserError for a text without ``=``."""
    for text in texts:
        if "=" not in text:
            raise UserError(f"-p {text!r}; expected NAME=VALUE")
    return {name: value for name, _, value in (text.partition("=") for text in texts)}


def clean(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Notebooks or folders of them (default: notebooks).")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Change nothing; exit 1 when a file is not clean or breaks a rule."),
    ] = False,
    regold: Annotated[
        bool, typer.Option("--regold", help="Run them with their defaults and keep the golden outputs anew.")
    ] = False,
) -> None:
    """Strip notebooks of everything but golden outputs.

    With --check nothing is changed, and the notebooks are held to the house rules too.

    \b
    Examples:
      nbkit clean
      nbkit clean --check
      nbkit clean notebooks/20_train.ipynb --regold
    """
    from nbkit.notebooks.files import notebooks_in

    lab = laboratory()
    chosen = paths or [Path("notebooks")]
    if regold:
        if check:
            raise UserError("--regold writes and --check does not; expected one of them")
        for file in [file for path in chosen for file in notebooks_in(path)]:
            console.say(f"{lab.regold(file)}: golden outputs are those of today")
        return
    changed = [line for path in chosen for line in lab.clean(path, check=check)]
    for file in changed:
        console.say(f"{file}: {'not clean; run `nbkit clean`' if check else 'cleaned'}")
    if check:
        files = [file for path in chosen for file in notebooks_in(path)]
        breaches = [line for file in files for line in lab.lint(file)]
        for line in breaches:
            console.say(line)
        if changed or breaches:
            raise typer.Exit(1)
        console.say(f"{len(files)} notebooks are clean")
