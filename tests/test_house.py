"""The architecture, proved: which room may import which, what stays lazy, who may open the sealed split."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "nbkit"
ROOMS = (
    *("errors", "config", "repro", "paths", "runs"),
    *(
        "data",
        "graphs",
        "neighbours",
        "layers",
        "diffusion",
        "models",
        "training",
        "evaluation",
        "studies",
        "plots",
        "widgets",
        "notebooks",
        "cli",
    ),
)
CORE_ROOMS = ROOMS[: ROOMS.index("plots")]
CORE_LIBRARIES = ("torch", "torch-geometric", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "joblib", "tqdm")
SCREEN_LIBRARIES = {"plotly", "ipywidgets", "IPython", "anywidget", "matplotlib"}
OPENS_THE_SEAL = (
    "evaluation/final.py",
    "data/dataset.py",
    "data/readers/",
    "data/corrupt",
    "data/synthetic/",
)

MODULES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room(path: Path) -> str:
    return place(path).split("/")[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a module imports, inside functions too."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                inside = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
                base = ".".join((*inside, base)).rstrip(".")
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def calls(path: Path) -> Iterator[tuple[ast.Call, str]]:
    """Every call of a module with the dotted text of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_every_module_is_in_a_known_room() -> None:
    unknown = {room(path) for path in MODULES} - {*ROOMS, "__init__", "__main__"}
    assert not unknown, f"rooms without a place in the order: {sorted(unknown)}"


def test_a_room_imports_only_from_rooms_before_it() -> None:
    wrong = []
    for path in MODULES:
        if room(path) in ("__init__", "__main__"):
            continue
        for line, name in imported(path):
            parts = name.split(".")
            if (
                parts[0] == "nbkit"
                and len(parts) > 1
                and parts[1] in ROOMS
                and ROOMS.index(parts[1]) > ROOMS.index(room(path))
            ):
                wrong.append(f"{place(path)}:{line} imports {name}")
    assert not wrong, wrong


def test_nothing_before_plots_imports_a_screen_library() -> None:
    wrong = [
        f"{place(path)}:{line} imports {name}"
        for path in MODULES
        if room(path) in CORE_ROOMS
        for line, name in imported(path)
        if name.split(".")[0] in SCREEN_LIBRARIES
    ]
    assert not wrong, wrong


def test_only_the_executor_for_a_cluster_knows_of_ray() -> None:
    assert {place(path) for path in MODULES for _, name in imported(path) if name.split(".")[0] == "ray"} == {
        "studies/cluster.py"
    }


def requirement_closure(names: tuple[str, ...]) -> set[str]:
    """Distributions that the named ones need, themselves included, by normalised name."""
    closure: set[str] = set()
    left = list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        if name in closure:
            continue
        closure.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        left += [re.split(r"[\s;<>=!~\[(]", r, maxsplit=1)[0] for r in requirements if "extra ==" not in r]
    return closure


BARE_MACHINE = """
import importlib, importlib.abc, pkgutil, sys, json
blocked, rooms = set(json.loads(sys.argv[1])), json.loads(sys.argv[2])

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked)", name=name)

sys.meta_path.insert(0, Absent())
import nbkit
found = []
for module in pkgutil.walk_packages(nbkit.__path__, "nbkit."):
    if module.name.split(".")[1] in rooms:
        importlib.import_module(module.name)
        found.append(module.name)
print(json.dumps(found))
"""


def test_the_core_imports_where_only_the_core_libraries_are_installed() -> None:
    allowed = requirement_closure(CORE_LIBRARIES)
    owners = metadata.packages_distributions()
    blocked = [
        module
        for module, dists in owners.items()
        if module != "nbkit" and not any(re.sub(r"[-_.]+", "-", d).lower() in allowed for d in dists)
    ]
    assert {"rich", "typer", "duckdb", "plotly", "sklearn", "PIL", "resvg_py", "IPython"} & set(owners) <= set(blocked)
    done = subprocess.run(
        [sys.executable, "-c", BARE_MACHINE, json.dumps(blocked), json.dumps(CORE_ROOMS)],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nbkit.studies.experiment" in json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("statement", ["import nbkit", "import nbkit.cli"])
def test_the_face_and_the_command_line_load_no_heavy_library(statement: str) -> None:
    heavy = ("torch", "pandas", "numpy", "scipy", "pyarrow", "plotly", "duckdb", "optuna", "IPython", "papermill")
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_reader_can_execute_a_pickle() -> None:
    wrong = []
    for path in MODULES:
        for node, name in calls(path):
            keywords = {k.arg: k.value for k in node.keywords}
            if name in ("np.load", "numpy.load"):
                safe = keywords.get("allow_pickle")
                bad = not (isinstance(safe, ast.Constant) and safe.value is False)
            else:
                bad = name in (
                    "pickle.load",
                    "pickle.loads",
                    "torch.load",
                    "joblib.load",
                    "pd.read_pickle",
                    "dill.load",
                    "dill.loads",
                )
            if bad:
                wrong.append(f"{place(path)}:{node.lineno} calls {name}")
    assert not wrong, wrong


def test_only_the_final_test_and_the_data_writers_open_the_sealed_split() -> None:
    wrong = []
    for path in MODULES:
        if place(path).startswith(OPENS_THE_SEAL):
            continue
        for node, name in calls(path):
            purposes = {a.value for a in ast.walk(node) if isinstance(a, ast.Constant)}
            if name.endswith("test.open") or (name.endswith(".open") and purposes & {"final_test", "rewrite"}):
                wrong.append(f"{place(path)}:{node.lineno} calls {name}")
        wrong += [
            f"{place(path)}:{node.lineno} reaches behind the seal"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute | ast.Constant)
            and "_SealedSplit__" in (getattr(node, "attr", "") or str(getattr(node, "value", "")))
        ]
    assert not wrong, wrong


def test_library_code_never_seeds_a_global_generator() -> None:
    forbidden = {
        "torch.manual_seed",
        "torch.cuda.manual_seed",
        "torch.cuda.manual_seed_all",
        "np.random.seed",
        "numpy.random.seed",
        "random.seed",
        "torch.seed",
    }
    wrong = [f"{place(p)}:{node.lineno} calls {name}" for p in MODULES for node, name in calls(p) if name in forbidden]
    assert not wrong, wrong


def test_no_module_is_longer_than_three_hundred_lines() -> None:
    long = {place(path): n for path in MODULES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long, long
