"""How much memory a piece of work took: of the process on a CPU, of the device on a GPU."""

from __future__ import annotations

import ctypes
import gc
import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

PAGE = 4096


def _held() -> int:
    """Most bytes this process has held since it began, or since the kernel was told to forget (Linux)."""
    try:
        text = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", text).group(1)) * 1024  # type: ignore[union-attr]
    except (OSError, AttributeError):
        import resource

        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class PeakMemory:
    """The most that is held at once from the making of this on, beyond what was held then.

    On Linux the allocator gives back what it keeps and the kernel's mark is reset; elsewhere only a new record of the
    process counts. Less than a page is told as a page.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # what was freed before and kept by the allocator would hide new needs
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        self._before = _held()

    def bytes(self) -> int:
        """Bytes, a page or more."""
        held = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _held()
        return max(PAGE, held - self._before)
