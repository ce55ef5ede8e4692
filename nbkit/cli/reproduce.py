"""``nbkit reproduce``: the notebooks beside each other into figures/; what did not change is left alone."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nbkit.cli import console
from nbkit.cli.notebooks import assignments, laboratory
from nbkit.paths import figures_dir

if TYPE_CHECKING:
    from nbkit.notebooks.planning import Plan
    from nbkit.notebooks.reproducing import Outcome


def reproduce(
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Data for the notebooks that take any (default: built-in)."),
    ] = None,
    preset: Annotated[
        Literal["fast", "paper"],
        typer.Option(help="Defaults of the notebooks, or 1000 epochs and five seeds."),
    ] = "fast",
    only: Annotated[
        str | None, typer.Option(metavar="GLOB", help="Only notebooks of such names: '30*', or '30*,70*'.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="A parameter, for the notebooks that have it."),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Notebooks at a time, the cores shared out among them (default: cores, memory)."),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who computes the runs of studies: inline, pool:4, ray:ADDRESS."),
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of figures (default: figures, or $NBKIT_FIGURES)."),
    ] = None,
    source: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the notebooks.")] = Path("notebooks"),
    force: Annotated[bool, typer.Option("--force", help="Run also what did not change.")] = False,
) -> None:
    """Run the notebooks headless, several at a time, and fill figures/ with a page.

    A notebook is left alone when nothing changed since the last time: its
    cells, its parameters, the data, the code of nbkit, the versions of
    libraries, and the notebooks it comes after. A failing one is reported,
    those after it are skipped, the others still run, and the exit code is 1.
    Stopped by Ctrl-C or killed, the same command goes on where it was.

    With --only, what a notebook comes after is not run, but taken as it is.

    \b
    Examples:
      nbkit reproduce
      nbkit reproduce --only '30*,70*' --force --jobs 1
      nbkit reproduce --data /mnt/data/baby --preset paper --executor pool:4
      nbkit reproduce --only '30*' -p 'models=["lightgcn", "jbm_diff"]'
    """
    laboratory()
    from nbkit.cli.progress import Live
    from nbkit.notebooks import planning, reproducing

    out, given = out or figures_dir(), assignments(parameter or [])
    plan = planning.plan(source, out, preset=preset, data=data, only=only, executor=executor, given=given)
    for name, others in plan.outside().items():
        console.note(f"{name} comes after {', '.join(others)}: not chosen, taken as it is")
    todo = plan.due(force)
    jobs = min(jobs or reproducing.default_jobs(), max(1, len(todo)))
    if todo:
        console.note(_beginning(plan, todo, jobs))
    intro = f"Drawn by the notebooks from {'your data' if data else 'the built-in data'} with the {preset} preset."
    ends: Counter[str] = Counter()
    try:
        with Live() as live, contextlib.closing(reproducing.execute(plan, jobs, force=force, watch=live)) as outcomes:
            for number, outcome in enumerate(outcomes, start=1):
                ends[outcome.status] += 1
                live.say(f"[{number}/{len(plan.nodes)}] {_told(outcome)}")
                if outcome.status not in ("unchanged", "stopped"):
                    write_index(plan, intro)
    except KeyboardInterrupt:
        console.say(f"page: {write_index(plan, intro)}")
        raise
    console.say(f"page: {write_index(plan, intro)}")
    if ends["failed"]:
        behind = f", {ends['skipped']} behind them skipped" if ends["skipped"] else ""
        console.complain(f"{ends['failed']} of {len(plan.nodes)} notebooks failed{behind}")
        raise typer.Exit(1)


def _beginning(plan: Plan, todo: list[str], jobs: int) -> str:
    """How many notebooks will run, how many at a time, and how long that took the last time."""
    from nbkit.notebooks.graph import behind
    from nbkit.studies.planning import time_left

    seconds = {name: plan.record[name].seconds for name in todo if plan.record[name].seconds}
    longest = max(behind(plan.nodes, seconds).values(), default=0.0)
    left = max(sum(seconds.values()) / jobs, longest)
    unknown = len(todo) - len(seconds)
    known = f", {'about' if not unknown else 'at least'} {time_left(left).removeprefix('about ')}" if left else ""
    return f"{len(todo)} of {len(plan.nodes)} notebooks to run, {jobs} at a time{known}"


def _told(outcome: Outcome) -> str:
    """What became of a notebook, in a line."""
    words = {
        "done": f"done in {outcome.seconds:.1f} s, {len(outcome.files)} files",
        "failed": f"failed after {outcome.seconds:.1f} s: {outcome.reason}",
        "skipped": f"skipped: {outcome.reason}",
        "stopped": f"stopped after {outcome.seconds:.1f} s",
    }
    return f"{outcome.name}: {words.get(outcome.status, outcome.status)}"


def write_index(plan: Plan, intro: str) -> Path:
    """The page of all figures, those marked that a reader should not believe as they stand."""
    from nbkit.plots.gallery import Mark, write_gallery

    marks: dict[str, Any] = {}
    outdated = plan.record.outdated(plan.folder.values())
    for name, node in plan.folder.items():
        entry, path = plan.record[name], f"notebooks/{node.path.name}"
        page = f"notebooks/{name}.failed.html"
        if entry.failure:
            marks[path] = Mark("failed", f"Failed: {entry.failure}", page if (plan.figures / page).exists() else "")
        elif name in outdated:
            marks[path] = Mark("outdated", "Out of date: something that it depends on has changed since.")
    return write_gallery(
        plan.figures, "nbkit: what denoising does", f"{intro} The command nbkit reproduce makes them again.", marks
    )
