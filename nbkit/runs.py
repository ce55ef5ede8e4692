"""One run's folder: what is in it, written whole or not at all, held by one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbkit import config
from nbkit.errors import RunBusyError, UserError
from nbkit.paths import locked, writable_folder, write_atomic

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Status = Literal["new", "running", "stopped", "failed", "done"]


def run_id(settings: Mapping[str, Any], fingerprint: str, code: str) -> str:
    """The identity of a run: sha256 over its canonical settings, the data's fingerprint and the code's version."""
    text = config.canonical_json({"settings": settings, "data": fingerprint, "code": code})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class RunFolder:
    """``runs/<run_id>/``: settings, environment, history, per-user scores, metrics, weights and the DONE mark."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def id(self) -> str:
        return self.path.name

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __repr__(self) -> str:
        return f"RunFolder({self.id}, {self.status})"

    @property
    def status(self) -> Status:
        """``done`` is final; ``stopped`` can be resumed; ``failed`` keeps its history and reason."""
        if (self / "DONE").exists():
            return "done"
        if self._locked():
            return "running"
        if (self / "failed.json").exists():
            return "failed"
        return "stopped" if (self / "settings.json").exists() else "new"

    def create(self) -> RunFolder:
        writable_folder(self.path, "run folder")
        return self

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other processes out while this one writes; the system frees the lock even after ``kill -9``.

        With ``NBKIT_WAIT=1`` a process that holds it is waited for, as when notebooks that share runs are executed
        beside each other.

        Raises:
            RunBusyError: another process holds the run.
        """

        def busy(holder: str) -> RunBusyError:
            return RunBusyError(f"run {self.id} is being written by process {holder}; wait for it or stop it")

        self.create()
        with locked(self / ".lock", busy, wait=os.environ.get("NBKIT_WAIT") == "1"):
            yield

    def _locked(self) -> bool:
        import fcntl

        try:
            with open(self / ".lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # no such folder, or none that may be read: nobody writes there
            return False
        return False

    def write_json(self, name: str, value: Any) -> None:
        write_atomic(self / name, json.dumps(config.canonical(value), indent=2, sort_keys=True) + "\n")

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of this run.

        Raises:
            UserError: the file is missing or is not JSON.
        """
        try:
            return json.loads((self / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"run {self.id}: {name} is missing in {str(self.path)!r}; expected a finished run"
            ) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"run {self.id}: {name} is damaged ({error}); delete the folder to run again") from None

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        write_atomic(self / name, lambda file: table.to_parquet(file, index=False))

    def read_table(self, name: str) -> pd.DataFrame:
        """A Parquet table of this run.

        Raises:
            UserError: the file is missing or damaged.
        """
        import pandas as pd

        try:
            return pd.read_parquet(self / name)
        except FileNotFoundError:
            raise UserError(f"run {self.id}: {name} is missing in {str(self.path)!r}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"run {self.id}: {name} is damaged ({str(error)[:80]})") from None

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        import numpy as np

        write_atomic(self / name, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        import numpy as np

        if not (self / name).exists():
            raise UserError(f"run {self.id}: {name} is missing in {str(self.path)!r}; expected a finished run")
        with np.load(self / name, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}

    def packed(self) -> dict[str, bytes]:
        """Every file of the run by its name, for a journey to another machine."""
        return {path.name: path.read_bytes() for path in self._files()}

    def unpack(self, files: Mapping[str, bytes]) -> None:
        """Make the folder hold these files and no others; the DONE mark comes last, so a run is there whole or not.

        Raises:
            UserError: the disk is full or the folder is read-only.
        """
        self.create()
        for name in sorted(files, key=lambda name: name == "DONE"):
            write_atomic(self / name, files[name])
        for path in self._files():
            if path.name not in files:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return [path for path in self.path.iterdir() if not path.name.startswith(".")] if self.path.is_dir() else []

    def fail(self, reason: str) -> None:
        """Keep why the run failed; its history stays."""
        self.write_json("failed.json", {"reason": reason, "time": time.time()})

    def stop(self, reason: str) -> None:
        """Keep why the run was stopped on purpose; it can be gone on with."""
        self.write_json("stopped.json", {"reason": reason, "time": time.time()})

    @property
    def reason(self) -> str:
        """Why it failed or was stopped, where that is known."""
        known = {"failed": "failed.json", "stopped": "stopped.json"}.get(self.status, "")
        return str(self.read_json(known)["reason"]) if known and (self / known).exists() else ""

    def retry(self) -> None:
        """Forget why the run ended: it is being tried again."""
        for name in ("failed.json", "stopped.json"):
            (self / name).unlink(missing_ok=True)

    def finish(self) -> None:
        """Mark the run as done; everything else has been written before."""
        self.retry()
        write_atomic(self / "DONE", time.strftime("%Y-%m-%dT%H:%M:%SZ\n", time.gmtime()))
