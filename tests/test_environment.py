"""One environment told three times: what is needed, which version of it, and how conda gets it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
CORE = PROJECT["project"]["dependencies"]
EVERYTHING = [*PROJECT["build-system"]["requires"], *CORE, *chain.from_iterable(EXTRAS.values())]
REQUIREMENTS = [Requirement(text) for text in EVERYTHING]
PIN_LINES = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"
]
PINS = {canonicalize_name(line.split("==")[0]): Version(line.split("==")[1]) for line in PIN_LINES}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_requirement_has_a_pin_that_satisfies_it(requirement: Requirement) -> None:
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_nothing_is_pinned_that_nobody_asked_for() -> None:
    assert set(PINS) == {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}


def test_pins_are_exact_sorted_and_free_of_local_builds() -> None:
    names = [line.split("==")[0] for line in PIN_LINES]
    assert names == sorted(names)
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in PIN_LINES), PIN_LINES


def test_conda_installs_the_same_pins_and_extras() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    (python,) = [
        Version(entry.split("=")[1]) for entry in environment["dependencies"] if str(entry).startswith("python=")
    ]
    assert pip[0] == "-c constraints.txt"
    assert set(re.findall(r"\w+", pip[1].partition("[")[2])) == set(EXTRAS)
    assert str(python) in PROJECT["project"]["requires-python"]


def test_the_makefile_installs_the_same_pins_and_extras() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*)", makefile)
    assert installs
    assert all("-c constraints.txt" in line for line in installs)
    (extras,) = re.findall(r'-e "\.\[([\w,]+)\]"', makefile)
    assert set(extras.split(",")) == set(EXTRAS)


@pytest.mark.parametrize("name", sorted(PINS))
def test_the_installed_version_is_the_pinned_one(name: str) -> None:
    if name == "setuptools":  # builds the package; tests run without it
        return
    installed = Version(metadata.version(name)).public
    assert installed == str(PINS[name]), (
        f"{name} {installed} is installed, constraints.txt has {PINS[name]}: run `make env`"
    )


def third_party(path: Path) -> set[str]:
    """Top-level names of the libraries that a module imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found - sys.stdlib_module_names - {"nbkit", "__future__"}


def undeclared(folder: str, requirements: list[str]) -> list[str]:
    """Imports of libraries that none of the requirements brings by name."""
    declared = {canonicalize_name(requirement.name) for requirement in map(Requirement, requirements)}
    owners = metadata.packages_distributions()
    return sorted(
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in third_party(path)
        if not declared & {canonicalize_name(owner) for owner in owners.get(name, [name])}
    )


def test_every_library_that_the_package_imports_is_declared() -> None:
    assert undeclared("nbkit", [*CORE, *EXTRAS["lab"], *EXTRAS["ray"]]) == []


def test_every_library_that_the_tests_import_is_declared() -> None:
    own = ("imports tests", "imports conftest", "imports benchmarks")
    assert [line for line in undeclared("tests", EVERYTHING) if not line.endswith(own)] == []
