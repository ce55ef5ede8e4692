"""Parameters of notebooks: read without running anything, checked before anything runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import UserError
from nbkit.notebooks import check_parameters, cli_help, parameters
from nbkit.notebooks.parameter_cell import parse_cell
from nbkit.notebooks.types import as_source

Make = Callable[..., Path]

CELL = """\
model: Literal["bpr", "lightgcn"] = "bpr"  # which one # really
epochs: int = 3  # passes
lr: float = 1e-3  # step size
fast: bool = True  # quick preset
rates: tuple[float, ...] = (0.1, 0.2)  # noise rates
seeds: list[int] = [0]  # seeds
users: int | None = None  # all if None
data: str = "boutique"  # name or folder
pair: tuple[int, int] = (1, 2)  # two"""


@pytest.fixture
def notebook(make: Make) -> Path:
    return make("train.ipynb", "# T", (CELL, "parameters"), ("print(model)",))


def test_every_line_gives_name_type_default_and_help(notebook: Path) -> None:
    found = {p.name: p for p in parameters(notebook)}
    assert list(found) == ["model", "epochs", "lr", "fast", "rates", "seeds", "users", "data", "pair"]
    assert found["model"].help == "which one # really"
    assert found["rates"].default == (0.1, 0.2)
    assert found["users"].declared == "int | None"
    assert found["lr"].line == 3


def test_a_hash_inside_a_text_is_no_help() -> None:
    (p,) = parse_cell('name: str = "a # b"  # help', "x")
    assert (p.default, p.help) == ("a # b", "help")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"epochs": "5"}, {"epochs": 5}),
        ({"lr": "5e-4"}, {"lr": 5e-4}),
        ({"lr": 1}, {"lr": 1.0}),
        ({"fast": "false"}, {"fast": False}),
        ({"rates": "0.3,0.5"}, {"rates": (0.3, 0.5)}),
        ({"rates": "[0.3, 1]"}, {"rates": (0.3, 1.0)}),
        ({"rates": ""}, {"rates": ()}),
        ({"seeds": (1, 2)}, {"seeds": [1, 2]}),
        ({"seeds": np.arange(2)}, {"seeds": [0, 1]}),
        ({"epochs": np.int64(4)}, {"epochs": 4}),
        ({"users": "none"}, {"users": None}),
        ({"users": "12"}, {"users": 12}),
        ({"data": "12"}, {"data": "12"}),
        ({"data": Path("/data/baby")}, {"data": "/data/baby"}),
        ({"model": "lightgcn"}, {"model": "lightgcn"}),
        ({"pair": "3,4"}, {"pair": (3, 4)}),
    ],
)
def test_values_and_texts_become_the_declared_type(
    notebook: Path, given_: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = check_parameters(notebook, given_)
    assert found == expected
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"epocs": 1}, "unknown parameter 'epocs'; did you mean 'epochs'?"),
        ({"epochs": "many"}, "epochs = 'many'; expected int"),
        ({"epochs": 1.5}, "epochs = 1.5; expected int"),
        ({"epochs": True}, "epochs = True; expected int"),
        ({"epochs": None}, "epochs = None; expected int"),
        ({"fast": "maybe"}, "fast = 'maybe'; expected bool"),
        ({"fast": 1}, "fast = 1; expected bool"),
        ({"model": "bpx"}, "model = 'bpx'; expected one of 'bpr', 'lightgcn'"),
        ({"rates": 0.1}, "rates = 0.1; expected tuple[float, ...]"),
        ({"rates": ["x"]}, "rates = ['x']; expected tuple[float, ...]"),
        ({"rates": "[0.1"}, "rates = '[0.1'; expected"),
        ({"pair": (1, 2, 3)}, "pair = (1, 2, 3); expected tuple[int, int]"),
    ],
)
def test_anything_else_is_refused_with_one_line(notebook: Path, given_: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_parameters(notebook, given_)
    assert f"notebook train.ipynb: {said}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("epochs = 3", "expected name: type = value"),
        ("epochs: int", "expected name: type = value"),
        ("import os", "expected name: type = value"),
        ("epochs: int = 'three'", "epochs = 'three'; expected int"),
        ("epochs: int = '3'", "epochs = '3'; expected int"),
        ("users: int | None = 'none'", "expected int or None"),
        ("users: str | None = 'none'", "expected str or None"),
        ("epochs: int = 1.0", "expected int"),
        ("model: Literal['a'] = 'b'", "expected one of 'a'"),
        ("lr: float = 1 / 3", "expected a plain value"),
        ("where: Path = None", "is of type Path"),
        ("both: tuple[int, str] = (1, 'a')", "is of type tuple[int, str]"),
        ("table: dict = {}", "is of type dict"),
        ("seeds: list[int] = [\n  1]", "goes on until line 3"),
        ("good: int = 2", "'good' was declared before, on line 1"),
        ("epochs: int = = 3", "is not Python"),
    ],
)
def test_a_broken_line_is_named_with_notebook_and_line(make: Make, line: str, said: str) -> None:
    path = make("broken.ipynb", "# T", (f"good: int = 1  # g\n{line}", "parameters"))
    with pytest.raises(UserError) as error:
        parameters(path)
    assert "broken.ipynb, parameters cell (cell 2), line 2" in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize("cells", [[("a: int = 1",)], [("a: int = 1", "parameters"), ("b: int = 1", "parameters")]])
def test_exactly_one_cell_holds_the_parameters(make: Make, cells: list[tuple[str, ...]]) -> None:
    with pytest.raises(UserError, match="tagged 'parameters', expected one"):
        parameters(make("n.ipynb", "# T", *cells))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "expected a notebook"),
        ('{"nbformat": 3}', "format 3"),
        ('{"nbformat": 4, "cells": 3}', "not a valid notebook"),
    ],
)
def test_a_file_that_is_no_notebook_is_refused_with_one_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(UserError, match=said):
        parameters(path)
    with pytest.raises(UserError, match="No such file"):
        parameters(tmp_path / "none.ipynb")


def test_the_help_lists_every_parameter_as_plain_text(notebook: Path) -> None:
    text = cli_help(notebook, width=90)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 90
    for p in parameters(notebook):
        assert p.name in text
        assert p.help in text
        assert p.source in text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple), max_leaves=6
)


@given(values)
def test_a_value_written_as_source_reads_back_the_same(value: Any) -> None:
    def same(a: Any, b: Any) -> bool:
        if isinstance(a, list | tuple):
            return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
        return type(a) is type(b) and (a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))

    assert same(eval(as_source(value)), value)
