"""Plugin of ``make test`` for nbval: each worker's notebooks have their own place for runs and figures.

Two notebooks that train the same run at the same time would otherwise refuse each other, and nbval's working
folder is the notebook's, where nothing shall be left behind.
"""

from __future__ import annotations

import os
import tempfile

import pytest

_PLACE = tempfile.TemporaryDirectory(prefix="nbkit-nbval-", ignore_cleanup_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    """Before a kernel starts: it takes over this environment."""
    for what in ("runs", "figures"):
        os.environ[f"NBKIT_{what.upper()}"] = os.path.join(_PLACE.name, what)
    os.environ["NBKIT_HEADLESS"] = "1"  # as when the golden outputs were made


def pytest_unconfigure(config: pytest.Config) -> None:
    _PLACE.cleanup()
