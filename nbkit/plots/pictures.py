"""PNG and SVG of a figure through a headless browser; without one it costs a line of warning, no study."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

WIDTH, HEIGHT, SCALE = 960, 440, 2
PICTURES = ("png", "svg")
_SECONDS = 60  # for one picture
# Mathematics in figures is Unicode: MathJax would be fetched from the network.
_OPTIONS: dict[str, Any] = {"n": 1, "timeout": _SECONDS, "mathjax": False}

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_proven: list[bool] = []  # empty: not tried yet; then whether the browser could draw


def browser_path() -> str | None:
    """The Chrome or Chromium that kaleido would use, None without one (or without kaleido)."""
    try:
        import kaleido  # noqa: F401
        from choreographer.browsers.chromium import Chromium
    except ImportError:
        return None
    return Chromium.find_browser(skip_local=False)


def draw(fig: go.Figure, formats: Sequence[str]) -> dict[str, bytes]:
    """The figure in those of ``png`` and ``svg`` that are asked for; nothing where none can be drawn.

    The first picture starts a browser of its own; from the second on one browser is kept until the process
    ends (2.5 and 0.2 seconds a picture).
    """
    wanted = [f for f in formats if f in PICTURES]
    if not wanted:
        return {}
    with _lock:
        if _proven == [False]:
            return {}
        if browser_path() is None:
            return _without("no Chrome or Chromium found for kaleido")
        try:
            pictures = _by_server(fig, wanted) if _proven else _at_once(fig, wanted)
        except Exception as error:  # whatever a browser does wrong, the figure itself is saved already
            return _without(" ".join(f"{type(error).__name__}: {error}".split())[:200])
        _proven[:] = [True]
        return pictures


def _without(reason: str) -> dict[str, bytes]:
    _log.warning("figures are saved without PNG and SVG: %s", reason)
    _proven[:] = [False]
    return {}


def _size(fig: go.Figure) -> dict[str, Any]:
    return {"width": fig.layout.width or WIDTH, "height": fig.layout.height or HEIGHT, "scale": SCALE}


def _at_once(fig: go.Figure, formats: Sequence[str]) -> dict[str, bytes]:
    import kaleido

    with tempfile.TemporaryDirectory(prefix="nbkit-") as folder:
        paths = {f: Path(folder) / f"figure.{f}" for f in formats}
        specs = [{"fig": fig.to_dict(), "path": p, "opts": {"format": f, **_size(fig)}} for f, p in paths.items()]
        kaleido.write_fig_from_object_sync(specs, cancel_on_error=True, kopts=_OPTIONS)
        return {f: path.read_bytes() for f, path in paths.items()}


def _by_server(fig: go.Figure, formats: Sequence[str]) -> dict[str, bytes]:
    """Only for a browser that has drawn before: kaleido's server waits for ever on one that cannot start."""
    import kaleido

    kaleido.start_sync_server(silence_warnings=True, **_OPTIONS)
    return {f: kaleido.calc_fig_sync(fig.to_dict(), opts={"format": f, **_size(fig)}) for f in formats}
