"""``nbkit reproduce`` on small notebooks with real kernels: reported, interrupted, gone on with, a page of it all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from .conftest import HELP, Outcome, printed, write_notebook

Cli = Callable[..., Outcome]
FIGURE = """\
import plotly.graph_objects as go
from nbkit.plots import save_figure
fig = go.Figure(go.Bar(y=[bars]))
save_figure(fig, "bars", title="Bars & <more>", caption="<script>alert(1)</script>", formats=("json", "html"))
fig"""


def lines(outcome: Outcome) -> dict[str, str]:
    """What became of each notebook: the words behind its name."""
    found = [line.partition("] ")[2] for line in outcome.out.splitlines() if line.startswith("[")]
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in found}


def words(outcome: Outcome) -> dict[str, str]:
    return {name: line.split()[0] for name, line in lines(outcome).items()}


@pytest.fixture
def three() -> Path:
    """One notebook with a figure, one that fails and one behind it, and one that takes all that can be wished."""
    write_notebook(Path("notebooks/10_figure.ipynb"), f"bars: int = 2  {HELP}", FIGURE)
    write_notebook(Path("notebooks/20_broken.ipynb"), f"bars: int = 2  {HELP}", "1 / 0")
    write_notebook(Path("notebooks/25_behind.ipynb"), f"bars: int = 2  {HELP}", "1", after=("20_broken",))
    settings = ("data: str = 'built-in'", "epochs: int = 3", "seeds: list[int] = [0]", "executor: str = 'inline'")
    show = "import os\nprint(data, epochs, seeds, executor, os.environ.get('NBKIT_EXECUTOR'))"
    write_notebook(Path("notebooks/30_data.ipynb"), "\n".join(f"{line}  {HELP}" for line in settings), show)
    return Path("figures")


def test_a_failing_notebook_is_reported_the_others_run_and_the_page_shows_it_all(
    nbkit: Cli, three: Path, shop: Path
) -> None:
    options = ("--data", shop, "--preset", "paper", "--executor", "pool:2", "--jobs", "2")
    done = nbkit("reproduce", *options)
    assert done.code == 1
    told = {"10_figure": "done", "20_broken": "failed", "25_behind": "skipped:", "30_data": "done"}
    assert words(done) == told
    assert "cell 3 (1 / 0) raised ZeroDivisionError" in lines(done)["20_broken"]
    assert lines(done)["25_behind"] == "skipped: it comes after 20_broken"
    assert done.err.splitlines()[-1].endswith("1 of 4 notebooks failed, 1 behind them skipped")
    assert printed(three / "notebooks" / "30_data.ipynb") == f"{shop} 1000 [0, 1, 2, 3, 4] pool:2 pool:2\n"
    page = (three / "index.html").read_text()
    assert "Bars &amp; &lt;more&gt;" in page
    assert "<script>" not in page
    assert "ZeroDivisionError" in page
    every_link_leads_somewhere(three)
    assert "Plotly.newPlot" in (three / "notebooks" / "10_figure.html").read_text()

    assert words(nbkit("reproduce", *options)) == {**told, "10_figure": "unchanged", "30_data": "unchanged"}

    write_notebook(Path("notebooks/20_broken.ipynb"), f"bars: int = 2  {HELP}", "1 / 1")
    write_notebook(Path("notebooks/10_figure.ipynb"), f"bars: int = 3  {HELP}", FIGURE)
    alone = nbkit("reproduce", "--only", "25*", *options)
    assert alone.code == 0
    assert "25_behind comes after 20_broken: not chosen, taken as it is" in alone.err
    assert words(alone) == {"25_behind": "done"}
    assert "out of date" in (three / "index.html").read_text()
    every_link_leads_somewhere(three)


def every_link_leads_somewhere(figures: Path) -> None:
    """All that pages point to is a file below the folder, or a place on the page itself."""
    for page in figures.rglob("*.html"):
        text = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r'(?:href|src)="([^"]*)"', text):
            place, _, anchor = target.partition("#")
            if not place:
                assert f'id="{anchor}"' in text, (page, target)
            else:
                found = (page.parent / unquote(place)).resolve()
                assert found.is_file(), (page, target)
                assert found.is_relative_to(figures.resolve()), (page, target)


def test_reproducing_nothing_is_a_mistake(nbkit: Cli, three: Path) -> None:
    assert "no notebook '99*'" in nbkit("reproduce", "--only", "99*").error
    assert "no notebook '*' in 'nowhere'" in nbkit("reproduce", "--source", "nowhere").error
    assert "unknown data set" in nbkit("reproduce", "--data", "no/such/data").error
    assert "unknown executor 'pol'" in nbkit("reproduce", "--executor", "pol").error
    write_notebook(Path("notebooks/40_seeds.ipynb"), f"seeds: int = 0  {HELP}", "1")
    assert "seeds = [0, 1, 2, 3, 4]; expected int" in nbkit("reproduce", "--preset", "paper").error
    assert not three.exists()


SLOW = """\
import os, pathlib, time
pathlib.Path("pids").open("a").write(f"{os.getpid()}\\n")
try:
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
except KeyboardInterrupt:
    time.sleep(0.3)
    pathlib.Path("saved").open("a").write(name)"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Callable[[], bool], child: subprocess.Popen[str] | None = None, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert child is None or child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_reproduction_leaves_no_kernel_and_goes_on_where_it_was(
    start: Callable[..., subprocess.Popen[str]], nbkit: Cli, how: signal.Signals
) -> None:
    write_notebook(Path("notebooks/00_quick.ipynb"), f"name: str = 'quick'  {HELP}", "name")
    for name in ("10_slow", "11_slow"):
        write_notebook(Path(f"notebooks/{name}.ipynb"), f"name: str = '{name}'  {HELP}", SLOW, "name")
    child = start("reproduce", "--jobs", "2")
    record, pids = Path("figures/notebooks/reproduced.json"), Path("pids")
    wait_for(lambda: pids.exists() and pids.read_text().count("\n") == 2 and record.exists(), child)
    begun = [int(pid) for pid in pids.read_text().split()]
    assert all(map(alive, begun))
    child.send_signal(how)
    _, err = child.communicate(timeout=30)
    wait_for(lambda: not any(map(alive, begun)))
    if how == signal.SIGINT:
        assert child.returncode == 130, err
        assert err.splitlines()[-1] == "nbkit: stopped by Ctrl-C; what was finished is kept"
        assert "Traceback" not in err
        assert sorted(Path("saved").read_text().split("_slow")) == ["", "10", "11"], "cells saved their work"
        assert not list(Path("figures").rglob("*failed*"))
        assert Path("figures/index.html").exists()
    Path("go").touch()
    assert words(nbkit("reproduce")) == {"00_quick": "unchanged", "10_slow": "done", "11_slow": "done"}
    assert not Path("figures/.making").exists()
