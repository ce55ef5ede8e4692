from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit import config
from nbkit.config import Range
from nbkit.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: Annotated[float, Range(0, 1)] = 0.5


@dataclass(frozen=True)
class Outer:
    count: Annotated[int, Range(1, 9), "how many"] = 3
    name: str = "x"
    on: bool = False
    kind: Literal["a", "b"] = "a"
    ks: tuple[int, ...] = (5, 10)
    limit: float | None = None
    label: str | None = None
    inner: Inner = field(default_factory=Inner)
    scale: Mapping[str, float] = field(default_factory=dict)


def test_defaults_fill_in_and_given_values_win():
    outer = config.build(Outer, {"count": 4, "inner": {"rate": 1}}, where="t")
    assert outer == Outer(count=4, inner=Inner(1.0))
    assert isinstance(outer.inner.rate, float)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"cuont": 1}, "t: unknown setting 'cuont'; did you mean 'count'?"),
        ({"count": "3"}, "t: count = '3'; expected int"),
        ({"count": True}, "t: count = True; expected int"),
        ({"count": 10}, "t: count = 10; expected int in 1 … 9"),
        ({"count": 2.0}, "t: count = 2.0; expected int"),
        ({"on": 1}, "t: on = 1; expected bool"),
        ({"kind": "c"}, "t: kind = 'c'; expected one of 'a', 'b'"),
        ({"ks": "510"}, "t: ks = '510'; expected tuple"),
        ({"ks": (5, "x")}, "t: ks = (5, 'x'); expected tuple"),
        ({"limit": "none"}, "t: limit = 'none'; expected float or None"),
        ({"inner": {"rate": 2}}, "Inner: rate = 2.0; expected float in 0 … 1"),
        ({"inner": 3}, "Inner: 3; expected settings by name"),
        ({"scale": {"a": "b"}}, "t: scale = {'a': 'b'}; expected"),
        ({"limit": float("nan")}, "t: limit = nan; expected float or None"),
    ],
)
def test_bad_values_are_one_line_naming_key_value_and_expectation(values, line):
    with pytest.raises(UserError) as caught:
        config.build(Outer, values, where="t")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count=4", 4),
        ("limit=1e-3", 1e-3),
        ("limit=None", None),
        ("on=true", True),
        ("on=True", True),
        ("name=7", "7"),
        ("label=true", "true"),
        ("name=a=b", "a=b"),
        ("ks=[1, 2]", (1, 2)),
        ("kind=b", "b"),
        ('scale={"reg": 0}', {"reg": 0.0}),
    ],
)
def test_assignments_are_read_in_the_declared_type(text, value):
    assert config.parse_assignments(Outer, [text], where="t") == {text.partition("=")[0]: value}


def test_an_assignment_without_equals_is_refused():
    with pytest.raises(UserError, match="'count'; expected name=value"):
        config.parse_assignments(Outer, ["count"], where="t")


def test_a_missing_setting_is_named():
    def needs(*, dim: int) -> None: ...

    with pytest.raises(UserError, match="setting 'dim' is missing; expected int"):
        config.check(needs, {}, where="t")


@given(
    st.dictionaries(
        st.text(),
        st.recursive(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists),
    )
)
def test_canonical_text_does_not_depend_on_the_order_of_keys(values):
    reversed_order = dict(reversed(list(values.items())))
    assert config.canonical_json(values) == config.canonical_json(reversed_order)


def test_canonical_text_tells_different_settings_apart():
    texts = {config.canonical_json(o) for o in (Outer(), Outer(count=4), Outer(ks=(5,)), Outer(inner=Inner(0.1)))}
    assert len(texts) == 4
