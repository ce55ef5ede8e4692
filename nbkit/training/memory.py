"""How much memory a piece of work took: of the process on a CPU, of the device on a GPU."""

from __future__ import annotations

import ctypes
import gc
import re
from contextlib import suppress
from pathlib import Path

import torch


def peak_memory() -> int | None:
    """Most bytes this process has held since it began or :func:`forget_peak`; None where the system is silent."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found.group(1)) * 1024 if found else None


def forget_peak() -> bool:
    """Let the peak begin anew at what is held now; whether the system let us (Linux does)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before and kept by the allocator would hide new needs
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _load_what_training_loads() -> None:
    """A first backward pass and a first step bring libraries along, which would be told as the first model's need."""
    weight = torch.nn.Parameter(torch.ones(1))
    weight.square().sum().backward()
    torch.optim.Adam([weight], fused=True).step()


class PeakMemory:
    """The most that is held at once from the making of this on, or from :meth:`forget`, beyond what was held then."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._known = device, True
        _load_what_training_loads()
        self.forget()
        self._before = self._held() or 0

    def _held(self) -> int | None:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else peak_memory()

    def forget(self) -> None:
        """Let the peak begin anew; what was held at first stays what is counted from."""
        if self.device.type == "cuda":
            torch.cuda.init()  # a device with a number is not asked for by the next line otherwise
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self._known &= forget_peak()

    def bytes(self) -> int | None:
        """Bytes; None where the system does not tell."""
        held = self._held() if self._known else None
        return None if held is None else max(0, held - self._before)
