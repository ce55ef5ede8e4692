"""A tiny data folder, the command line in this process, and the command line in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

REPOSITORY = Path(__file__).parents[2]
# A checkpoint every few epochs instead of every ten seconds: a short fit can then be resumed.
OFTEN = "from nbkit.training import loop; loop.fit.__kwdefaults__['checkpoint_seconds'] = 0.05; "
HELP = "# what it is for"
QUICK = ("--set", "dim=8", "--train", "epochs=3", "--train", "batch_size=64")


class Outcome(NamedTuple):
    """Exit code and what was printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of a refusal; fails if there is anything else on stderr."""
        lines = self.err.strip().splitlines()
        assert self.code == 2, (self.code, self.out, self.err)
        assert len(lines) == 1, self.err
        assert lines[0].startswith("nbkit: error: "), lines[0]
        return lines[0]


def write_notebook(path: Path, parameters: str, *cells: str, after: tuple[str, ...] = ()) -> Path:
    """A notebook with a title, a parameters cell and these code cells."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}, id="parameters")
    rest = [nbformat.v4.new_code_cell(text, id=f"c{n}") for n, text in enumerate(cells)]
    title = nbformat.v4.new_markdown_cell("# A title", id="title")
    notebook = nbformat.v4.new_notebook(cells=[title, tagged, *rest])
    if after:
        notebook.metadata["nbkit"] = {"after": list(after)}
    nbformat.write(notebook, path)
    return path


def printed(path: Path) -> str:
    """What the cells of a notebook printed."""
    return "".join(
        o.text for c in nbformat.read(path, 4).cells for o in c.get("outputs", []) if o.output_type == "stream"
    )


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the Parquet layout: 30 users in two groups, each liking its half of 24 items."""
    folder = tmp_path_factory.mktemp("data") / "shop"
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for user in range(30):
        own = rng.permutation(np.arange(user % 2, 24, 2))
        rows += [
            (f"u{user}", int(item), split)
            for item, split in zip(own[:9], ["valid", "test"] + ["train"] * 7, strict=True)
        ]
    pd.DataFrame(rows, columns=["user_id", "item_id", "split"]).to_parquet(folder / "interactions.parquet")
    group = np.eye(2)[np.arange(24) % 2]
    for name, width in (("image", 6), ("text", 5)):
        noise = 0.1 * rng.normal(size=(24, width))
        np.save(folder / f"{name}.npy", (group @ rng.normal(size=(2, width)) + noise).astype(np.float32))
    pd.DataFrame({"item_id": range(24), "title": [f"thing {n}" for n in range(24)]}).to_parquet(
        folder / "items.parquet"
    )
    (folder / "caveat.txt").write_text("planted in a test")
    return folder


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("NBKIT_RUNS", "NBKIT_FIGURES", "NBKIT_DEBUG", "NBKIT_EXECUTOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def nbkit() -> Callable[..., Outcome]:
    """The command line in this process."""

    def invoke(*args: Any) -> Outcome:
        from nbkit.cli import app

        done = CliRunner().invoke(app, [str(a) for a in args])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return invoke


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(REPOSITORY)]),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The command line started as a process of its own; killed at the end if it still runs."""
    running = []

    def launch(*args: Any, before: str = "", preexec: Callable[[], object] = lambda: None) -> subprocess.Popen[str]:
        def prepare() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # a suite in the background would hand down an ignored one
            preexec()

        code = f"{before}from nbkit.cli import main; main()"
        command = [sys.executable, "-c", code, *map(str, args)]
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )
        running.append(process)
        return process

    yield launch
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def process(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., Outcome]:
    """The command line run to its end in a process of its own."""

    def run(*args: Any, **options: Any) -> Outcome:
        child = start(*args, **options)
        out, err = child.communicate(timeout=60)
        return Outcome(child.returncode, out, err)

    return run
