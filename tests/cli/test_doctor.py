"""``nbkit doctor`` tells what is there and what is not, and fails only where the core does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from nbkit.cli import doctor

from .conftest import Outcome

Cli = Callable[..., Outcome]


def test_this_machine_has_what_the_core_needs(nbkit: Cli) -> None:
    done = nbkit("doctor")
    assert done.code == 0, done.out
    assert "core libraries" in done.out
    assert "MISSING" not in done.out


def absent(monkeypatch: pytest.MonkeyPatch, missing: str, version: str | None = None) -> None:
    real = metadata.version

    def look(name: str) -> str:
        if name == missing and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == missing and version else real(name)

    monkeypatch.setattr(metadata, "version", look)


def test_a_missing_core_library_is_named_and_fails(nbkit: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "safetensors")
    done = nbkit("doctor")
    assert done.code == 1
    assert "MISSING" in done.out
    assert done.err.strip() == "nbkit: error: the core lacks safetensors"


def test_a_core_library_that_is_too_old_fails(nbkit: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "pandas", "1.5.3")
    done = nbkit("doctor")
    assert done.code == 1
    assert "1.5.3, older than 2.2" in done.out


def test_a_missing_laboratory_library_is_a_hint(nbkit: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "papermill")
    done = nbkit("doctor")
    assert done.code == 0
    assert "with its extra 'lab'" in done.out


def test_a_version_other_than_the_pinned_one_is_told(nbkit: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch, "scipy", "1.99.0")
    assert "scipy 1.99.0 (constraints.txt: " in nbkit("doctor").out


def test_no_browser_is_a_hint_that_says_how_to_get_one(nbkit: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbkit.plots.pictures.browser_path", lambda: None)
    done = nbkit("doctor")
    assert done.code == 0
    assert "apt-get install chromium" in done.out


def test_a_place_that_cannot_be_written_fails_and_is_not_made(
    nbkit: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NBKIT_RUNS", "/proc/runs")
    monkeypatch.setenv("NBKIT_FIGURES", str(tmp_path / "new" / "figures"))
    done = nbkit("doctor")
    assert done.code == 1
    assert "set NBKIT_RUNS to a writable folder" in done.out
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("version", "numbers"), [("2.13.0+cpu", (2, 13, 0)), ("1.2", (1, 2)), ("3.1.0.261029", (3, 1, 0))]
)
def test_a_version_is_compared_by_its_first_three_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert doctor.release(version) == numbers
