"""What is kept of a notebook in the repository, and the rules it is held to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.notebooks import clean, lint
from nbkit.notebooks.cleaning import cleaned
from nbkit.notebooks.files import GOLDEN, read, text_of

Make = Callable[..., Path]


def stream(text: str, name: str = "stdout") -> nbformat.NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def result(text: str, count: int = 7) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("execute_result", data={"text/plain": text}, execution_count=count)


def executed(path: Path) -> Path:
    """The same notebook as somebody left it after a run."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata |= {
        "kernelspec": {"name": "mine", "display_name": "Mine"},
        "widgets": {"x": 1},
        "papermill": {"a": 1},
    }
    for number, cell in enumerate(notebook.cells):
        cell.metadata |= {"collapsed": True, "execution": {"iopub": "now"}, "papermill": {"duration": 1}}
        if cell.cell_type == "code":
            cell.execution_count = number + 10
            cell.outputs = [stream("one\n"), stream("two\n"), result("3", count=number + 10)]
    nbformat.write(notebook, path)
    return path


def test_only_golden_cells_keep_output_and_their_count_is_one(make: Make) -> None:
    path = executed(make("n.ipynb", "# T", ("1",), ("2", GOLDEN)))
    assert clean(path) == [str(path)]
    _, plain, golden = read(path).cells
    assert (plain.outputs, plain.execution_count) == ([], None)
    assert golden.execution_count == 1
    assert [o.get("text", "") for o in golden.outputs] == ["one\ntwo\n", ""]
    assert golden.outputs[1].execution_count == 1


def test_nothing_of_the_run_stays_in_the_metadata_but_tags_and_ids_do(make: Make) -> None:
    path = make("n.ipynb", "# T", ("1", "parameters"))
    before = [cell.id for cell in read(path).cells]
    clean(executed(path))
    notebook = read(path)
    assert [cell.id for cell in notebook.cells] == before
    assert [dict(cell.metadata) for cell in notebook.cells] == [{}, {"tags": ["parameters"]}]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


def test_check_reports_and_changes_nothing(make: Make) -> None:
    path = executed(make("n.ipynb", "# T", ("1",)))
    before = path.read_bytes()
    assert clean(path, check=True) == [str(path)]
    assert path.read_bytes() == before
    clean(path)
    assert clean(path, check=True) == []


def test_a_folder_is_cleaned_without_the_checkpoints_of_jupyterlab(make: Make, tmp_path: Path) -> None:
    deep = executed(make("teach/n.ipynb", "# T", ("1",)))
    executed(make(".ipynb_checkpoints/n.ipynb", "# T", ("1",)))
    assert clean(tmp_path) == [str(deep)]
    with pytest.raises(UserError, match="no such notebook"):
        clean(tmp_path / "other")


sources = st.text(max_size=20)
outputs = st.lists(st.sampled_from([stream("a"), stream("b", "stderr"), result("c")]), max_size=4)


@st.composite
def notebooks(draw: st.DrawFn) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(metadata=draw(st.sampled_from([{}, {"widgets": {}}, {"title": "t"}])))
    for _ in range(draw(st.integers(0, 4))):
        tags = draw(st.lists(st.sampled_from([GOLDEN, "parameters", "x"]), unique=True))
        cell = nbformat.v4.new_code_cell(
            draw(sources), outputs=draw(outputs), execution_count=draw(st.none() | st.integers(1, 9))
        )
        cell.metadata = nbformat.from_dict({"tags": tags, "scrolled": True})
        notebook.cells.append(cell if draw(st.booleans()) else nbformat.v4.new_markdown_cell(draw(sources)))
    return notebook


@given(notebooks())
def test_cleaning_twice_is_cleaning_once_and_leaves_a_valid_notebook(notebook: nbformat.NotebookNode) -> None:
    before = text_of(notebook)
    once = cleaned(notebook)
    nbformat.validate(once)
    assert text_of(cleaned(once)) == text_of(once)
    assert text_of(notebook) == before, "the given notebook was changed"
    assert [c.source for c in once.cells] == [c.source for c in notebook.cells]


def test_cells_without_ids_get_the_same_ones_every_time(make: Make) -> None:
    path = make("n.ipynb", "# T", ("1",), ("1",))
    raw = json.loads(path.read_text())
    for cell in raw["cells"]:
        del cell["id"]
    path.write_text(json.dumps(raw | {"nbformat_minor": 4}))
    ids = [cell.id for cell in read(path).cells]
    assert len(set(ids)) == 3
    assert ids == [cell.id for cell in read(path).cells]
    clean(path)
    assert clean(path, check=True) == []


P = ("a: int = 1  # one", "parameters")


def test_a_notebook_that_keeps_the_rules_has_no_breaches(make: Make) -> None:
    assert lint(make("n.ipynb", "# Title", P, ("%matplotlib inline\n!ls\nprint(1)",), ("%%html\n<b>",))) == []


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([P], "cell 1: expected a Markdown title"),
        (["# T", ("1",)], "0 code cells are tagged 'parameters'"),
        (["# T", ("a = 1", "parameters")], "line 1: 'a = 1'; expected name: type = value"),
        (["# T", ("a: int = 1", "parameters")], "parameter 'a' has no help"),
        (["# T", P, ("\n".join(["1"] * 26),)], "cell 3: 26 lines; expected at most 25"),
        (["# T", P, ("if 1:\n    def f(): ...",)], "cell 3: defines 'f' on line 2"),
        (["# T", P, ("class A: ...",)], "cell 3: defines 'A' on line 1"),
        (["# T", P, ("1 +",)], "cell 3: line 1 is not Python"),
        (["# T", P, ("1", GOLDEN)], "cell 3: golden cell without output"),
        (["# T", P, "x" * 70_000], "KB; expected at most 60 KB"),
    ],
)
def test_each_breach_is_one_line_with_its_place(make: Make, cells: list[str | tuple[str, ...]], said: str) -> None:
    (breach,) = lint(make("n.ipynb", *cells))
    assert said in breach
    assert "n.ipynb" in breach


def test_walkthroughs_may_define_functions(make: Make) -> None:
    assert lint(make("teach/n.ipynb", "# T", P, ("def f(): ...",))) == []


def test_attached_pictures_do_not_count_as_size(make: Make) -> None:
    path = make("n.ipynb", "# T", P)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].attachments = {"a.png": {"image/png": "A" * 100_000}}
    nbformat.write(notebook, path)
    assert lint(path) == []
