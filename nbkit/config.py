"""Typed settings: described where they are declared, checked in one place, refused with one line."""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union

from nbkit.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Closed bounds of a number, for use inside ``Annotated``; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        return f"{'-∞' if self.low is None else f'{self.low:g}'} … {'∞' if self.high is None else f'{self.high:g}'}"


# Types that many settings share.
Dim = Annotated[int, Range(1, 8192), "embedding size D"]
Layers = Annotated[int, Range(0, 8), "propagation layers L"]
Weight = Annotated[float, Range(0), "weight of a loss part"]
Rate = Annotated[float, Range(0, 1), "share between 0 and 1"]
Dropout = Annotated[float, Range(0, 0.99), "share left out"]
Seed = Annotated[int, Range(0, 2**31 - 1), "seed of every random draw of the run"]


@dataclass(frozen=True)
class Setting:
    """One named setting: its type, default, bounds and help, read from an annotated keyword."""

    name: str
    type: Any
    default: Any
    range: Range | None
    help: str

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def type_name(self) -> str:
        return _type_name(self.type)

    def check(self, value: Any, where: str) -> Any:
        """The value in the declared type; UserError naming the setting, the value and what was expected."""
        try:
            value = _coerce(self.type, value)
        except UserError:  # a nested settings object has said it better
            raise
        except (TypeError, ValueError):
            raise UserError(f"{where}: {self.name} = {value!r}; expected {self.type_name}") from None
        for number in value if isinstance(value, tuple) else (value,):
            if self.range is not None and isinstance(number, int | float) and number not in self.range:
                raise UserError(f"{where}: {self.name} = {value!r}; expected {self.type_name} in {self.range}")
        return value

    def parse(self, text: str, where: str) -> Any:
        """The value of a text from the command line: ``3``, ``0.1``, ``true``, ``[10, 20]``, or a bare word."""
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = {"True": True, "False": False, "None": None}.get(text, text)
        if isinstance(value, int | float | bool) and _accepts_text(self.type):
            value = text
        return self.check(value, where)


def _accepts_text(kind: Any) -> bool:
    return kind is str or (
        typing.get_origin(kind) in (Union, types.UnionType) and set(typing.get_args(kind)) <= {str, type(None)}
    )


def _type_name(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    if kind is type(None):
        return "None"
    if typing.get_origin(kind) in (Union, types.UnionType):
        return " or ".join(map(_type_name, typing.get_args(kind)))
    return (
        kind.__name__
        if isinstance(kind, type) and not typing.get_args(kind)
        else str(kind).replace("typing.", "").replace("collections.abc.", "")
    )


def _coerce(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _coerce(arguments[0], value)
    if kind is Any:
        return value
    if origin is Literal:
        if value not in arguments:
            raise ValueError
        return value
    if origin in (Union, types.UnionType):
        for option in arguments:
            try:
                return _coerce(option, value)
            except (TypeError, ValueError):
                continue
        raise ValueError
    if origin in (tuple, list, collections.abc.Sequence):
        if isinstance(value, str) or not isinstance(value, collections.abc.Iterable):
            raise TypeError
        return (list if origin is list else tuple)(_coerce(arguments[0], v) for v in value)
    if origin in (dict, Mapping, collections.abc.Mapping):
        if not isinstance(value, Mapping):
            raise TypeError
        return {_coerce(arguments[0], k): _coerce(arguments[1], v) for k, v in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if value != value:
            raise ValueError
        return float(value)
    if kind is int and isinstance(value, bool):
        raise TypeError
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else build(kind, value, where=kind.__name__)
    if not isinstance(value, kind):
        raise TypeError
    return value


@lru_cache(maxsize=256)
def settings_of(target: Callable[..., Any]) -> dict[str, Setting]:
    """The settings that a dataclass or the keyword-only arguments of a callable declare, by name."""
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    signature = inspect.signature(function)
    hints = typing.get_type_hints(target if dataclasses.is_dataclass(target) else function, include_extras=True)
    found = {}
    for name, parameter in signature.parameters.items():
        keyword_only = parameter.kind is parameter.KEYWORD_ONLY
        if name == "self" or name not in hints or not (keyword_only or dataclasses.is_dataclass(target)):
            continue
        kind = hints[name]
        extras: tuple[Any, ...] = ()
        if typing.get_origin(kind) is Annotated:
            kind, *rest = typing.get_args(kind)
            extras = tuple(rest)
        bounds = next((e for e in extras if isinstance(e, Range)), None)
        # A shared type such as Dim carries general words; words added at the declaration come later and win.
        words = [e for e in extras if isinstance(e, str)]
        default = parameter.default
        if dataclasses.is_dataclass(target):
            declared = {f.name: f for f in dataclasses.fields(target)}[name]
            if declared.default_factory is not dataclasses.MISSING:
                default = declared.default_factory()
        if not isinstance(kind, type) or kind.__module__ != "torch._C":  # a torch.Generator is no setting
            found[name] = Setting(name, kind, default, bounds, words[-1] if words else "")
    return found


def check(target: Callable[..., Any], values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Every setting of ``target`` with the given values checked and the defaults filled in.

    Raises:
        UserError: an unknown name (with the nearest valid one), a wrong type, a value out of range, a missing setting.
    """
    known = settings_of(target)
    for name in values:
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}; {nearest(name, known)}")
    complete = {}
    for name, setting in known.items():
        if name in values:
            complete[name] = setting.check(values[name], where)
        elif setting.required:
            raise UserError(f"{where}: setting {name!r} is missing; expected {setting.type_name}")
        else:
            complete[name] = setting.default
    return complete


def build(target: Callable[..., T], values: Mapping[str, Any], *, where: str) -> T:
    """``target`` made from checked values: the only way a settings dataclass is built from outside input."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: {values!r}; expected settings by name")
    return target(**check(target, values, where=where))


def parse_assignments(target: Callable[..., Any], texts: list[str], *, where: str) -> dict[str, Any]:
    """Settings from ``name=value`` texts.

    Raises:
        UserError: a text without ``=``, or whatever :func:`check` refuses.
    """
    known = settings_of(target)
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{where}: {text!r}; expected name=value")
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}; {nearest(name, known)}")
        values[name] = known[name].parse(value, where)
    return values


def assignments(values: Mapping[str, Any]) -> str:
    """Settings as one types them: ``reg=0.01 lr=0.001``."""
    return " ".join(f"{name}={shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """One value as one types it, to the last digit: ``0.001``, ``true``, ``linear``."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value) if isinstance(value, bool) else str(value)


def canonical(value: Any) -> Any:
    """A value as plain JSON data with sorted keys, so that equal settings give equal text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: canonical(getattr(value, f.name)) for f in sorted(dataclasses.fields(value), key=lambda f: f.name)
        }
    if isinstance(value, Mapping):
        return {str(k): canonical(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, tuple | list):
        return [canonical(v) for v in value]
    return value


def canonical_json(value: Any) -> str:
    """The canonical text that run ids are hashed from."""
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def toml(value: Any) -> str:
    """A value as TOML; of texts, numbers and truth values JSON's form is TOML's too.

    >>> toml({"lr": 1e-3, "ks": [5, 10]})
    '{ lr = 0.001, ks = [5, 10] }'
    """
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_toml_key(str(k))} = {toml(v)}" for k, v in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, collections.abc.Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and abs(value) == float("inf"):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
