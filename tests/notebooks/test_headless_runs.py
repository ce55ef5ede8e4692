"""Headless runs: refused early, written whole, honest about failures; goldens that nbval compares."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from nbkit.errors import UserError
from nbkit.notebooks import clean, regold, run_notebook
from nbkit.notebooks.files import GOLDEN
from nbkit.notebooks.running import Log

pytest.importorskip("papermill")
Make = Callable[..., Path]
P = ("epochs: int = 3  # passes\nrates: tuple[float, ...] = (0.1,)  # noise", "parameters")


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a kernel was started")

    monkeypatch.setattr("papermill.execute_notebook", refuse)


@pytest.mark.usefixtures("no_kernel")
def test_bad_input_is_refused_before_a_kernel_starts(make: Make, tmp_path: Path) -> None:
    path = make("n.ipynb", "# T", P)
    with pytest.raises(UserError, match="unknown parameter 'epoch'; did you mean 'epochs'"):
        run_notebook(path, {"epoch": 1}, tmp_path / "o.ipynb")
    with pytest.raises(UserError, match="no such folder"):
        run_notebook(path, {}, tmp_path / "o.ipynb", cwd=tmp_path / "none")
    with pytest.raises(UserError, match="is the notebook itself"):
        run_notebook(path, {}, path)
    with pytest.raises(UserError, match=r"expected the name of an \.ipynb file"):
        run_notebook(path, {}, tmp_path)
    with pytest.raises(UserError, match="output folder"):
        run_notebook(path, {}, path / "o.ipynb")
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_injects_typed_values_and_says_what_it_does(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = "os.environ['NBKIT_HEADLESS'], os.environ['NBKIT_NOTEBOOK']"
    seen = f"import os\nprint(epochs, rates, {variables}, os.getcwd())"
    wanted = ("1 / 0", "raises-exception")  # shown to the reader on purpose: no failure
    path = make(
        "n.ipynb",
        "# T",
        P,
        (seen,),
        wanted,
        ("import ipywidgets\nipywidgets.IntSlider()",),
    )
    before = path.read_bytes()
    where = tmp_path / "work"
    where.mkdir()
    output = run_notebook(
        path, {"epochs": "5", "rates": "0.3,0.4"}, tmp_path / "out" / "o.ipynb", cwd=where, watch=Log()
    )
    notebook = nbformat.read(output, as_version=4)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown"] + ["code"] * 5
    assert notebook.cells[3].outputs[0].text == f"5 (0.3, 0.4) 1 {output.absolute()} {where}\n"
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.papermill.parameters == {"epochs": 5, "rates": [0.3, 0.4]}
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.failed.ipynb"))
    log = capsys.readouterr().err.splitlines()
    assert [line.split("s  ", 1)[-1] for line in log if line.startswith("[ 3/5]")] == ["import os"]
    assert any("5 (0.3, 0.4)" in line for line in log), "what a cell prints is streamed"


def test_a_failing_cell_is_one_line_and_the_part_done_is_kept(make: Make, tmp_path: Path) -> None:
    path = make(
        "n.ipynb",
        "# T",
        P,
        ("print('done')",),
        ("x = 1\nraise ValueError('two\\nlines')",),
        ("print('never')",),
    )
    old = tmp_path / "o.ipynb"
    old.write_text("older result")
    with pytest.raises(UserError) as error:
        run_notebook(path, {"epochs": 2}, old)
    assert str(error.value).startswith("notebook n.ipynb: cell 4 (x = 1) raised ValueError: two lines; ")
    assert old.read_text() == "older result"
    partial = nbformat.read(tmp_path / "o.failed.ipynb", as_version=4)
    outputs = [cell.outputs for cell in partial.cells if cell.cell_type == "code"]
    assert outputs[2][0].text == "done\n"
    assert outputs[3][0].ename == "ValueError"
    assert outputs[4] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [("import time; time.sleep(30)", "took longer than 1 s"), ("import os; os._exit(1)", "the kernel died")],
)
def test_a_cell_that_hangs_or_kills_the_kernel_is_one_line(make: Make, tmp_path: Path, source: str, said: str) -> None:
    path = make("n.ipynb", "# T", P, (source,))
    with pytest.raises(UserError, match=said) as error:
        run_notebook(path, {}, tmp_path / "o.ipynb", timeout=1)
    assert "n.ipynb: cell 3" in str(error.value)
    assert (tmp_path / "o.failed.ipynb").exists()
    assert not (tmp_path / "o.ipynb").exists()


INTERRUPTED = """\
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from nbkit.notebooks import run_notebook
from nbkit.notebooks.running import Log
run_notebook(sys.argv[1], {}, sys.argv[2], watch=Log())"""
PATIENT = """\
import os, time
open("pid", "w").write(str(os.getpid()))
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    open("saved", "w").write("saved")"""


def test_ctrl_c_lets_the_cell_save_and_leaves_no_half_file_and_no_kernel(make: Make, tmp_path: Path) -> None:
    path = make("n.ipynb", "# T", P, (PATIENT,))
    where = tmp_path / "work"
    where.mkdir()
    command = [sys.executable, "-c", INTERRUPTED, str(path), str(tmp_path / "o.ipynb")]
    package = str(Path(__file__).parents[2])
    with subprocess.Popen(
        command, cwd=where, env={**os.environ, "PYTHONPATH": package}, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        for line in run.stderr:
            if line.strip() == "ready":
                break
        run.send_signal(signal.SIGINT)
        rest = run.stderr.read()
    assert "KeyboardInterrupt" in rest
    assert (where / "saved").read_text() == "saved"
    assert not list(tmp_path.glob("*o*.ipynb"))
    kernel = int((where / "pid").read_text())
    for _ in range(50):
        try:
            os.kill(kernel, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        pytest.fail("the kernel is still running")


def test_ctrl_c_while_the_kernel_starts_leaves_no_kernel(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbkit.notebooks import kernels

    made = []
    original = kernels.Kernels.__init__

    def remember(self: kernels.Kernels, *args: object) -> None:
        original(self, *args)  # type: ignore[arg-type]
        made.append(self)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(kernels.Kernels, "__init__", remember)
    monkeypatch.setattr("nbclient.client.NotebookClient.start_new_kernel_client", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_notebook(make("n.ipynb", "# T", P), {}, tmp_path / "o.ipynb")
    (kernel,) = made
    assert len(kernel.made) == 1
    assert not kernel.made[0].has_kernel


def test_goldens_are_compared_by_nbval(make: Make, tmp_path: Path) -> None:
    keep = "import os\nos.makedirs(os.environ.get('NBKIT_RUNS', 'runs'), exist_ok=True)"
    right = make("right.ipynb", "# T", P, (keep,), ("epochs + 1", GOLDEN))
    assert regold(right) == right
    assert not (tmp_path / "runs").exists(), "goldens are computed anew, and nothing is left beside the notebook"
    assert clean(right, check=True) == []
    cells = nbformat.read(right, as_version=4).cells
    assert [c.get("execution_count") for c in cells] == [None, None, None, 1]
    assert cells[3].outputs[0].data["text/plain"] == "4"
    wrong = tmp_path / "wrong.ipynb"
    wrong.write_text(right.read_text().replace('"4"', '"5"'))
    options = ["-p", "nbval.plugin", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", "-q"]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1, done.stdout
    assert "wrong.ipynb" in failed[0]


def test_a_failing_notebook_keeps_its_goldens(make: Make) -> None:
    path = make("n.ipynb", "# T", P, ("1", GOLDEN), ("1 / 0",))
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"cell 4 \(1 / 0\) raised ZeroDivisionError"):
        regold(path)
    assert path.read_bytes() == before
