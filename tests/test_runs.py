from __future__ import annotations

import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pandas as pd
import pytest

from nbkit.errors import RunBusyError, UserError
from nbkit.paths import writable_folder, write_atomic
from nbkit.repro import code_version, generator, modules_behind
from nbkit.runs import RunFolder, run_id


def in_another_process(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, **options
    )


def test_equal_settings_have_one_id_and_any_difference_another():
    ids = {
        run_id({"a": 1, "b": (1, 2)}, "data", "code"),
        run_id({"b": [1, 2], "a": 1}, "data", "code"),
        run_id({"a": 2, "b": (1, 2)}, "data", "code"),
        run_id({"a": 1, "b": (1, 2)}, "other", "code"),
        run_id({"a": 1, "b": (1, 2)}, "data", "other"),
    }
    assert len(ids) == 4


def test_a_failed_write_leaves_the_old_file_and_no_scraps(tmp_path):
    write_atomic(tmp_path / "f", "old")

    def fail(file):
        file.write(b"new and half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device; nothing there was changed"):
        write_atomic(tmp_path / "f", fail)
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_whoever_reads_while_a_file_is_replaced_sees_it_whole(tmp_path):
    write_atomic(tmp_path / "f", "old")
    with open(tmp_path / "f") as reader:
        write_atomic(tmp_path / "f", "new")
        assert reader.read() == "old"
    assert (tmp_path / "f").read_text() == "new"


def test_a_disk_that_fills_up_during_a_save_loses_nothing_finished(tmp_path):
    """The kernel itself refuses bytes past a limit, in the middle of a write."""
    write_atomic(tmp_path / "f", "old")

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = in_another_process(
        f"""
        import sys, torch
        from pathlib import Path
        from nbkit.training.checkpoint import save_weights
        try:
            save_weights(Path({str(tmp_path / "f")!r}), {{"w": torch.zeros(100_000)}})
        except ValueError as error:
            sys.exit(str(error))
        """,
        preexec_fn=limit,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr
    assert (tmp_path / "f").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a writable folder"):
        writable_folder(tmp_path / "file" / "runs", "run folder")


def test_one_process_at_a_time_holds_a_run_and_a_killed_one_lets_go(tmp_path):
    run = RunFolder(tmp_path / "r")
    with run.hold():
        done = in_another_process(
            f"""
            from nbkit.runs import RunFolder
            run = RunFolder({str(run.path)!r})
            print(run.status)
            with run.hold(): pass
            """
        )
    assert done.stdout.strip() == "running"
    assert "RunBusyError" in done.stderr
    in_another_process(
        f"""
        import os
        from nbkit.runs import RunFolder
        with RunFolder({str(run.path)!r}).hold(): os.kill(os.getpid(), 9)
        """
    )
    with run.hold():
        pass
    with (
        run.hold(),
        pytest.raises(RunBusyError, match="is being written by process"),
        RunFolder(run.path).hold(),
    ):
        pass


def test_a_run_that_another_one_computes_is_waited_for_where_that_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("NBKIT_WAIT", "1")
    order, held = [], threading.Event()

    def first():
        with RunFolder(tmp_path / "r").hold():
            held.set()
            time.sleep(0.3)
            order.append("first")

    other = threading.Thread(target=first)
    other.start()
    assert held.wait(10)
    with RunFolder(tmp_path / "r").hold():
        order.append("second")
    other.join()
    assert order == ["first", "second"]


def test_status_tells_what_can_be_done(tmp_path):
    run = RunFolder(tmp_path / "r")
    assert run.status == "new"
    run.create().write_json("settings.json", {})
    assert run.status == "stopped"
    run.fail("loss became nan")
    assert run.status == "failed"
    run.finish()
    assert run.status == "done"
    assert not (run / "failed.json").exists()


def test_tables_and_arrays_come_back_as_written(tmp_path):
    run = RunFolder(tmp_path / "r").create()
    table = pd.DataFrame({"user": [1, 2], "recall@20": [0.5, 0.25]})
    run.write_table("t.parquet", table)
    run.write_arrays("a.npz", {"item": np.eye(3, dtype=np.float32)})
    pd.testing.assert_frame_equal(run.read_table("t.parquet"), table)
    assert np.array_equal(run.read_arrays("a.npz")["item"], np.eye(3))


@pytest.mark.parametrize("name", ["metrics.json", "t.parquet"])
@pytest.mark.parametrize("content", [None, b"\x00garbage"])
def test_missing_and_damaged_files_are_one_line(tmp_path, name, content):
    run = RunFolder(tmp_path / "r").create()
    if content is not None:
        (run / name).write_bytes(content)
    with pytest.raises(UserError, match="missing" if content is None else "damaged"):
        (run.read_json if name.endswith("json") else run.read_table)(name)


def test_arrays_with_objects_in_them_are_never_unpickled(tmp_path):
    run = RunFolder(tmp_path / "r").create()
    np.savez(run / "a.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises((UserError, ValueError), match="allow_pickle"):
        run.read_arrays("a.npz")


def test_comments_and_docstrings_do_not_change_the_code_version(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    versions = {}
    for name, text in {
        "plain": "def f(x):\n    return x + 1\n",
        "told": '"""Doc."""\ndef f(x):\n    """Add."""\n    # why\n    return x + 1\n',
        "other": "def f(x):\n    return x + 2\n",
    }.items():
        (tmp_path / f"{name}_code.py").write_text(text)
        versions[name] = code_version(f"{name}_code")
    assert versions["plain"] == versions["told"] != versions["other"]


def test_a_new_preset_makes_no_finished_run_another_one_and_a_new_default_does(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    model = (
        "class Model:\n    presets: dict = {%s}\n    grid = %s\n    layers = %s\n    def f(self):\n        parts = %s\n"
    )
    versions = []
    for n, values in enumerate([("", 0, 1, 2), ("'baby': 1", 5, 1, 2), ("", 0, 9, 2), ("", 0, 1, 9)]):
        (tmp_path / f"told{n}_code.py").write_text(model % values)
        versions.append(code_version(f"told{n}_code"))
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3


def test_generators_for_different_purposes_are_independent():
    draws = {tuple(generator(s, p).get_state()[:64].tolist()) for s in (0, 1) for p in ("weights", "training")}
    assert len(draws) == 4
    assert generator(3, "weights").initial_seed() == generator(3, "weights").initial_seed()


def test_the_code_behind_a_model_is_what_it_imports_directly_or_not():
    behind = modules_behind("nbkit.models.jbm_diff", ("nbkit.layers", "nbkit.diffusion", "nbkit.models"))
    assert {"nbkit.models.jbm_diff", "nbkit.models.chains", "nbkit.models.base", "nbkit.models.layers"} <= set(behind)
    assert {"nbkit.diffusion.schedules", "nbkit.layers"} <= set(behind)  # two imports away
    assert not {"nbkit.models.bpr", "nbkit.errors", "nbkit.graphs", "nbkit.diffusion"} & set(behind)


def test_a_packed_run_is_the_same_elsewhere_and_done_only_once_all_of_it_is_there(tmp_path, monkeypatch):
    here, there = RunFolder(tmp_path / "here").create(), RunFolder(tmp_path / "there").create()
    here.write_json("metrics.json", {"a": 1})
    here.finish()
    there.write_json("metrics.json", {"a": 0})
    there.fail("the time before")
    seen = []

    def write(path, content):
        seen.append((path.name, there.status))
        write_atomic(path, content)

    monkeypatch.setattr("nbkit.runs.write_atomic", write)
    with here.hold():  # the lock does not travel
        there.unpack(here.packed())
    assert there.packed() == here.packed()
    assert (there.status, seen) == ("done", [("metrics.json", "failed"), ("DONE", "failed")])
    assert not (there / ".lock").exists()
