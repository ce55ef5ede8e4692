"""What makes a run repeatable: seeds, the code's identity and a record of the environment."""

from __future__ import annotations

import ast
import ctypes
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

RECORDED = (
    "nbkit",
    "torch",
    "torch-geometric",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "safetensors",
    "plotly",
    "optuna",
    "papermill",
)


def generator(seed: int, purpose: str, device: str = "cpu") -> Any:
    """A torch generator of its own for each purpose, so that one more draw here never shifts the draws there."""
    import torch

    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:7], "big"))


def numpy_generator(seed: int, purpose: str) -> Any:
    """The same for NumPy."""
    import numpy as np

    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


# What a class says of itself beside what it computes: where settings come from and which to try. A run keeps its own.
_TOLD = {"paper", "presets", "grid", "parts"}


class _WhatIsComputed(ast.NodeTransformer):
    def _strip(self, node: Any) -> Any:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if isinstance(node, ast.ClassDef):
            node.body = [line for line in node.body if not _TOLD.intersection(_assigned(line))]
        node.body = node.body or [ast.Pass()]
        return node

    visit_Module = visit_ClassDef = visit_FunctionDef = visit_AsyncFunctionDef = _strip


def _assigned(line: ast.stmt) -> list[str]:
    targets = line.targets if isinstance(line, ast.Assign) else [line.target] if isinstance(line, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


@cache
def code_version(*modules: str) -> str:
    """A hash of what the modules compute: their syntax trees without docstrings, comments, layout, and what classes
    tell of themselves (paper, presets, grid, parts).
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name)
        tree = _WhatIsComputed().visit(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


@cache
def modules_behind(module: str, rooms: tuple[str, ...]) -> tuple[str, ...]:
    """The module and every module of the given packages that it imports, directly or not, in order of name."""
    found: set[str] = set()
    left = [module]
    while left:
        name = left.pop()
        inside = any(name == room or name.startswith(f"{room}.") for room in rooms)
        if name in found or not inside or importlib.util.find_spec(name) is None:
            continue
        found.add(name)
        origin = importlib.util.find_spec(name).origin  # type: ignore[union-attr]
        for node in ast.walk(ast.parse(Path(str(origin)).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                left += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                left.append(node.module)
    return tuple(sorted(found))


@cache
def git_sha(folder: str = ".") -> str:
    """The commit that is checked out in ``folder``, with ``+`` behind it where files differ; empty outside git."""
    try:
        sha = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5)
        if sha.returncode:
            return ""
        dirty = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=5,
        )
        return sha.stdout.strip() + ("+" if dirty.stdout.strip() else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""


def installed_versions() -> dict[str, str]:
    """Installed versions of the libraries that decide numbers and pictures."""
    versions = {}
    for name in RECORDED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def environment() -> dict[str, Any]:
    """Versions, machine and commit, kept beside each run."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git": git_sha(),
        "versions": installed_versions(),
    }


@cache
def tune_allocator() -> bool:
    """Let glibc keep large blocks: it otherwise hands each big tensor back to the kernel and page-faults the next.

    Returns whether it took effect (Linux with glibc only); it changes speed alone, never a number.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    trim_threshold, mmap_threshold = -1, -3
    return bool(mallopt(mmap_threshold, 1 << 30)) and bool(mallopt(trim_threshold, 2**31 - 1))
