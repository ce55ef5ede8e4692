"""``nbkit doctor``: whether this machine has what the laboratory needs, and how to get what it lacks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import typer

from nbkit.cli import console
from nbkit.paths import cache_dir, figures_dir, runs_dir

LITTLE_DISK = 2 * 2**30  # bytes


class Finding(NamedTuple):
    """One line of the report; ``level`` is ok, hint (works without) or MISSING (the core does not work)."""

    level: str
    what: str
    found: str
    advice: str = ""


def doctor() -> None:
    """Check what this machine has and lacks.

    Python, libraries, device, a browser for static pictures, writable places, disk.
    Exit code 1 when something that the core needs is missing.

    \b
    Example:
      nbkit doctor
    """
    findings = [python_version(), *libraries(), device(), browser(), *places()]
    console.print_table(["", "what", "found", "advice"], findings)
    missing = [finding.what for finding in findings if finding.level == "MISSING"]
    if missing:
        console.complain(f"the core lacks {', '.join(missing)}")
        raise typer.Exit(1)


def python_version() -> Finding:
    enough = sys.version_info >= (3, 11)
    return Finding(
        "ok" if enough else "MISSING", "python", platform.python_version(), "" if enough else "3.11 or newer"
    )


def requirements() -> dict[str, list[str]]:
    """What nbkit declares to need: requirement texts of ``core`` and of each extra.

    Read from ``pyproject.toml`` where nbkit runs from its source tree, else from the installed metadata.
    """
    source = _beside_package("pyproject.toml")
    if source is not None:
        import tomllib

        project = tomllib.loads(source.read_text(encoding="utf-8"))["project"]
        return {"core": project["dependencies"], **project["optional-dependencies"]}
    groups: dict[str, list[str]] = {"core": []}
    for text in metadata.requires("nbkit") or []:
        requirement, _, marker = text.partition(";")
        extra = re.search(r"extra == ['\"](\w+)['\"]", marker)
        groups.setdefault(extra[1] if extra else "core", []).append(requirement.strip())
    return groups


def _beside_package(name: str) -> Path | None:
    path = Path(__file__).parents[2] / name
    return path if path.is_file() else None


def release(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, for comparing."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def pins() -> dict[str, str]:
    """Versions that ``constraints.txt`` holds, by lower-case name; empty away from the source tree."""
    source = _beside_package("constraints.txt")
    lines = source.read_text(encoding="utf-8").splitlines() if source else []
    return {
        name.strip().lower(): version.strip()
        for name, equals, version in (line.partition("==") for line in lines)
        if equals
    }


def libraries() -> Iterator[Finding]:
    """One line for each complete group of libraries, one for each library that is missing or too old."""
    pinned, other = pins(), []
    for group, texts in requirements().items():
        found = []
        for text in texts:
            name, least = re.match(r"([\w.-]+)\s*(?:\[.*\])?\s*(?:>=\s*([\w.]+))?", text).groups()  # type: ignore[union-attr]
            try:
                version = metadata.version(name)
            except metadata.PackageNotFoundError:
                yield _lacking(group, name, "not installed")
                continue
            if least and release(version) < release(least):
                yield _lacking(group, name, f"{version}, older than {least}")
                continue
            found.append(f"{name} {version}")
            pin = pinned.get(name.lower())
            if pin and version.partition("+")[0] != pin:
                other.append(f"{name} {version} (constraints.txt: {pin})")
        if len(found) == len(texts):
            yield Finding("ok", f"{group} libraries", f"{len(found)} found, " + ", ".join(found[:4]) + " …")
    if other:
        yield Finding(
            "hint",
            "versions",
            ", ".join(other),
            "numbers may differ in the last digits; `make env` installs the pins",
        )


def _lacking(group: str, name: str, why: str) -> Finding:
    if group == "core":
        return Finding("MISSING", name, why, "`make env`, or install nbkit again")
    return Finding("hint", name, why, f"`make env`, or install nbkit with its extra {group!r}")


def device() -> Finding:
    try:
        import torch
    except (ImportError, OSError):
        return Finding("hint", "device", "unknown without torch")
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} processors"
    if torch.cuda.is_available():
        return Finding("ok", "device", f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}; {threads}")
    return Finding("ok", "device", f"CPU, {threads}")


def browser() -> Finding:
    """The browser that static pictures are drawn with."""
    try:
        from nbkit.plots.pictures import browser_path
    except ImportError as error:
        return Finding("hint", "browser", f"not needed without {error.name}")
    path = browser_path()
    if path:
        return Finding("ok", "browser", path)
    advice = "`apt-get install chromium` or `plotly_get_chrome`; without one: JSON and HTML figures only"
    return Finding("hint", "browser", "none for PNG and SVG pictures", advice)


def places() -> Iterator[Finding]:
    """Whether runs, figures and cache can be written, and the space left where runs go."""
    for what, folder in (("runs", runs_dir()), ("figures", figures_dir()), ("cache", cache_dir())):
        there = next((path for path in (folder.absolute(), *folder.absolute().parents) if path.exists()), Path("/"))
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            yield Finding(
                "MISSING",
                f"folder of {what}",
                f"{folder}: {error.strerror}",
                f"set NBKIT_{what.upper()} to a writable folder",
            )
            continue
        free = shutil.disk_usage(there).free
        little = free < LITTLE_DISK
        yield Finding(
            "hint" if little else "ok",
            f"folder of {what}",
            f"{folder}: {free / 2**30:.1f} GiB free",
            "little space" if little else "",
        )
