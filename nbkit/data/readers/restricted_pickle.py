"""Sparse matrices out of pickle files without running anything that a pickle asks for.

A pickle is a program. Here its every global is answered by an inert recorder made for this one file: no class
of SciPy or NumPy is instantiated from it, and nothing outside the short list below can be named at all. The
arrays are rebuilt from the recorded bytes, and the matrix is checked like any other input.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from nbkit.errors import UserError

_FORMATS = ("csr", "csc", "coo")
_MATRIX = re.compile(r"scipy\.sparse(\._?(csr|csc|coo))?")
_NUMPY = re.compile(r"numpy\._?core\.(multiarray|numeric)")


class _Dtype:
    """A plain numeric dtype, by name and byte order."""

    def __init__(self, name: str, *flags: Any) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a dtype with fields")
        self.order = state[1]

    def plain(self) -> np.dtype[Any]:
        name = self.name.decode("ascii") if isinstance(self.name, bytes) else self.name
        if not isinstance(name, str) or not re.fullmatch(r"[biuf][1248]|bool", name):
            raise pickle.UnpicklingError(f"dtype {name!r}")
        return np.dtype((self.order if self.order in ("<", ">") else "=") + name if name != "bool" else name)


def _numbers(raw: Any, dtype: Any, shape: Any) -> np.ndarray:
    """An array from its recorded bytes."""
    if isinstance(raw, str):
        raw = raw.encode("latin1")  # bytes of a pickle written by Python 2
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("an array that is not plain numbers")
    return np.frombuffer(raw, dtype=dtype.plain()).reshape([_whole(n) for n in shape])


class _Array:
    """An array that is not yet one."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise pickle.UnpicklingError("an array without its state")
        _, shape, dtype, _, raw = state
        self.values = _numbers(raw, dtype, shape)


def _whole(value: Any) -> int:
    if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iu":
        return int(value)
    if isinstance(value, int) and value >= 0:
        return value
    raise pickle.UnpicklingError(f"a size {value!r}")


class _Matrix:
    """The recorded attributes of a sparse matrix."""

    format = ""
    state: Any = None  # a dict, in a matrix that can be read

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _latin1(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an odd encoding")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = self._recorder(module, name)
        if found is None:
            raise UserError(
                f"{self.path}: the pickle asks for {module}.{name}; refused, expected a SciPy sparse matrix"
            )
        return found

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self.path = path
        # Classes of this load alone: whatever a pickle sets on them goes when the load ends.
        self.dtype: type[_Dtype] = type("dtype", (_Dtype,), {})
        self.array: type[_Array] = type("ndarray", (_Array,), {})
        self.base = type("object", (), {})
        self.matrices: dict[str, type[_Matrix]] = {f: type(f, (_Matrix,), {"format": f}) for f in _FORMATS}

    def _recorder(self, module: str, name: str) -> Any:
        kind, _, suffix = name.partition("_")
        if _MATRIX.fullmatch(module) and kind in _FORMATS and suffix in ("matrix", "array"):
            return self.matrices[kind]
        if module == "numpy" and name in ("dtype", "ndarray"):
            return self.dtype if name == "dtype" else self.array
        if _NUMPY.fullmatch(module):
            return {
                "_reconstruct": lambda *_: self.array(),
                "_frombuffer": lambda raw, dtype, shape, order: _numbers(raw, dtype, shape),
                "scalar": lambda dtype, raw: _numbers(raw, dtype, ()),
            }.get(name)
        if name == "bytes" and module in ("builtins", "__builtin__"):
            return lambda: b""  # how older protocols write an empty array
        if (module, name) == ("_codecs", "encode"):
            return lambda *arguments: _latin1(*arguments)
        if (module, name) in (("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")):
            return lambda cls, *_: self._instance(cls)
        if name == "object" and module in ("builtins", "__builtin__"):
            return self.base
        return None

    def _instance(self, cls: Any) -> Any:
        if cls not in self.matrices.values():
            raise pickle.UnpicklingError("an object that is no sparse matrix")
        return cls()


def load_sparse(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Rows and columns of the entries that are not zero, ``(E,)`` int64 each, and the shape of the matrix.

    Accepts CSR, CSC and COO matrices and arrays of any SciPy and NumPy version, pickle protocols 0 to 5.

    Raises:
        UserError: a pickle that asks for anything else (the global is named), a damaged file or matrix.
    """
    try:
        with open(path, "rb") as file:
            loaded = _Unpickler(file, path).load()
        if not isinstance(loaded, _Matrix):
            raise pickle.UnpicklingError(f"it holds {type(loaded).__name__}")
        row, column, data, shape = _entries(loaded)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: the file does not exist; expected a pickled sparse matrix") from None
    except (Exception, RecursionError) as error:  # a damaged pickle raises whatever its bytes happen to mean
        reason = str(error)[:80] or type(error).__name__
        raise UserError(f"{path}: not a pickled SciPy sparse matrix of numbers ({reason})") from None
    here = data != 0
    return row[here], column[here], shape


def _vector(value: Any) -> np.ndarray:
    value = getattr(value, "values", value)
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise pickle.UnpicklingError("a part that is not a vector of numbers")
    return value


def _entries(matrix: _Matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    state: Any = matrix.state
    if not isinstance(state, dict):
        raise pickle.UnpicklingError("a matrix without attributes")
    # Python 2 and odd versions name the attributes with or without an underscore.
    shape = tuple(_whole(n) for n in state.get("_shape") or state.get("shape", ()))
    if len(shape) != 2:
        raise pickle.UnpicklingError(f"shape {shape}")
    data = _vector(state["data"])
    if matrix.format == "coo":
        rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
        row, column = _vector(rows).astype(np.int64), _vector(columns).astype(np.int64)
    else:
        minor, starts = _vector(state["indices"]).astype(np.int64), _vector(state["indptr"]).astype(np.int64)
        counts = np.diff(starts)
        lines = shape[0] if matrix.format == "csr" else shape[1]
        if len(counts) != lines or starts[0] != 0 or starts[-1] != len(minor) or (counts < 0).any():
            raise pickle.UnpicklingError("row starts that do not fit")
        major = np.repeat(np.arange(lines), counts)
        row, column = (major, minor) if matrix.format == "csr" else (minor, major)
    if not len(row) == len(column) == len(data):
        raise pickle.UnpicklingError("parts of different length")
    for index, size in ((row, shape[0]), (column, shape[1])):
        if len(index) and (index.min() < 0 or index.max() >= size):
            raise pickle.UnpicklingError(f"an entry outside shape {shape}")
    if not np.isfinite(data).all():
        raise pickle.UnpicklingError("an entry that is not finite")
    return row, column, data, (shape[0], shape[1])
