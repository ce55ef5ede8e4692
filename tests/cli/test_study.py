"""``nbkit study``: one file, many runs; stopped or killed on the way, it ends with the same tables."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from nbkit.cli.executors import executor
from nbkit.errors import UserError
from nbkit.models.bpr import BPR
from nbkit.studies import declaration
from nbkit.studies.cluster import Ray
from nbkit.studies.executors import Inline
from nbkit.studies.planning import results
from nbkit.studies.pool import Pool
from nbkit.studies.running import execute

from .conftest import OFTEN, Outcome
from .test_interruptions import until_checkpoint

Cli = Callable[..., Outcome]
NOISE = """
[robustness]
models = ["bpr", "lightgcn"]
data = "{shop}"
operators = "drop_edges"
rates = [0, 0.3]
seeds = [0]
settings = {{ dim = 8 }}
training = {{ epochs = 3, batch_size = 64 }}
"""
LONG = """
[grid]
models = "bpr"
data = "{shop}"
seeds = [0]
settings = {{ dim = 8 }}
training = {{ epochs = 150, batch_size = 16, patience = 1000 }}
"""


@pytest.fixture
def noise(shop: Path) -> Path:
    Path("noise.toml").write_text(NOISE.format(shop=shop))
    return Path("noise.toml")


def test_a_study_is_shown_computed_and_shown_again(nbkit: Cli, noise: Path) -> None:
    before = nbkit("study", "show", noise).out.splitlines()
    assert before[0].split() == ["model", "noise", "missing", "time", "left"]
    assert len(before) == 1 + 4 + 1
    assert before[-1] == "noise: 4 runs (4 new); an unknown time (4 runs) left, one run after another"
    done = nbkit("study", "run", noise, "--test")
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "noise: 4 runs (4 done)"
    nbkit("study", "show", noise, "--out", "noise.csv")
    table = pd.read_csv("noise.csv")
    assert table["noise"].tolist() == ["clean"] * 2 + ["drop_edges:0.3"] * 2
    assert table["test.train.recall@20"].notna().all()
    heads, first, *_ = done.out.splitlines()
    assert "valid recall@20" in heads
    assert f"{table['test.train.recall@20'][0]:.4f}" in first


def test_failed_runs_are_told_kept_and_tried_again(nbkit: Cli, noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = BPR.losses
    monkeypatch.setattr(BPR, "losses", lambda self, batch: 1 / 0)
    failed = nbkit("study", "run", noise)
    assert failed.code == 2
    assert "bpr seed 0 drop_edges:0.3: ZeroDivisionError: division by zero (test_study.py:" in failed.err
    assert "lacks 2 of 4 runs (2 failed)" in failed.err.splitlines()[-1]
    assert "failed: bpr seed 0 (start): ZeroDivisionError" in nbkit("study", "show", noise).out
    monkeypatch.setattr(BPR, "losses", losses)
    assert nbkit("study", "run", noise).code == 2
    assert nbkit("study", "run", noise, "--retry-failed").code == 0


def test_mistakes_are_one_line(nbkit: Cli, noise: Path) -> None:
    assert "no such file" in nbkit("study", "run", "nois.toml").error
    assert "jobs = 0; expected 1 or more" in nbkit("study", "run", noise, "--jobs", "0").error
    assert "expected auto, cpu, cuda or cuda:N" in nbkit("study", "run", noise, "--device", "cpu,gpu").error
    assert "--gpus without a cluster; expected --executor ray" in nbkit("study", "run", noise, "--gpus", "0.5").error
    assert "expected no --jobs" in nbkit("study", "run", noise, "--executor", "inline", "--jobs", "2").error
    noise.write_text('[grid]\nmodels = "bpr"\nseds = [0]')
    assert "unknown key 'seds'; did you mean 'seeds'" in nbkit("study", "show", noise).error


def test_the_executor_is_the_one_that_the_options_mean_and_ray_is_told_of_what_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert executor() == Inline("auto")
    assert executor("pool") == Pool(1)
    assert executor(jobs=2, threads=3) == Pool(2, 3)
    assert executor(device="cpu,cpu") == Pool(1, None, ("cpu", "cpu"))
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    assert executor("ray", jobs=5, threads=2, address="a:1", gpus=0.5, shared=True) == Ray("a:1", 2, 0.5, 5, True)
    assert (executor("ray"), executor("ray").device) == (Ray(), "cpu")
    for wrong, words in (
        ({"device": "cuda:1"}, "--device 'cuda:1' with --executor ray; expected --gpus SHARE"),
        ({"gpus": 2.0}, "gpus = 2; expected 0 … 1"),
        ({"threads": 0}, "cpus = 0; expected 1 or more"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            executor("ray", **wrong)
    assert executor("pool:jobs=3,threads=1") == Pool(3, 1)
    monkeypatch.setenv("NBKIT_EXECUTOR", "pool:2")
    assert executor() == Pool(2)
    assert executor(jobs=1) == Inline("auto")
    for who, options, words in (
        ("pool:2", {"jobs": 3}, "--jobs beside --executor 'pool:2'; expected one of both"),
        ("rai", {}, "--executor 'rai': unknown executor; did you mean 'ray'"),
        ("pool", {"shared": True}, "--shared without a cluster; expected --executor ray beside it"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            executor(who, **options)


@pytest.fixture(scope="module")
def undisturbed(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "long.toml").write_text(LONG.format(shop=shop))
    list(execute(declaration.read(root / "long.toml"), root=root))
    return root


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_is_stopped_or_killed_with_its_pool_ends_with_the_same_table(
    start: Callable[..., subprocess.Popen[str]], nbkit: Cli, shop: Path, undisturbed: Path, how: signal.Signals
) -> None:
    Path("long.toml").write_text(LONG.format(shop=shop))
    pool = ("study", "run", "long.toml", "--jobs", "2", "--threads", "1", "--runs", "disturbed")
    child = start(*pool, before=OFTEN)
    until_checkpoint(Path("disturbed"), child)
    child.send_signal(how)
    _, err = child.communicate(timeout=60)  # ends once the processes of the pool have closed its pipes, too
    assert "Traceback" not in err
    if how == signal.SIGINT:
        assert child.returncode == 130, err
        assert err.splitlines()[-1].endswith("finished runs are kept, the same command goes on")
    assert nbkit("study", "run", "long.toml", "--runs", "disturbed").code == 0
    study = declaration.read("long.toml")
    one, two = (results(study, Path(root)) for root in ("disturbed", undisturbed))
    columns = [name for name in one if not str(name).endswith(("seconds", "_mb"))]
    assert one[columns].equals(two[columns])
