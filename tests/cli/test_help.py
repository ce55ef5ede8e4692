"""Help teaches: a tour on top, an example for every command, and nothing heavy loaded to show it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from nbkit import __version__
from nbkit.cli import app, console
from nbkit.config import settings_of
from nbkit.models.base import registry

from .conftest import REPOSITORY, Outcome

Cli = Callable[..., Outcome]


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


COMMANDS = sorted(commands(typer.main.get_command(app)))


def test_the_verbs_are_those_of_the_laboratory() -> None:
    assert {path[0] for path in COMMANDS} == {
        *(
            "train",
            "tune",
            "study",
            "evaluate",
            "recommend",
            "recovery",
            "run",
            "reproduce",
            "runs",
            "data",
            "models",
            "clean",
            "doctor",
        )
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_of_itself(nbkit: Cli, path: tuple[str, ...]) -> None:
    out = nbkit(*path, "--help").out
    examples = out[out.index("Example") :]
    assert f"nbkit {' '.join(path)}" in examples


def test_the_top_help_is_a_tour_of_commands_that_exist(nbkit: Cli) -> None:
    lines = [line.split() for line in nbkit("--help").out.splitlines() if line.strip().startswith("nbkit ")]
    assert len(lines) == 3
    for line in lines:
        assert any(tuple(line[1 : 1 + len(path)]) == path for path in COMMANDS), line


def test_defaults_that_words_explain_are_shown(nbkit: Cli) -> None:
    assert "(default: runs, or $NBKIT_RUNS)" in " ".join(nbkit("runs", "list", "--help").out.split())


def test_no_arguments_show_the_help_and_a_group_its_own(nbkit: Cli) -> None:
    assert "A tour in three lines" in nbkit().out + nbkit().err
    assert "compare" in nbkit("runs").out + nbkit("runs").err


def test_the_version_is_told(nbkit: Cli) -> None:
    assert nbkit("--version").out == f"nbkit {__version__}\n"


def test_a_wrong_command_names_the_nearest(nbkit: Cli) -> None:
    assert "'trian'" in nbkit("trian").error


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom nbkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'scipy', 'plotly', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_model_is_listed_with_its_venue(nbkit: Cli) -> None:
    out = nbkit("models").out
    for name, cls in registry().items():
        (line,) = [line for line in out.splitlines() if line.split()[0] == name]
        assert cls.paper.venue in line


def test_a_model_shows_every_setting_with_type_default_range_and_meaning(nbkit: Cli) -> None:
    out = nbkit("models", "lightgcn").out
    (line,) = [line for line in out.splitlines() if line.startswith("layers")]
    assert line.split()[:5] == ["layers", "int", "3", "0", "…"]
    assert "propagation layers L" in line
    assert "https://arxiv.org/abs/2002.02126" in out


def test_a_pipe_gets_aligned_plain_text_with_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(["name", "count", "score"], [["a", 5, 0.25], ["long name", 1234, None]])
    assert capsys.readouterr().out.splitlines() == [
        "name       count   score",
        "a              5  0.2500",
        "long name   1234",
    ]


def test_a_terminal_gets_the_same_cells(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console.print_table(["name", "score"], [["[red]not markup", 0.25]], title="a title")
    out = capsys.readouterr().out
    assert "[red]not markup" in out
    assert "0.2500" in out
    assert "a title" in out


@pytest.mark.parametrize("name", sorted(registry()))
def test_every_model_is_shown_with_all_its_settings(nbkit: Cli, name: str) -> None:
    out = nbkit("models", name).out
    for setting in settings_of(registry()[name]):
        assert f"\n{setting} " in out
    for preset in registry()[name].presets:
        assert f"\n{preset} " in out


def test_pages_are_about_all_models_and_costs_for_pages_alone(nbkit: Cli) -> None:
    assert "expected no MODEL beside it" in nbkit("models", "mgcn", "--cards", "pages").error
    assert "expected --cards DIR beside it" in nbkit("models", "--costs", "missing.json").error
