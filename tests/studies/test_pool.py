"""A pool of processes: the same numbers as inline whoever is killed, and no more threads than cores."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
import torch

from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies import pool
from nbkit.studies.executors import Task
from nbkit.studies.planning import plan, results
from nbkit.studies.pool import Pool, choose
from nbkit.studies.running import State, execute
from nbkit.studies.study import grid, robustness

TINY = "boutique:tiny"
LONG = {"epochs": 600, "batch_size": 256, "patience": 1000, "eval_every": 20}
STUDY = grid("bpr", TINY, seeds=[0], settings={"dim": 8}, training=LONG) + robustness(
    "bpr", TINY, operators="drop_edges", rates=[0.2], seeds=[0], settings={"dim": 8}, training={"epochs": 2}
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    assert torch.get_num_threads() == 1
    list(execute(STUDY, root=root))
    return root


def numbers(root: Path) -> dict[str, object]:
    """What must not depend on who computed a run or on what happened meanwhile."""
    table = results(STUDY, root)
    kept = [name for name in table if str(name).startswith("valid.") or name in ("run", "fit.epochs", "fit.best_epoch")]
    weights = [(root / run / "model.safetensors").read_bytes() for run in table["run"]]
    losses = [RunFolder(root / run).read_table("history.parquet")["loss"].tolist() for run in table["run"]]
    return {"metrics": table[kept].to_dict("list"), "weights": weights, "losses": losses}


def once_there_is_a_checkpoint(root: Path, act: Callable[[RunFolder], None]) -> Callable[[State], None]:
    """A watcher that acts once, in the middle of the long run."""
    done: list[Path] = []

    def watch(state: State) -> None:
        found = list(root.glob("*/checkpoint.safetensors"))
        if found and not done and RunFolder(found[0].parent).status == "running":
            done.extend(found)
            act(RunFolder(found[0].parent))

    watch.done = done  # type: ignore[attr-defined]
    return watch


def kill(run: RunFolder) -> None:
    os.kill(int((run / ".lock").read_text()), signal.SIGKILL)


def interrupt(run: RunFolder) -> None:
    raise KeyboardInterrupt


def test_a_killed_process_and_ctrl_c_change_no_number_and_threads_are_no_more_than_cores(
    tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # what a process would take if it were not told
    four = Pool(4, tick_seconds=0.05)
    stopping = once_there_is_a_checkpoint(tmp_path, interrupt)
    ends = {o.experiment.noise: o.status for o in execute(STUDY, four, root=tmp_path, watch=stopping)}
    assert ends == {e.noise: "done" if e.noise else "stopped" for e in STUDY}
    killing = once_there_is_a_checkpoint(tmp_path, kill)
    assert [o.status for o in execute(STUDY, four, root=tmp_path, watch=killing)] == ["done", "done"]
    assert killing.done  # type: ignore[attr-defined]
    assert numbers(tmp_path) == numbers(undisturbed)
    for planned in plan(STUDY, tmp_path).runs:
        assert planned.run.read_json("environment.json")["threads"] == 1


def test_a_run_whose_process_dies_too_often_has_failed(tmp_path: Path) -> None:
    killed: list[RunFolder] = []

    def killing(state: State) -> None:
        for planned in plan(STUDY, tmp_path).runs if not killed else ():
            if not planned.experiment.noise and planned.status == "running":
                killed.append(planned.run)
                kill(planned.run)

    once = Pool(1, threads=1, attempts=1, tick_seconds=0.05)
    outcomes = {o.experiment.noise: o for o in execute(STUDY, once, root=tmp_path, watch=killing)}
    assert {o.status for noise, o in outcomes.items() if noise} == {"done"}
    assert outcomes[()].reason.startswith("its process died 1 times")
    assert plan(STUDY, tmp_path).counts == {"failed": 1, "done": 1}


@pytest.mark.parametrize(
    ("jobs", "threads", "cores", "workers", "each"),
    [(4, None, 2, 2, 1), (2, None, 8, 2, 4), (3, None, 8, 3, 2), (4, 2, 2, 1, 2), (1, 16, 8, 1, 8), (2, 1, 8, 2, 1)],
)
def test_threads_never_outnumber_cores(
    monkeypatch: pytest.MonkeyPatch, jobs: int, threads: int | None, cores: int, workers: int, each: int
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    found = Pool(jobs, threads)
    assert (found.workers, found.threads_each) == (workers, each)
    assert found.workers * found.threads_each <= cores


def test_a_process_inherits_its_threads_and_this_one_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pool.child_environment(3):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == ("3", "3")
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_runs_on_the_same_data_stay_in_one_process_and_what_does_not_fit_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = robustness(["bpr", "lightgcn"], TINY, operators="drop_edges", rates=[0, 0.1, 0.2], seeds=[0])
    peaks = {"bpr": 100.0, "lightgcn": 600.0}
    tasks = [Task(e, RunFolder(tmp_path / "r"), peak_mb=peaks[e.model]) for e in study]
    keys = [pool.data_key(task.experiment) for task in tasks]
    assert choose(tasks, keys[2], set(), [], None) is tasks[2]
    assert choose(tasks, "", {keys[0]}, [1.0], None) is tasks[2]
    assert choose(tasks, "", set(keys), [1.0], None) is tasks[0]
    monkeypatch.setattr(pool, "free_mb", lambda: 900.0)
    assert choose(tasks, keys[3], set(), [600.0], 1000.0) is tasks[2]  # beside 600 MB there is no room for its lightgcn
    assert choose(tasks[1:2], "", set(), [600.0], 1000.0) is None
    assert choose(tasks[1:2], "", set(), [], 100.0) is tasks[1]  # alone, it is tried
    assert choose([], "", set(), [], None) is None


def test_free_memory_is_what_the_system_says() -> None:
    free = pool.free_mb()
    assert free is None or 0 < free < 1e8
    assert json.dumps(free)


def test_a_pool_of_nobody_is_refused() -> None:
    with pytest.raises(UserError, match="pool: jobs = 0; expected 1 or more"):
        Pool(0)
