"""The command line: every verb of the laboratory, and one line for every mistake."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nbkit import __version__
from nbkit.cli import (
    console,
    data,
    doctor,
    evaluate,
    models,
    notebooks,
    recommend,
    recovery,
    reproduce,
    runs,
    study,
    train,
    tune,
)
from nbkit.errors import UserError


def _nobody_reads_on() -> None:
    """As with ``| head``: say nothing, neither now nor when Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Laboratory(TyperGroup):
    """The top command: turns a user's mistake into one line and exit code 2, Ctrl-C into one line and 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            console.note("nbkit: stopped by Ctrl-C; what was finished is kept")
            raise typer.Exit(130) from None
        except BrokenPipeError:
            _nobody_reads_on()
            raise typer.Exit(0) from None
        except (UserError, OSError) as error:
            if os.environ.get("NBKIT_DEBUG"):
                raise
            named = isinstance(error, OSError) and error.filename is not None
            console.complain(f"{str(error.filename)!r}: {error.strerror}" if named else str(error))  # type: ignore[union-attr]
            raise typer.Exit(2) from None

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            code = super().main(*args, **{**kwargs, "standalone_mode": False})
            sys.stdout.flush()
        except BrokenPipeError:
            _nobody_reads_on()
            code = 0
        except Exception as error:
            # A usage error: its class moved between versions of typer, its attributes did not.
            if not hasattr(error, "format_message"):
                raise
            context = getattr(error, "ctx", None)
            message = error.format_message().rstrip(".")
            if message and not type(error).__name__.startswith("NoArgsIsHelp"):
                console.complain(f"{message}; see `{context.command_path if context else 'nbkit'} --help`")
            else:
                error.show()  # type: ignore[attr-defined]
            code = getattr(error, "exit_code", 2)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    cls=Laboratory,
    name="nbkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        console.say(f"nbkit {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A laboratory for denoising multimodal recommendation.

    \b
    A tour in three lines, on built-in data, without a network:
      nbkit train lightgcn --seed 0      train a model, keep the run
      nbkit runs list                    see what has been computed
      nbkit reproduce                    run all notebooks, fill figures/

    Examples of each command: nbkit COMMAND --help. A mistake costs one line
    and exit code 2; NBKIT_DEBUG=1 also shows where it arose.
    """


app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("recommend")(recommend.recommend)
app.command("recovery")(recovery.recovery)
app.command("run")(notebooks.run)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(study.app, name="study")
app.add_typer(runs.app, name="runs")
app.add_typer(data.app, name="data")
app.command("models")(models.models)
app.command("clean")(notebooks.clean)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point of ``nbkit``."""
    app(prog_name="nbkit")
