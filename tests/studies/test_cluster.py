"""Ray: the same numbers as inline and pool on a real cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from nbkit.data import catalog
from nbkit.errors import UserError
from nbkit.runs import RunFolder
from nbkit.studies import cluster, declaration
from nbkit.studies.cluster import Ray, places
from nbkit.studies.datasets import Datasets
from nbkit.studies.executors import Task
from nbkit.studies.planning import plan, results
from nbkit.studies.pool import Pool
from nbkit.studies.running import State, execute
from nbkit.studies.study import Study, grid, robustness

TINY = "boutique:tiny"
SMALL = {"dim": 8}
SHORT = {"epochs": 2, "batch_size": 256}
LONG = {"epochs": 600, "batch_size": 256, "patience": 1000, "eval_every": 20}
STUDY = robustness(
    ["bpr", "lightgcn"], TINY, operators="drop_edges", rates=[0, 0.2], seeds=[0, 1], settings=SMALL, training=SHORT
)
ONE_LONG = grid("bpr", TINY, seeds=[0], settings=SMALL, training=LONG)
BYTES = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
# A dead node is noticed after a second, and runs are not made to wait behind everything else that this machine does.
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 5}
SYSTEM = {**SOON, "worker_niceness": 0}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[SimpleNamespace]:
    """A head and one more node, a CPU each, on this machine; nothing of them is left afterwards."""
    ray = pytest.importorskip("ray", reason="the extra nbkit[ray] is not installed")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # Ray's sockets lie deep in it, and their paths must be short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(cluster.__file__).parents[2]), *sys.path]))
        patch.delenv("RAY_ADDRESS", raising=False)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": SYSTEM, **BYTES})
        try:
            second = nodes.add_node(num_cpus=1, **BYTES)
            cluster.connected(nodes.address)
            yield SimpleNamespace(ray=ray, address=nodes.address, nodes=nodes, second=second)
        finally:
            ray.shutdown()
            nodes.shutdown()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    list(execute(STUDY + ONE_LONG, root=root))
    return root


def numbers(study: Study, root: Path) -> dict[str, object]:
    """What must not depend on who computed a run or on what happened meanwhile."""
    table = results(study, root)
    kept = [name for name in table if str(name).startswith("valid.") or name in ("run", "fit.epochs", "fit.best_epoch")]
    runs = [RunFolder(root / run) for run in table["run"]]
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    return {"metrics": table[kept].to_dict("list"), "weights": weights, "files": [sorted(r.packed()) for r in runs]}


def once(happened: Callable[[], bool], act: Callable[[], object]) -> Callable[[State], None]:
    """A watcher that acts the first time that something is so."""
    done: list[bool] = []

    def watch(state: State) -> None:
        if not done and happened():
            done.append(True)
            act()

    return watch


def interrupt() -> None:
    raise KeyboardInterrupt


def test_inline_pool_and_ray_give_the_same_ids_metrics_weights_and_files(
    two_nodes: SimpleNamespace, undisturbed: Path, tmp_path: Path
) -> None:
    from nbkit.cli import app

    file, shared, apart, pool = declaration.write(STUDY, tmp_path / "s.toml"), *(tmp_path / n for n in "abc")
    for root, more in ((shared, ["--shared"]), (apart, [])):
        command = ["study", "run", str(file), "--executor", "ray", "--address", two_nodes.address, "--runs", str(root)]
        done = CliRunner().invoke(app, command + more)
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[-1] == "robustness: 8 runs (8 done)"
    list(execute(STUDY, Pool(1, threads=1), root=pool))
    assert numbers(STUDY, shared) == numbers(STUDY, apart) == numbers(STUDY, pool) == numbers(STUDY, undisturbed)
    environments = [planned.run.read_json("environment.json") for planned in plan(STUDY, apart).runs]
    assert {(found["threads"], found["device"]) for found in environments} == {(1, "cpu")}


def test_test_splits_are_opened_on_the_nodes_of_runs_that_are_there(
    two_nodes: SimpleNamespace, undisturbed: Path, tmp_path: Path
) -> None:
    study = grid("bpr", TINY, seeds=[0], settings=SMALL, training=SHORT)
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    (outcome,) = execute(study, Ray(), root=tmp_path, test=True)
    assert (outcome.status, outcome.fresh) == ("done", True)
    (before,) = (planned.run for planned in plan(study, undisturbed).runs)
    after = outcome.run.read_json("metrics.json")
    assert after.pop("test")["train"]["recall@20"] >= 0
    assert after == before.read_json("metrics.json")


def test_a_run_that_fails_by_itself_is_an_outcome_and_the_others_go_on(
    two_nodes: SimpleNamespace, tmp_path: Path
) -> None:
    study = grid(["vbpr", "bpr"], "bare", seeds=[0], settings=SMALL, training=SHORT)
    bare = catalog.load(TINY).replace(features={})  # of a name that no node could load
    outcomes = execute(study, Ray(jobs=2), root=tmp_path, datasets=Datasets({"bare": bare}))
    ends = {outcome.experiment.model: outcome for outcome in outcomes}
    assert {model: end.status for model, end in ends.items()} == {"vbpr": "failed", "bpr": "done"}
    assert "vbpr" in ends["vbpr"].reason
    assert ends["vbpr"].run.read_json("failed.json")["reason"] == ends["vbpr"].reason


def test_a_run_that_another_process_has_is_left_to_it(two_nodes: SimpleNamespace, tmp_path: Path) -> None:
    study = grid("bpr", TINY, seeds=[0], settings=SMALL, training=SHORT)
    (planned,) = plan(study, tmp_path).runs
    with planned.run.hold():
        for executor in (Ray(), Ray(shared=True)):
            (outcome,) = execute(study, executor, root=tmp_path)
            assert (outcome.status, outcome.reason.split(" by process ")[1]) == (
                "running",
                f"{os.getpid()}; wait for it or stop it",
            )
    assert [outcome.status for outcome in execute(study, Ray(), root=tmp_path)] == ["done"]


def test_after_ctrl_c_the_checkpoint_comes_back_from_the_node_and_the_run_goes_on_from_it(
    two_nodes: SimpleNamespace, undisturbed: Path, tmp_path: Path
) -> None:
    (planned,) = plan(ONE_LONG, tmp_path).runs
    checkpoint = f"nbkit-*/{planned.run.id}/checkpoint.safetensors"
    seen: list[tuple[str, list[str]]] = []

    def there() -> bool:
        seen.append((planned.run.status, sorted(planned.run.packed())))
        return bool(list(Path(tempfile.gettempdir()).glob(checkpoint)))

    ray = Ray(tick_seconds=0.05)
    stopped = list(execute(ONE_LONG, ray, root=tmp_path, watch=once(there, interrupt)))
    assert [outcome.status for outcome in stopped] == ["stopped"]
    assert ("running", []) in seen
    assert {status for status, files in seen if files} == set()  # nothing half done is ever seen here
    before = epochs(planned.run)
    assert [outcome.status for outcome in execute(ONE_LONG, ray, root=tmp_path)] == ["done"]
    assert gone_on(planned.run, before)
    assert numbers(ONE_LONG, tmp_path) == numbers(ONE_LONG, undisturbed)


def epochs(run: RunFolder) -> list[float]:
    """What the epochs of a run took, by its checkpoint: no two sessions give the same numbers."""
    with safe_open(run / "checkpoint.safetensors", framework="pt") as archive:
        return [row["seconds"] for row in json.loads(archive.metadata()["state"])["history"]]


def gone_on(run: RunFolder, before: list[float]) -> bool:
    """Whether a finished run has the epochs of an earlier session, and more."""
    taken = run.read_table("history.parquet")["seconds"].tolist()
    return 0 < len(before) < len(taken) and taken[: len(before)] == before


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def holder(run: RunFolder) -> int:
    """The process that computes a run at the moment, 0 for none."""
    return int((run / ".lock").read_text() or 0) if run.status == "running" else 0


def on_second_node(nodes: SimpleNamespace, run: RunFolder) -> bool:
    """Whether a run is under way there, past its first checkpoint."""
    process = holder(run) if (run / "checkpoint.safetensors").exists() else 0
    return process > 0 and parent(process) == nodes.second.all_processes["raylet"][0].process.pid


@pytest.fixture
def head_is_busy(two_nodes: SimpleNamespace) -> Iterator[Any]:
    """A task on the head's one CPU, so that others go to the second node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(two_nodes.ray.get_runtime_context().get_node_id(), soft=False)
    sleep = two_nodes.ray.remote(lambda: time.sleep(600))
    task = sleep.options(num_cpus=1, scheduling_strategy=here, max_retries=0).remote()
    yield task
    two_nodes.ray.cancel(task, force=True)


def test_a_node_killed_in_the_middle_of_a_run_costs_a_part_of_it_and_no_number(
    two_nodes: SimpleNamespace, head_is_busy: Any, undisturbed: Path, tmp_path: Path
) -> None:
    (planned,) = plan(ONE_LONG, tmp_path).runs
    before: list[float] = []

    def kill() -> None:
        before.extend(epochs(planned.run))
        two_nodes.nodes.remove_node(two_nodes.second, allow_graceful=False)
        two_nodes.ray.cancel(head_is_busy, force=True)

    watch = once(lambda: on_second_node(two_nodes, planned.run), kill)
    executor = Ray(shared=True, tick_seconds=0.05)
    assert executor.workers == 2
    (outcome,) = execute(ONE_LONG, executor, root=tmp_path, watch=watch)
    assert outcome.status == "done"
    assert outcome.reason.startswith("its process or node died 1 times (")
    assert executor.workers == 1
    assert gone_on(planned.run, before)
    assert numbers(ONE_LONG, tmp_path) == numbers(ONE_LONG, undisturbed)


def test_a_run_whose_process_dies_too_often_has_failed(two_nodes: SimpleNamespace, tmp_path: Path) -> None:
    (planned,) = plan(ONE_LONG, tmp_path).runs
    kill = once(lambda: holder(planned.run) > 0, lambda: os.kill(holder(planned.run), signal.SIGKILL))
    (outcome,) = execute(ONE_LONG, Ray(shared=True, attempts=1, tick_seconds=0.05), root=tmp_path, watch=kill)
    assert (outcome.status, planned.run.status) == ("failed", "failed")
    assert "died 1 times (WorkerCrashedError); killed, or out of memory?" in outcome.reason


def test_a_cluster_without_room_is_told_at_once(two_nodes: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cpus = 64, gpus = 0; no node has that much \(nodes: 1 CPUs and 0 GPUs"):
        list(execute(ONE_LONG, Ray(cpus=64), root=tmp_path))


# --- what needs no cluster ---


def test_without_ray_there_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray is not installed; expected `pip install 'nbkit\[ray\]'`"):
        Ray()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:head"])
def test_an_address_where_no_cluster_answers_is_told_at_once(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
    with pytest.raises(UserError, match=f"ray: address = '{address}': .*; expected HOST:PORT of a cluster's head"):
        cluster.connected(address)


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "room"),
    [
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 4, 0.1, 2),
        ({"CPU": 20.0, "GPU": 1.0}, 1, 0.1, 10),
        ({"CPU": 8.0}, 3, 0.0, 2),
        ({"CPU": 8.0}, 1, 1.0, 0),
        ({}, 1, 0.0, 0),
    ],
)
def test_a_node_has_room_for_whole_runs_on_single_gpus(
    node: dict[str, float], cpus: int, gpus: float, room: int
) -> None:
    assert places(node, cpus, gpus) == room


def task_of(root: Path) -> Task:
    (planned,) = plan(grid("bpr", TINY, seeds=[0], settings=SMALL, training=SHORT), root).runs
    return Task(planned.experiment, planned.run)


def test_a_node_that_does_not_see_the_shared_folder_or_has_other_code_computes_nothing(tmp_path: Path) -> None:
    task, shop = task_of(tmp_path), catalog.load(TINY)
    with pytest.raises(UserError, match="is not the runs folder of this study; expected shared storage"):
        cluster._compute(task, None, shop, 1, "cpu", 0.0)
    other = replace(task, run=RunFolder(tmp_path / "0123456789abcdef"))
    with pytest.raises(UserError, match=f"run 0123456789abcdef would be {task.run.id} on node"):
        cluster._compute(other, {}, shop, 1, "cpu", 0.0)
    assert not list(tmp_path.rglob("*.*"))


def test_the_lock_of_a_dead_node_is_waited_for_as_long_as_the_storage_may_need(tmp_path: Path) -> None:
    task, shop = task_of(tmp_path), catalog.load(TINY)
    freed, held = threading.Event(), threading.Event()

    def dead_node() -> None:
        with task.run.hold():
            held.set()
            freed.wait(1.5)

    holder = threading.Thread(target=dead_node)
    holder.start()
    held.wait()
    first, _ = cluster._compute(task, None, shop, 1, "cpu", 0.0)
    again, _ = cluster._compute(task, None, shop, 1, "cpu", 30.0)
    holder.join()
    assert (first.status, again.status) == ("running", "done")


def test_a_cancellation_that_comes_after_the_last_batch_loses_nothing_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, shop, packed = task_of(tmp_path), catalog.load(TINY), RunFolder.packed

    def cancelled(run: RunFolder) -> dict[str, bytes]:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pytest.fail("interrupted while the run was packed")
        return packed(run)

    monkeypatch.setattr(RunFolder, "packed", cancelled)
    outcome, files = cluster._compute(task, {}, shop, 1, "cpu", 0.0)
    assert (outcome.status, "DONE" in (files or {})) == ("done", True)
