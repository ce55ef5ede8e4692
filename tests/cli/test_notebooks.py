"""``nbkit run`` and ``nbkit clean`` on small notebooks with real kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from .conftest import HELP, Outcome, printed, write_notebook

Cli = Callable[..., Outcome]


@pytest.fixture
def sums() -> Path:
    return write_notebook(
        Path("notebooks/10_sums.ipynb"),
        f"first: int = 2  {HELP}\nword: str = 'x'  {HELP}",
        "print(word * first)",
    )


def test_a_notebook_runs_with_the_given_parameters(nbkit: Cli, sums: Path) -> None:
    done = nbkit("run", sums, "-p", "first=3", "-p", "word=a=b")
    assert done.code == 0, done.err
    assert done.out.strip() == "figures/notebooks/10_sums.ipynb"
    assert printed(Path("figures/notebooks/10_sums.ipynb")) == "a=ba=ba=b\n"


def test_the_parameters_of_a_notebook_are_listed(nbkit: Cli, sums: Path) -> None:
    lines = nbkit("run", sums, "--params").out.splitlines()
    assert lines[1].split() == ["first", "int", "2", "what", "it", "is", "for"]
    assert not Path("figures").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["notebooks/10_sums.ipynb", "-p", "frist=3"], "unknown parameter 'frist'; did you mean 'first'?"),
        (["notebooks/10_sums.ipynb", "-p", "first=three"], "first = 'three'; expected int"),
        (["notebooks/10_sums.ipynb", "-p", "first"], "-p 'first'; expected NAME=VALUE"),
        (["notebooks/missing.ipynb"], "No such file"),
        (["notebooks/missing.ipynb", "--params"], "No such file"),
        (["notebooks/10_sums.ipynb", "--out", "result.html"], "expected the name of an .ipynb file"),
    ],
)
def test_a_wrong_wish_for_a_notebook_is_refused_before_it_runs(
    nbkit: Cli, sums: Path, arguments: list[str], words: str
) -> None:
    assert words in nbkit("run", *arguments).error
    assert not list(Path().rglob("figures/**/*.ipynb"))


def test_notebooks_are_stripped_and_checked(nbkit: Cli, sums: Path) -> None:
    notebook = nbformat.read(sums, 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="stale")]
    nbformat.write(notebook, sums)
    checked = nbkit("clean", "--check")
    assert checked.code == 1
    assert "not clean" in checked.out
    assert nbkit("clean").out == "notebooks/10_sums.ipynb: cleaned\n"
    assert printed(sums) == ""
    assert nbkit("clean", sums, "--check").out == "1 notebooks are clean\n"
    assert "no such notebook" in nbkit("clean", "missing.ipynb").error


def test_breaking_a_house_rule_fails_the_check(nbkit: Cli) -> None:
    write_notebook(Path("notebooks/50_long.ipynb"), f"x: int = 1  {HELP}", "def helper():\n    pass")
    nbkit("clean")
    checked = nbkit("clean", "--check")
    assert checked.code == 1
    assert "defines 'helper'" in checked.out


def test_golden_outputs_are_kept_anew_on_request(nbkit: Cli) -> None:
    path = write_notebook(Path("notebooks/60_golden.ipynb"), f"x: int = 2  {HELP}", "print(x + 1)")
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].metadata["tags"] = ["nbval-check-output"]
    nbformat.write(notebook, path)
    assert nbkit("clean", "--check").code == 1
    assert nbkit("clean", path, "--regold").code == 0
    assert printed(path) == "3\n"
    assert nbkit("clean", "--check").code == 0
    assert "expected one of them" in nbkit("clean", "--regold", "--check").error
