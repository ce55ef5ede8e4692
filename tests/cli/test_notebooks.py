"""``nbkit run``, ``nbkit reproduce`` and ``nbkit clean`` on small notebooks with real kernels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from nbkit.cli.reproduce import RECORD

from .conftest import Outcome

Cli = Callable[..., Outcome]
HELP = "# what it is for"


def write_notebook(path: Path, parameters: str, *cells: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tagged = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}, id="parameters")
    rest = [nbformat.v4.new_code_cell(text, id=f"c{n}") for n, text in enumerate(cells)]
    title = nbformat.v4.new_markdown_cell("# A title", id="title")
    nbformat.write(nbformat.v4.new_notebook(cells=[title, tagged, *rest]), path)
    return path


def printed(path: Path) -> str:
    return "".join(
        o.text for c in nbformat.read(path, 4).cells for o in c.get("outputs", []) if o.output_type == "stream"
    )


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


@pytest.fixture
def three() -> Path:
    """Three notebooks: one makes a figure file, one fails, one takes data, epochs and seeds."""
    figure = "import os, pathlib\npathlib.Path(os.environ['NBKIT_FIGURES'], 'bars.png').write_text('drawn')"
    write_notebook(Path("notebooks/10_figure.ipynb"), f"bars: int = 2  {HELP}", figure)
    write_notebook(Path("notebooks/20_broken.ipynb"), f"bars: int = 2  {HELP}", "1 / 0")
    write_notebook(
        Path("notebooks/30_data.ipynb"),
        f"data: str = 'built-in'  {HELP}\nepochs: int = 3  {HELP}\nseeds: list[int] = [0]  {HELP}",
        "print(data, epochs, seeds)",
    )
    return Path("figures")


def done_lines(outcome: Outcome) -> list[str]:
    """What became of each notebook, in order: the first word behind its name."""
    return [
        line.split(": ")[1].split()[0] for line in outcome.out.splitlines() if line.startswith("[") and ": " in line
    ]


def test_a_failing_notebook_is_reported_and_the_others_still_run(nbkit: Cli, three: Path) -> None:
    done = nbkit("reproduce")
    assert done.code == 1
    assert done_lines(done) == ["done", "done"]
    assert "20_broken.ipynb" in done.err.splitlines()[-1]
    assert "ZeroDivisionError" in done.err
    assert (three / "bars.png").exists()
    assert (three / "index.html").exists()
    assert printed(three / "notebooks" / "30_data.ipynb") == "built-in 3 [0]\n"
    Path("notebooks/20_broken.ipynb").unlink()

    assert done_lines(nbkit("reproduce")) == ["unchanged", "unchanged"]

    (three / "bars.png").unlink()
    notebook = nbformat.read("notebooks/30_data.ipynb", 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="an output is no input")]
    nbformat.write(notebook, "notebooks/30_data.ipynb")
    assert done_lines(nbkit("reproduce")) == ["done", "unchanged"], "a missing figure is drawn again, and only that one"

    notebook.cells[-1].source += "\n# changed"
    nbformat.write(notebook, "notebooks/30_data.ipynb")
    changed = nbkit("reproduce", "--only", "30*", "--preset", "paper")
    assert done_lines(changed) == ["done"]
    assert printed(three / "notebooks" / "30_data.ipynb") == "built-in 1000 [0, 1, 2, 3, 4]\n"


def test_data_goes_only_to_notebooks_that_take_it(nbkit: Cli, three: Path, shop: Path) -> None:
    Path("notebooks/20_broken.ipynb").unlink()
    assert nbkit("reproduce", "--data", shop, "--out", "elsewhere", "--html").code == 0
    executed = Path("elsewhere/notebooks")
    assert printed(executed / "30_data.ipynb") == f"{shop} 3 [0]\n"
    assert "A title" in (executed / "30_data.html").read_text()
    assert "injected-parameters" not in (executed / "10_figure.ipynb").read_text()
    assert sorted(json.loads((executed / RECORD).read_text())) == ["10_figure.ipynb", "30_data.ipynb"]


def test_reproducing_nothing_is_a_mistake(nbkit: Cli, three: Path) -> None:
    assert "no notebook '99*'" in nbkit("reproduce", "--only", "99*").error
    assert "no notebook '*' in 'nowhere'" in nbkit("reproduce", "--source", "nowhere").error
    assert "unknown data set" in nbkit("reproduce", "--data", "no/such/data").error
    assert not three.exists()


def test_a_run_key_changes_with_every_input_and_with_nothing_else(sums: Path) -> None:
    from nbkit.cli.reproduce import run_key

    common = {"code": "a", "versions": {"torch": "2"}, "data": ""}
    keys = {run_key(sums, {}, common)}
    for values, changed in [
        ({"first": 3}, {}),
        ({}, {"code": "b"}),
        ({}, {"versions": {"torch": "3"}}),
        ({}, {"data": "f"}),
    ]:
        keys.add(run_key(sums, values, {**common, **changed}))
    write_notebook(sums, "first: int = 2", "print()")
    keys.add(run_key(sums, {}, common))
    assert len(keys) == 6


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
