"""Which notebook comes after which: read from metadata, in order, refused in a line."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.notebooks import clean
from nbkit.notebooks.graph import Node, behind, chosen, graph_of

Make = Callable[..., Path]


@pytest.fixture
def tell(make: Make, tmp_path: Path) -> Callable[..., Path]:
    """``tell(name, *names)``: a notebook that comes after those of these names; returns the folder."""

    def build(name: str, *names: str, own: object = None) -> Path:
        path = make(f"{name}.ipynb", "# T")
        notebook = nbformat.read(path, 4)
        if names or own is not None:
            notebook.metadata["nbkit"] = {"after": list(names)} if own is None else own
        nbformat.write(notebook, path)
        return tmp_path

    return build


def test_a_notebook_stands_behind_all_that_it_comes_after(tell: Callable[..., Path]) -> None:
    tell("10_paper", "50_sweep", "30_noise")
    tell("30_noise", "40_train")
    tell("40_train")
    nodes = graph_of(tell("50_sweep"))
    assert list(nodes) == ["40_train", "50_sweep", "30_noise", "10_paper"]
    assert nodes["10_paper"].after == ("50_sweep", "30_noise")


def test_what_a_notebook_comes_after_survives_cleaning(tell: Callable[..., Path]) -> None:
    tell("10_first")
    folder = tell("20_second", "10_first")
    clean(folder)
    assert graph_of(folder)["20_second"].after == ("10_first",)


@pytest.mark.parametrize(
    ("names", "own", "words"),
    [
        (["10_frist"], None, "comes after '10_frist'; did you mean '10_first'?"),
        (["20_second"], None, "20_second after 20_second; expected no circle"),
        ([], {"after": "10_first"}, "metadata nbkit = {'after': '10_first'}; expected {'after': ['name', …]}"),
        ([], {"behind": ["10_first"]}, "metadata nbkit = {'behind': ['10_first']}; expected"),
        ([], ["10_first"], r"metadata nbkit = ['10_first']; expected"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_in_a_line(
    tell: Callable[..., Path], names: list[str], own: object, words: str
) -> None:
    tell("10_first")
    with pytest.raises(UserError) as error:
        graph_of(tell("20_second", *names, own=own))
    assert words in str(error.value)


def test_a_circle_is_told_from_end_to_end(tell: Callable[..., Path]) -> None:
    tell("a", "c")
    tell("b", "a")
    with pytest.raises(UserError) as error:
        graph_of(tell("c", "b"))
    circle = str(error.value).split(": ")[1].split("; ")[0].split(" after ")
    assert circle[0] == circle[-1]
    assert set(itertools.pairwise(circle)) == {("a", "c"), ("c", "b"), ("b", "a")}


def test_notebooks_are_chosen_by_patterns_of_their_names(tell: Callable[..., Path]) -> None:
    tell("10_a")
    tell("11_b")
    nodes = graph_of(tell("30_c"))
    assert list(chosen(nodes, None)) == ["10_a", "11_b", "30_c"]
    assert list(chosen(nodes, "1*")) == ["10_a", "11_b"]
    assert list(chosen(nodes, "11_b.ipynb, 30*")) == ["11_b", "30_c"]
    assert list(chosen(nodes, "2*")) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 5))), min_size=1, max_size=6))
def test_the_way_behind_a_notebook_is_the_longest_chain(parts: list[tuple[int, set[int]]]) -> None:
    nodes = {
        str(n): Node(Path(f"{n}.ipynb"), tuple(str(b) for b in sorted(before) if b < n))
        for n, (_, before) in enumerate(parts)
    }
    seconds = {str(n): float(length) for n, (length, _) in enumerate(parts)}

    def chains(name: str) -> float:
        return seconds[name] + max((chains(o) for o, node in nodes.items() if name in node.after), default=0.0)

    assert behind(nodes, seconds) == {name: chains(name) for name in nodes}
