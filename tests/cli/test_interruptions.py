"""What goes wrong outside: Ctrl-C, kill -9, two writers, a full disk, a closed pipe; nothing is lost."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nbkit.runs import RunFolder
from nbkit.studies.store import RunStore

from .conftest import OFTEN, QUICK, Outcome

LONG = ("--set", "dim=8", "--train", "epochs=120", "--train", "batch_size=16", "--train", "patience=1000")
Process = Callable[..., Outcome]


def until_checkpoint(root: Path, child: subprocess.Popen[str], seconds: float = 30) -> None:
    """Wait until a fit has written a checkpoint."""
    deadline = time.monotonic() + seconds
    while not list(root.glob("*/checkpoint.safetensors")):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.01)


def results(root: Path) -> tuple[dict, bytes, list[float]]:
    """What must not depend on an interruption: metrics, weights and the history of the loss."""
    (run,) = RunStore(root).runs()
    metrics = run.read_json("metrics.json")
    fit = {name: value for name, value in metrics["fit"].items() if not name.endswith(("seconds", "_mb"))}
    return (
        {**metrics, "fit": fit},
        (run / "model.safetensors").read_bytes(),
        run.read_table("history.parquet")["loss"].tolist(),
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_training_goes_on_and_ends_as_if_nothing_had_happened(
    start: Callable[..., subprocess.Popen[str]],
    nbkit: Callable[..., Outcome],
    shop: Path,
    how: signal.Signals,
) -> None:
    command = ("train", "bpr", "--data", shop, *LONG)
    child = start(*command, "--runs", "disturbed", before=OFTEN)
    until_checkpoint(Path("disturbed"), child)
    child.send_signal(how)
    _, err = child.communicate(timeout=30)
    (run,) = RunStore("disturbed").runs()
    assert run.status == "stopped"
    if how == signal.SIGINT:
        assert child.returncode == 130, err
        assert "Traceback" not in err
        assert "goes on from its last checkpoint" in err.splitlines()[-1]
    checkpoint = run / "checkpoint.safetensors"
    assert checkpoint.exists()
    resumed = nbkit(*command, "--runs", "disturbed")
    assert resumed.code == 0, resumed.err
    assert "bpr seed 0: goes on after epoch" in resumed.err
    assert not checkpoint.exists()
    assert nbkit(*command, "--runs", "undisturbed").code == 0
    assert results(Path("disturbed")) == results(Path("undisturbed"))


def test_a_second_process_on_the_same_run_is_told_who_has_it(
    process: Process, nbkit: Callable[..., Outcome], shop: Path
) -> None:
    assert nbkit("train", "bpr", "--data", shop, *QUICK).code == 0
    (run,) = RunStore("runs").runs()
    (run / "DONE").unlink()
    with RunFolder(run.path).hold():
        assert f"run {run.id} is being written by process" in process("train", "bpr", "--data", shop, *QUICK).error
        assert RunStore("runs").frame()["status"].tolist() == ["running"]


def test_a_full_disk_costs_one_line_and_no_finished_run(
    process: Process, nbkit: Callable[..., Outcome], shop: Path
) -> None:
    def tiny_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))

    assert nbkit("train", "bpr", "--data", shop, *QUICK).code == 0
    (finished,) = RunStore("runs").runs()
    before = {path.name: path.read_bytes() for path in finished.path.iterdir()}
    second = ("train", "bpr", "--data", shop, "--seed", "1", *QUICK, "--set", "dim=64")
    assert "cannot write" in process(*second, preexec=tiny_files).err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in finished.path.iterdir()} == before
    assert sorted(RunStore("runs").frame()["status"]) == ["done", "stopped"]
    assert nbkit(*second).code == 0
    assert not list(Path("runs").rglob(".*.????????????????????????????????")), "temporary files were left behind"


def test_a_mistake_in_a_process_of_its_own_has_no_traceback(process: Process) -> None:
    assert "unknown model 'lightgnc'" in process("train", "lightgnc").error


def test_debugging_shows_where_a_mistake_arose(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NBKIT_DEBUG", "1")
    assert "Traceback" in process("models", "lightgnc").err


def test_a_reader_that_stops_reading_is_no_mistake(start: Callable[..., subprocess.Popen[str]]) -> None:
    child = start("models", "freedom")
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait(timeout=30) == 0
    assert child.stderr is not None
    assert child.stderr.read() == ""
    child.stdout = None
