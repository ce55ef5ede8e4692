"""A JupyterLab of its own, and a journey through one of its notebooks: what is seen, and what the kernel says."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client import BlockingKernelClient

LAB = [
    "--no-browser",
    "--ServerApp.port_retries=0",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.extension_manager=readonly",
    "--allow-root",
]
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Lab:
    """A JupyterLab of its own: its folder, address and runtime files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        places = {f"JUPYTER_{name}_DIR": str(folder / f".{name.lower()}") for name in ("RUNTIME", "CONFIG", "DATA")}
        own = {"NBKIT_RUNS": str(folder / "runs"), "NBKIT_FIGURES": str(folder / "figures"), "OMP_NUM_THREADS": "1"}
        environment = {
            **os.environ,
            **places,
            **own,
            "HOME": str(folder),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / ".lab"),
        }
        quiet = folder / ".lab" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        quiet.parent.mkdir(parents=True)
        quiet.write_text('{"fetchNews": "false", "checkForUpdates": false}')
        environment.pop("NBKIT_HEADLESS", None)
        command = [sys.executable, "-m", "jupyterlab", *LAB, f"--ServerApp.port={self.port}"]
        command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={self.token}"]
        self.log = open(folder / "lab.log", "w")  # noqa: SIM115
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=self.log, stderr=self.log, start_new_session=True
        )
        self._wait()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}{'&' if '?' in path else '?'}token={self.token}"

    def _wait(self) -> None:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(self.url("api/status"), timeout=5).read()
                return
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "lab.log").read_text()[-2000:]) from None
                time.sleep(0.2)

    def sessions(self) -> list[dict[str, Any]]:
        found = json.loads(urllib.request.urlopen(self.url("api/sessions"), timeout=60).read())
        return list(found)

    def fresh(self) -> None:
        """Forget the runs of a journey before, and the theme that it chose: journeys may come in any order."""
        shutil.rmtree(self.folder / "runs", ignore_errors=True)
        for chosen in (self.folder / ".lab").rglob("themes.jupyterlab-settings"):
            chosen.unlink()

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.log.close()


class Journey:
    """A notebook that was opened and run: ``page`` is what is seen, ``kernel`` what is computed."""

    def __init__(self, lab: Lab, page: Any, name: str) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.complaints: list[str] = []
        page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self._kernel: BlockingKernelClient | None = None

    def open(self, *, seconds: float = 600) -> None:
        """Open the notebook, run all of it, and wait until it is done."""
        page = self.page
        page.goto(self.lab.url(f"lab/tree/{self.name}?reset"))
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
        assert self.value("1") == 1, "the kernel is there"
        page.keyboard.press("Control+b")  # the file list goes: the notebook has the page to itself
        page.locator('.lm-MenuBar-itemLabel:text-is("Run")').click()
        page.locator('li[data-command="runmenu:run-all"]').click()
        self.settle(seconds)

    def settle(self, seconds: float = 60) -> None:
        """Wait until every cell has run, or one has failed."""
        notebook = json.loads((self.lab.folder / self.name).read_text())
        cells = sum(cell["cell_type"] == "code" for cell in notebook["cells"])
        end = time.monotonic() + seconds
        while self.value("get_ipython().execution_count", seconds=seconds) <= cells:
            failed = self.page.locator('[data-mime-type="application/vnd.jupyter.error"]')
            assert not failed.count(), failed.first.inner_text()
            assert time.monotonic() < end, f"{self.name} still runs after {seconds:g} s"
            time.sleep(0.3)

    def value(self, expression: str, *, seconds: float = 120) -> Any:
        """What an expression is worth in the notebook's kernel, by way of JSON."""
        if self._kernel is None:
            session = self._session()
            file = self.lab.folder / ".runtime" / f"kernel-{session['kernel']['id']}.json"
            self._kernel = BlockingKernelClient(connection_file=str(file))
            self._kernel.load_connection_file()
            self._kernel.start_channels()
            self._kernel.wait_for_ready(timeout=90)
        asked = {"value": f"__import__('json').dumps({expression})"}
        reply = self._kernel.execute_interactive("", user_expressions=asked, silent=True, timeout=seconds)
        answer = reply["content"]["user_expressions"]["value"]
        assert answer["status"] == "ok", answer
        return json.loads(_unquoted(answer["data"]["text/plain"]))

    def _session(self) -> dict[str, Any]:
        """The notebook's session, as soon as the page has begun one."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if found := [s for s in self.lab.sessions() if s["path"] == self.name]:
                return found[0]
            time.sleep(0.2)
        raise AssertionError(f"{self.name} has no kernel after two minutes")

    def until(self, expression: str, wanted: Callable[[Any], bool], *, seconds: float = 90) -> Any:
        """The kernel's value of an expression as soon as it is what is wanted."""
        end = time.monotonic() + seconds
        while not wanted(found := self.value(expression)):
            assert time.monotonic() < end, f"{expression} is still {found!r} after {seconds:g} s"
            time.sleep(0.1)
        return found

    def theme(self, name: str) -> None:
        """JupyterLab's theme: ``JupyterLab Dark`` or ``JupyterLab Light``."""
        page = self.page
        page.keyboard.press("Control+Shift+C")
        page.keyboard.type(f"Use Theme: {name}")
        page.locator(".lm-CommandPalette-item.lm-mod-active").first.click()
        page.wait_for_function("n => document.body.dataset.jpThemeName === n", arg=name)

    def slider(self, label: str) -> Any:
        """The handle of a slider, to be focused and moved by keys."""
        return self.page.locator(f'.widget-slider:has(label:text-is("{label}")) .noUi-handle')

    def press(self, handle: Any, key: str, times: int = 1) -> None:
        handle.focus()
        for _ in range(times):
            self.page.keyboard.press(key)

    def shot(self, name: str, selector: str = ".nbkit-instrument") -> None:
        """Keep a picture of the instrument where ``NBKIT_SHOTS`` says, for eyes."""
        if folder := os.environ.get("NBKIT_SHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            size = self.page.viewport_size
            self.page.set_viewport_size({**size, "height": 1800})
            self.page.locator(selector).first.scroll_into_view_if_needed()
            self.page.wait_for_timeout(400)
            self.page.locator(selector).first.screenshot(path=f"{folder}/{name}.png")
            self.page.set_viewport_size(size)

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.stop_channels()
        for session in self.lab.sessions():
            kernel = self.lab.url(f"api/kernels/{session['kernel']['id']}")
            urllib.request.urlopen(urllib.request.Request(kernel, method="DELETE"), timeout=60).read()


def _unquoted(text: str) -> str:
    import ast

    return str(ast.literal_eval(text))
