"""The one error a user's mistake turns into: what, where, the value found and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in the user's input, worded in one line; the command line prints it and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class SealedTestError(UserError):
    """The sealed test split was asked for by something other than the final test."""


class RunBusyError(UserError):
    """Another process is writing this run at the moment."""


class TrainingDivergedError(UserError):
    """A loss part became NaN or infinite; the message names the epoch, the batch and the part."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Word the valid choices for an error line, the most similar one first.

    >>> nearest("lightgnc", ["bpr", "lightgcn"])
    "did you mean 'lightgcn'? (choices: bpr, lightgcn)"
    """
    options = sorted(map(str, choices))
    close = difflib.get_close_matches(str(word), options, n=1, cutoff=0.5)
    listed = ", ".join(options) or "none"
    return (f"did you mean {close[0]!r}? " if close else "") + f"(choices: {listed})"
