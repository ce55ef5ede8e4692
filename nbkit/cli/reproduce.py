"""``nbkit reproduce``: every notebook headless, in order, into figures/; what did not change is skipped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pkgutil
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nbkit.cli import console
from nbkit.cli.notebooks import laboratory
from nbkit.errors import UserError
from nbkit.paths import figures_dir, write_atomic

RECORD = "reproduced.json"
# What a preset asks of the notebooks that have such a parameter; the fast one is their defaults.
PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"preset": "fast"},
    "paper": {"preset": "paper", "epochs": 1000, "seeds": [0, 1, 2, 3, 4]},
}


def reproduce(
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help="Data for the notebooks that take any (default: built-in)."),
    ] = None,
    preset: Annotated[
        Literal["fast", "paper"],
        typer.Option(help="Defaults of the notebooks, or 1000 epochs and five seeds."),
    ] = "fast",
    only: Annotated[str | None, typer.Option(metavar="GLOB", help="Only notebooks of such a name.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of figures (default: figures, or $NBKIT_FIGURES)."),
    ] = None,
    source: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the notebooks.")] = Path("notebooks"),
    html: Annotated[bool, typer.Option("--html", help="Also an HTML page of each executed notebook.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run also what did not change.")] = False,
) -> None:
    """Run all notebooks headless, fill figures/ with an index page.

    A notebook is skipped when nothing changed since the last time: its cells,
    its parameters, the data, the code of nbkit and the versions of libraries.
    A failing one is reported, the others still run, and the exit code is 1.

    \b
    Examples:
      nbkit reproduce
      nbkit reproduce --only '30*' --force
      nbkit reproduce --data /mnt/data/baby --preset paper
    """
    lab = laboratory()
    chosen = [
        path
        for path in sorted(source.glob("*.ipynb"))
        if only is None or fnmatch(path.stem, only) or fnmatch(path.name, only)
    ]
    if not chosen:
        raise UserError(f"no notebook {only or '*'!r} in {str(source)!r}; expected a folder of .ipynb files")
    figures = (out or figures_dir()).absolute()
    record = Record(figures / "notebooks" / RECORD)
    common = {
        "code": package_version(),
        "versions": library_versions(),
        "data": _fingerprint(data) if data else "",
    }
    wishes = {**PRESETS[preset], **({"data": data} if data else {})}
    failed = []
    try:
        for number, path in enumerate(chosen, start=1):
            begin, title = time.monotonic(), f"[{number}/{len(chosen)}] {path.name}"
            try:
                values = {p.name: wishes[p.name] for p in lab.parameters(path) if p.name in wishes}
                key = run_key(path, values, common)
                if record.holds(path.name, key) and not force:
                    console.say(f"{title}: unchanged")
                else:
                    console.say(f"{title} …")
                    made = execute(path, values, figures)
                    record.keep(path.name, key, made)
                    console.say(f"{title}: done in {time.monotonic() - begin:.1f} s, {len(made)} files")
                if html:
                    write_html(figures / "notebooks" / path.name)
            except UserError as error:
                failed.append(path.name)
                console.complain(str(error))
    finally:
        console.say(f"index: {write_index(figures, preset, data)}")
    if failed:
        console.complain(f"{len(failed)} of {len(chosen)} notebooks failed: {', '.join(failed)}")
        raise typer.Exit(1)


def execute(path: Path, values: Mapping[str, Any], figures: Path) -> list[str]:
    """Run a notebook into ``figures/notebooks`` and say which files below ``figures`` are new."""
    started = time.time_ns()
    with kernels_save_to(figures):
        laboratory().run_notebook(path, values, figures / "notebooks" / path.name, log=True)
    files = (file for file in figures.rglob("*") if file.is_file() and file.stat().st_mtime_ns >= started)
    return [str(file.relative_to(figures)) for file in files]


@contextlib.contextmanager
def kernels_save_to(figures: Path) -> Iterator[None]:
    """Kernels started meanwhile save their figures there: they take over our environment."""
    before = os.environ.get("NBKIT_FIGURES")
    os.environ["NBKIT_FIGURES"] = str(figures)
    try:
        yield
    finally:
        os.environ.pop("NBKIT_FIGURES")
        if before is not None:
            os.environ["NBKIT_FIGURES"] = before


class Record:
    """What was reproduced from what: the key of each notebook's inputs and the files it made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.entries: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            self.entries = {}

    def holds(self, name: str, key: str) -> bool:
        """Whether the notebook was run with these inputs and everything that it made is still there."""
        entry = self.entries.get(name, {})
        figures = self.path.parents[1]
        return entry.get("key") == key and all((figures / file).exists() for file in entry["files"])

    def keep(self, name: str, key: str, files: list[str]) -> None:
        self.entries[name] = {"key": key, "files": sorted(files)}
        write_atomic(self.path, json.dumps(self.entries, indent=2, sort_keys=True) + "\n")


def run_key(path: Path, values: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    """The identity of a notebook's run: its cells without outputs, its parameters and what all share."""
    from nbkit.config import canonical_json
    from nbkit.notebooks.files import read

    cells = [[cell.cell_type, cell.source] for cell in read(path).cells]
    return hashlib.sha256(canonical_json({"cells": cells, "values": values, **common}).encode()).hexdigest()


def package_version() -> str:
    """The version of all code of nbkit that a notebook can reach: everything but the command line."""
    import nbkit
    from nbkit.repro import code_version

    names = [module.name for module in pkgutil.walk_packages(nbkit.__path__, "nbkit.")]
    return code_version(*(name for name in sorted(names) if not name.startswith("nbkit.cli")))


def library_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide numbers and pictures."""
    from nbkit.repro import RECORDED

    found = {}
    for name in RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _fingerprint(spec: str) -> str:
    from nbkit.data import catalog

    return str(catalog.load(spec).fingerprint)


def write_html(notebook: Path) -> Path:
    """The executed notebook as an HTML page beside it."""
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_filename(str(notebook))
    target = notebook.with_suffix(".html")
    write_atomic(target, page)
    return target


def write_index(figures: Path, preset: str, data: str | None) -> Path:
    """The page that shows every figure."""
    from nbkit.plots.gallery import write_gallery

    whence = f"{'your data' if data else 'the built-in data'} with the {preset} preset"
    return write_gallery(
        figures,
        "nbkit: what denoising does",
        f"Drawn by the notebooks from {whence}; the command nbkit reproduce makes them again.",
    )
