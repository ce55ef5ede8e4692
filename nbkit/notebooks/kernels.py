"""Kernels for headless runs: environment, chatter kept aside, and a stop that lets a cell tidy up."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from typing import IO, Any

from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from traitlets import TraitError

GRACE = 30.0  # seconds that an interrupted cell may take to tidy up


class Stopped(Exception):
    """A notebook ended early because somebody asked for it."""


class Stop:
    """A wish to stop that may come from another thread than those in which notebooks are executed."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._heard_by: set[Kernels] = set()
        self._lock = threading.Lock()

    @property
    def asked(self) -> bool:
        """Whether somebody asked."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Interrupt the cells that run, so that a fit saves its state; no other cell begins."""
        self._asked.set()
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End kernels that did not hear it."""
        self._asked.set()
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with self._lock:
            heard_by = list(self._heard_by)
        for kernel in heard_by:
            if kernel.busy or number == signal.SIGKILL:
                kernel.send(number)

    @contextlib.contextmanager
    def reaching(self, kernel: Kernels) -> Iterator[None]:
        """Let this kernel be stopped meanwhile."""
        with self._lock:
            self._heard_by.add(kernel)
        try:
            yield
        finally:
            with self._lock:
                self._heard_by.discard(kernel)


class Kernels:
    """What one run shares with its kernel manager, which nbclient makes itself from the class ``manager``."""

    def __init__(self, env: Mapping[str, str], log: IO[str]) -> None:
        self.busy = False
        self.log = log
        self.made: list[AsyncKernelManager] = []
        kernel = self

        class KernelManager(AsyncKernelManager):
            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
                kernel.made.append(self)
                if self.has_trait("transport_encryption"):  # jupyter_client from 8.9 on
                    with contextlib.suppress(TraitError):  # ZeroMQ without Curve
                        self.transport_encryption = "auto"
                await super().start_kernel(**{**options, "env": dict(env), "stdout": log, "stderr": log})

            async def shutdown_kernel(self, now: bool = False, restart: bool = False) -> None:  # type: ignore[override]
                if kernel.busy and not now and await self.is_alive():
                    await _let_finish(self)
                await super().shutdown_kernel(now=now, restart=restart)

        self.manager = KernelManager

    def now_busy(self, cell: Any, cell_index: int) -> None:
        """A cell begins to run."""
        self.busy = True

    def now_idle(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        """The kernel answered: the cell is over, well or not."""
        self.busy = False

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the kernel and whatever it started, from any thread."""
        for manager in self.made:
            pid = getattr(manager.provisioner, "pid", None)
            if pid and manager.has_kernel:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)  # a kernel leads a process group of its own

    def last_words(self) -> str:
        """The last line that the kernel itself wrote."""
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or [""])[-1][:200]


async def _let_finish(manager: AsyncKernelManager) -> None:
    """Interrupt the running cell and wait until it is over: a fit stopped by Ctrl-C still saves its state.

    The kernel has a session of its own, so the terminal's Ctrl-C never reached it.
    """
    await manager.interrupt_kernel()
    client = manager.client()
    client.start_channels()
    try:
        await client.wait_for_ready(timeout=GRACE)  # it asks on the channel that the cell occupies
    except RuntimeError:
        pass  # it does not listen: the shutdown that follows ends it
    finally:
        client.stop_channels()


@contextlib.contextmanager
def kernels(env: Mapping[str, str]) -> Iterator[Kernels]:
    """The kernel of one run with the given environment; whatever happens, no kernel is left behind."""
    with tempfile.TemporaryFile("w+") as log:
        kernel = Kernels(env, log)
        try:
            yield kernel
        finally:
            for manager in kernel.made:
                if manager.has_kernel:  # Ctrl-C while the kernel was starting: nbclient has let go of it
                    run_sync(manager.shutdown_kernel)(now=True)
