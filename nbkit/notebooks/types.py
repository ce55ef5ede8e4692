"""The types of notebook parameters: read from annotations, values read from text and written as source."""

from __future__ import annotations

import ast
import math
import types
import typing
from typing import Any, Literal, Union

_SCALARS = {"bool": bool, "int": int, "float": float, "str": str}
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def type_of(node: ast.expr) -> Any:
    """The type that an annotation names, of those that a parameter may have; ValueError for any other."""
    match node:
        case ast.Constant(value=None):
            return type(None)
        case ast.Constant(value=str(text)):
            return type_of(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in _SCALARS:
            return _SCALARS[name]
        case ast.Name(id="list"):
            return list[Any]
        case ast.Name(id="tuple"):
            return tuple[Any, ...]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[type_of(left), type_of(right)]  # noqa: UP007 (a value, not an annotation)
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            return _generic(name, inner.elts if isinstance(inner, ast.Tuple) else [inner])
    raise ValueError(ast.unparse(node))


def _generic(name: str, parts: list[ast.expr]) -> Any:
    if name == "Literal":
        return Literal[tuple(ast.literal_eval(part) for part in parts)]
    if name == "Optional" and len(parts) == 1:
        return Union[type_of(parts[0]), None]  # noqa: UP007 (a value, not an annotation)
    if name == "list" and len(parts) == 1:
        return list[type_of(parts[0])]  # type: ignore[misc]
    if name == "tuple":
        open_ended = isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis
        kinds = [type_of(part) for part in (parts[:-1] if open_ended else parts)]
        if len(set(kinds)) == 1:  # elements of one type: what a setting can hold
            return tuple.__class_getitem__((*kinds, ...) if open_ended else tuple(kinds))
    raise ValueError(name)


def options(kind: Any) -> tuple[Any, ...]:
    """The alternatives of a union; nothing for any other type."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else ()


def takes_text(kind: Any) -> bool:
    """Whether a text can be a value of the type as it stands."""
    return kind is str or typing.get_origin(kind) is Literal or any(map(takes_text, options(kind)))


def lengths_fit(kind: Any, value: Any) -> bool:
    """Whether a value has as many elements as its type, where that says so: ``tuple[int, int]``."""
    if options(kind):
        return value is None or any(lengths_fit(option, value) for option in options(kind))
    arguments = typing.get_args(kind)
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in arguments
    return not fixed or not isinstance(value, tuple) or len(value) == len(arguments)


def from_text(kind: Any, text: str) -> Any:
    """The value of a text, as from a command line, in a type; ValueError or SyntaxError if it has none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return {str(choice): choice for choice in reversed(arguments)}.get(text, text)
    if options(kind):
        for option in sorted(options(kind), key=lambda a: a is str):  # text last: everything reads as text
            try:
                return from_text(option, text)
            except (ValueError, SyntaxError):
                continue
        raise ValueError(text)
    if origin in (list, tuple):
        if text[:1] in ("[", "("):
            return ast.literal_eval(text)
        return [from_text(arguments[0], part.strip()) for part in text.split(",")] if text else []
    if kind is type(None):
        if text.lower() not in ("none", "null"):
            raise ValueError(text)
        return None
    if kind is bool:
        if text.lower() not in _TRUTH:
            raise ValueError(text)
        return _TRUTH[text.lower()]
    return kind(text) if kind in (int, float) else text


def as_source(value: Any) -> str:
    """A checked value as Python source, as it is put into the notebook."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, list):
        return f"[{', '.join(map(as_source, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(as_source, value))}{',' if len(value) == 1 else ''})"
    return repr(value)
