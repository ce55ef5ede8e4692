"""Where a figure comes from: run ids, a hash of their settings, data, commit, versions, the notebook."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from nbkit import __version__, config, repro
from nbkit.runs import RunFolder


def provenance_of(*runs: RunFolder, **more: Any) -> dict[str, Any]:
    """Where a figure of these runs comes from: their ids, seeds, settings, data, seconds; ``more`` is added."""
    settings = [run.read_json("settings.json") for run in runs]
    known = [run.read_json("environment.json").get("dataset", {}) for run in runs]
    fits = [run.read_json("metrics.json").get("fit", {}) for run in runs if run.status == "done"]
    return {
        "runs": [run.id for run in runs],
        "seeds": sorted({each["seed"] for each in settings if "seed" in each}),
        "settings": settings,
        "dataset": ", ".join(sorted({each.get("name", "") for each in known} - {""})),
        "fingerprints": list(dict.fromkeys(each["data"][:16] for each in known if "data" in each)),
        "seconds": sum(fit.get("wall_seconds", 0.0) for fit in fits),
        **more,
    }


def complete(provenance: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The given provenance with settings as a hash, and with commit, versions, time and notebook added.

    The notebook is kept as a path from ``folder``, so that both can be moved together.
    """
    known = dict(provenance)
    settings = known.pop("settings", None)
    if settings is not None and not isinstance(settings, str):
        settings = hashlib.sha256(config.canonical_json(_plain(settings)).encode()).hexdigest()[:16]
    if settings:
        known["settings"] = settings
    notebook = known.pop("notebook", None) or os.environ.get("NBKIT_NOTEBOOK")
    if notebook:
        known["notebook"] = Path(os.path.relpath(notebook, folder)).as_posix()
    package = Path(__file__).resolve().parent
    known.setdefault("git", repro.git_sha(str(package)))
    known["versions"] = _versions() | dict(known.get("versions", {}))
    known["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {k: v for k, v in _plain(known).items() if v not in (None, "", [])}


def _versions() -> dict[str, str]:
    found = {"nbkit": __version__}
    for name in repro.RECORDED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _plain(value: Any) -> Any:
    """A value as JSON data; what JSON does not know becomes text."""
    value = config.canonical(value.tolist() if hasattr(value, "tolist") else value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value != value:
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)
