"""Executors by name: one place, one grammar, one line for every mistake."""

from __future__ import annotations

import joblib
import pytest

from nbkit.errors import UserError
from nbkit.studies import Inline, Pool, executor_of, naming, running


@pytest.fixture(autouse=True)
def _no_executor_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(naming.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        ("pool:3", Pool(3)),
        ("pool:jobs=3,threads=1", Pool(3, 1)),
        ('pool:2,devices=["cpu","cpu"],attempts=1', Pool(2, devices=("cpu", "cpu"), attempts=1)),
        ("pool", Pool(joblib.cpu_count())),
    ],
)
def test_a_name_says_which_executor_and_its_settings(name: str, executor: Pool) -> None:
    assert executor_of(name) == executor


def test_nothing_given_is_what_the_environment_says_else_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(executor_of(), Inline)
    assert executor_of("inline:cpu").device == "cpu"
    monkeypatch.setenv(naming.VARIABLE, "pool:5")
    assert executor_of() == executor_of("") == Pool(5)
    assert isinstance(executor_of("inline"), Inline), "who asks for one gets it"
    mine = Pool(2)
    assert executor_of(mine) is mine


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pol:2", "executor 'pol:2': unknown executor 'pol'; did you mean 'pool'?"),
        ("pool:many", "executor 'pool:many': jobs = 'many'; expected int"),
        ("pool:2,cores=1", "unknown setting 'cores'"),
        ("pool:2,3", "'3'; expected name=value"),
        ("pool:0", "pool: jobs = 0; expected 1 or more"),
    ],
)
def test_a_wrong_name_is_refused_in_a_line(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as error:
        executor_of(name)
    assert words in str(error.value)
    monkeypatch.setenv(naming.VARIABLE, name)
    with pytest.raises(UserError) as error:
        executor_of()
    assert words.partition(": ")[2].split(";")[0] in str(error.value)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(naming.KINDS, "ray", naming.KINDS["ray"]._replace(module="a_library_that_nobody_has"))
    with pytest.raises(UserError, match=r"'ray:auto': needs 'a_library_that_nobody_has', which is not installed"):
        executor_of("ray:auto")


def test_a_study_asks_here_who_computes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from nbkit.studies import grid

    asked: list[object] = []

    def refuse(given: object) -> None:
        asked.append(given)
        raise UserError("asked")

    monkeypatch.setattr(running, "executor_of", refuse)
    for given in (None, "pool:2"):
        with pytest.raises(UserError, match="asked"):
            list(running.execute(grid("bpr"), given))
    assert asked == [None, "pool:2"]
