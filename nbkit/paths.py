"""Where things live: run folders, figures and the cache, each movable by an environment variable."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from nbkit.errors import UserError


def runs_dir() -> Path:
    """Folder of finished and unfinished runs (``NBKIT_RUNS``, default ``runs`` below the current folder)."""
    return Path(os.environ.get("NBKIT_RUNS", "runs"))


def figures_dir() -> Path:
    """Folder of saved figures (``NBKIT_FIGURES``, default ``figures`` below the current folder)."""
    return Path(os.environ.get("NBKIT_FIGURES", "figures"))


def cache_dir() -> Path:
    """Folder of things that can be made again (``NBKIT_CACHE``, default the user's cache folder)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("NBKIT_CACHE", base / "nbkit"))


def writable_folder(folder: Path, what: str) -> Path:
    """The folder, made if it was missing.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{what} {str(folder)!r}: {error.strerror}; expected a writable folder") from None
    return folder


@contextlib.contextmanager
def locked(lock: Path, busy: Callable[[str], Exception], *, wait: bool = False) -> Iterator[None]:
    """Keep other processes out; the system frees the lock even after ``kill -9``, so a stale file is no obstacle.

    ``busy`` makes the error from the id of the process that holds the lock; with ``wait`` that process is waited for.
    """
    import fcntl

    with open(lock, "a+") as file:
        tries = 0
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tries += 1
                if tries < 20 or wait:  # whoever only asks touches the lock for a moment
                    time.sleep(0.01 if tries < 20 else 0.2)
                    continue
                file.seek(0)
                raise busy(file.read() or "?") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_atomic(path: Path, write: Callable[[IO[bytes]], object] | bytes | str) -> None:
    """Write a file whole or not at all: a temporary sibling is flushed to disk, then renamed over ``path``.

    ``write`` is the content, or a function that writes it to an open binary file.

    Raises:
        UserError: the disk is full or the folder is read-only; an older file at ``path`` is left as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            if callable(write):
                write(file)
            else:
                file.write(write.encode() if isinstance(write, str) else write)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}; nothing there was changed") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_toml(path: str | Path, where: str, expected: str) -> dict[str, Any]:
    """The content of a TOML file; ``where`` and ``expected`` word the errors.

    Raises:
        UserError: the file is missing or no TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{where}: no such file; expected {expected}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{where}: {error}; expected TOML") from None
