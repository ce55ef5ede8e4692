"""Several notebooks beside each other: in order, at once, each with its share, and going on where they were."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import joblib
import nbformat
import pytest

from nbkit.errors import UserError
from nbkit.notebooks import reproducing
from nbkit.notebooks.planning import plan
from nbkit.notebooks.record import Record
from nbkit.notebooks.reproducing import Outcome, execute

Make = Callable[..., Path]
P = ("size: int = 1  # of it", "parameters")


@pytest.fixture
def add(make: Make) -> Callable[..., Path]:
    """``add(name, source, *names)``: a notebook of one cell in ``notebooks`` that comes after those of these names."""

    def build(name: str, source: str, *names: str, parameters: str = P[0]) -> Path:
        path = make(f"notebooks/{name}.ipynb", f"# Title of {name}", (parameters, "parameters"), (source,))
        notebook = nbformat.read(path, 4)
        if names:
            notebook.metadata["nbkit"] = {"after": list(names)}
        nbformat.write(notebook, path)
        return path

    return build


@pytest.fixture
def reproduce(tmp_path: Path) -> Callable[..., dict[str, Outcome]]:
    """Reproduce the folder ``notebooks`` into ``figures`` and give the outcomes by name, in the order they came."""

    def run(jobs: int = 1, force: bool = False, **options: Any) -> dict[str, Outcome]:
        planned = plan(tmp_path / "notebooks", tmp_path / "figures", **options)
        return {outcome.name: outcome for outcome in execute(planned, jobs, force=force)}

    return run


def statuses(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: outcome.status for name, outcome in outcomes.items()}


class Kernels:
    """Stands in for real kernels: the cell of a notebook names the files to draw, or is ``fail``."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.events: list[str] = []
        self.seconds = 0.0  # how long each of them takes

    def __call__(
        self, path: Path, values: Mapping[str, Any], output: Path, *, env: Mapping[str, str], watch: Any, stop: Any
    ) -> Path:
        self.order.append(path.stem)
        self.events.append(f"{path.stem} begins")
        time.sleep(self.seconds)
        words = nbformat.read(path, 4).cells[-1].source.split()
        if "fail" in words:
            raise UserError(f"notebook {path.name}: cell 3 (fail) raised")
        for word in words:
            file = Path(env["NBKIT_FIGURES"], word)
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"{word} of {path.stem} with {values}")
        shutil.copy(path, output)
        self.events.append(f"{path.stem} ends")
        return output


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    fake = Kernels()
    monkeypatch.setattr(reproducing, "run_notebook", fake)
    return fake


RENDEZVOUS = """
import json, os, pathlib, time
mine, other = pathlib.Path("{mine}.here"), pathlib.Path("{other}.here")
mine.touch()
deadline = time.monotonic() + 20
while not other.exists():
    assert time.monotonic() < deadline, "the other one never began"
    time.sleep(0.01)
import joblib
pathlib.Path("{mine}.env").write_text(json.dumps([joblib.cpu_count(), os.environ.get("OMP_NUM_THREADS")]))
"""
CHECK = "import pathlib\nassert pathlib.Path('b.env').exists() and pathlib.Path('figures/notebooks/b.ipynb').exists()"


def test_independent_notebooks_meet_share_the_cores_and_the_next_waits_for_what_it_needs(
    add: Callable[..., Path],
    reproduce: Callable[..., dict[str, Outcome]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "6")
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    add("a", RENDEZVOUS.format(mine="a", other="b"))
    add("b", RENDEZVOUS.format(mine="b", other="a"))
    add("c", CHECK, "b")
    found = reproduce(jobs=2)
    assert statuses(found) == dict.fromkeys("abc", "done"), found
    share = min(3, joblib.externals.loky.cpu_count())  # cores of the machine that tests run on count, too
    for name in "ab":
        assert (tmp_path / f"{name}.env").read_text() == f'[{share}, "2"]', "fewer threads than the share stay fewer"
    assert not (tmp_path / "figures" / ".making").exists()


def test_alone_a_notebook_has_the_machine_as_it_is_and_beside_others_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for name in reproducing.shares(2):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert reproducing.shares(1) == {}
    assert reproducing.shares(2) | {"MKL_NUM_THREADS": "4"} == dict.fromkeys(reproducing.shares(2), "4")
    assert reproducing.shares(2)["MKL_NUM_THREADS"] == "3"
    assert reproducing.shares(100)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setattr(reproducing, "free_mb", lambda: 3.9 * reproducing.KERNEL_MB)
    assert reproducing.default_jobs() == 3, "memory for three"
    monkeypatch.setattr(reproducing, "free_mb", lambda: 99 * reproducing.KERNEL_MB)
    assert reproducing.default_jobs() == 8
    monkeypatch.setattr(reproducing, "free_mb", lambda: 10)
    assert reproducing.default_jobs() == 1


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_comes_after_runs_after(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, jobs: int
) -> None:
    kernels.seconds = 0.3  # long enough for another one to begin meanwhile, if it may
    add("10_last", "x.png", "20_middle", "30_side")
    add("20_middle", "y.png", "40_first")
    add("30_side", "z.png")
    add("40_first", "w.png")
    assert set(statuses(reproduce(jobs)).values()) == {"done"}
    at = kernels.events.index
    assert at("40_first ends") < at("20_middle begins") < at("20_middle ends") < at("10_last begins")
    assert at("30_side ends") < at("10_last begins")


def test_behind_a_failed_notebook_all_are_skipped_and_the_others_run(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, tmp_path: Path
) -> None:
    add("a", "fail")
    add("b", "b.png", "a")
    add("c", "c.png", "b")
    add("d", "d.png")
    found = reproduce()
    assert statuses(found) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "done"}
    assert found["a"].reason == "notebook a.ipynb: cell 3 (fail) raised"
    assert found["c"].reason == "it comes after b"
    assert Record(tmp_path / "figures")["a"].failure == found["a"].reason
    add("a", "a.png")
    assert statuses(reproduce()) == {"a": "done", "b": "done", "c": "done", "d": "unchanged"}
    assert not Record(tmp_path / "figures")["a"].failure


def test_a_notebook_runs_again_when_anything_it_depends_on_changed_and_only_then(
    add: Callable[..., Path],
    reproduce: Callable[..., dict[str, Outcome]],
    kernels: Kernels,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    add("a", "a.png")
    add("b", "b.png", "a")
    add("c", "c.png", parameters="epochs: int = 1  # of it\nexecutor: str = 'inline'  # who")

    def again(**options: Any) -> str:
        kernels.order.clear()
        reproduce(**options)
        return "".join(sorted(kernels.order))

    assert again() == "abc"
    assert again() == ""
    assert again(executor="pool:2") == "", "who computes changes no number"
    assert again(force=True) == "abc"
    add("b", "b.png b.svg", "a")
    assert again() == "b"
    add("a", "a.png # other")
    assert again() == "ab", "what comes after goes on from something else now"
    assert again(preset="paper") == "c", "only it has such a parameter"
    (tmp_path / "figures" / "a.png").unlink()
    assert again(preset="paper") == "a", "made again from the same: nothing else for the next one"
    monkeypatch.setattr("nbkit.notebooks.record.package_version", lambda: "another")
    assert again(preset="paper", only="b,c") == "bc"
    (tmp_path / "figures" / "notebooks" / "reproduced.json").write_text("[1")
    assert again(preset="paper") == "abc"


def test_files_that_a_notebook_no_longer_makes_are_removed_but_never_those_of_another(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, tmp_path: Path
) -> None:
    add("a", "old.png shared.js tables/old.tex")
    add("b", "b.png shared.js")
    reproduce()
    (tmp_path / "figures" / "mine.png").touch()
    add("a", "new.png")
    made = reproduce()["a"].files
    assert made == ("new.png", "notebooks/a.html", "notebooks/a.ipynb")
    left = {p.relative_to(tmp_path / "figures").as_posix() for p in (tmp_path / "figures").rglob("*.*") if p.is_file()}
    assert {"new.png", "shared.js", "b.png", "mine.png"} <= left
    assert not {"old.png", "tables/old.tex"} & left


def test_a_failed_notebook_leaves_its_older_figures_as_they_were(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = "import os, pathlib\npathlib.Path(os.environ['NBKIT_FIGURES'], 'a.png').write_text('{}')\n{}"
    add("a", draw.format("old", ""))
    assert reproduce()["a"].files == ("a.png", "notebooks/a.html", "notebooks/a.ipynb")
    add("a", draw.format("new", "1 / 0"))
    found = reproduce()["a"]
    assert found.status == "failed"
    assert found.reason.startswith("notebook a.ipynb: cell 3 (import os, pathlib) raised ZeroDivisionError")
    figures = tmp_path / "figures"
    assert (figures / "a.png").read_text() == "old"
    assert "ZeroDivisionError" in (figures / "notebooks" / "a.failed.html").read_text()
    assert not (figures / ".making").exists()
    add("a", draw.format("newer", ""))
    assert reproduce()["a"].status == "done"
    assert (figures / "a.png").read_text() == "newer"
    assert not list(figures.rglob("*failed*"))


def test_only_means_only_and_says_what_was_left_out(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, tmp_path: Path
) -> None:
    add("a", "a.png")
    add("b", "b.png", "a")
    assert plan(tmp_path / "notebooks", tmp_path / "figures", only="b").outside() == {"b": ["a"]}
    assert statuses(reproduce(only="b")) == {"b": "done"}
    assert statuses(reproduce()) == {"a": "done", "b": "done"}, "b ran before there was an a"


def test_a_given_parameter_outdoes_the_preset_where_there_is_one(
    add: Callable[..., Path], kernels: Kernels, tmp_path: Path
) -> None:
    add("a", "a.png", parameters="epochs: int = 3  # most\nmodels: list[str] = ['bpr']  # which")
    add("b", "b.png")
    source, figures = tmp_path / "notebooks", tmp_path / "figures"
    planned = plan(source, figures, preset="paper", given={"epochs": "7", "models": '["bm3"]'})
    assert planned.values == {"a": {"epochs": 7, "models": ["bm3"]}, "b": {}}
    assert plan(source, figures, preset="paper").values["a"] == {"epochs": 1000}
    with pytest.raises(UserError, match=r"parameter 'epoch': none of 2 notebooks has it; did you mean 'epochs'"):
        plan(source, figures, given={"epoch": "7"})
    with pytest.raises(UserError, match=r"epochs = 'many'"):
        plan(source, figures, given={"epochs": "many"})


def test_what_changed_since_is_out_of_date_with_all_behind_it(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, tmp_path: Path
) -> None:
    for name, names in (("a", ()), ("b", ("a",)), ("c", ("b",)), ("d", ())):
        add(name, f"{name}.png", *names)
    reproduce(preset="paper")
    planned = plan(tmp_path / "notebooks", tmp_path / "figures")
    assert planned.record.outdated(planned.folder.values()) == set(), "another preset is no change of the notebook"
    assert planned.due() == [], "the fast preset gives none of them a value"
    add("a", "a.png # changed")
    planned = plan(tmp_path / "notebooks", tmp_path / "figures")
    assert planned.record.outdated(planned.folder.values()) == {"a", "b", "c"}
    assert planned.due() == ["a", "b", "c"]


def test_a_second_one_on_the_same_folder_is_told_who_is_there(
    add: Callable[..., Path], reproduce: Callable[..., dict[str, Outcome]], kernels: Kernels, tmp_path: Path
) -> None:
    add("a", "a.png")
    add("b", "b.png")
    first = execute(plan(tmp_path / "notebooks", tmp_path / "figures"))
    next(first)
    with pytest.raises(UserError, match=r"figures' is being reproduced by process \d+; wait for it or stop it"):
        reproduce()
    assert [outcome.status for outcome in first] == ["done"], "and the first one is not disturbed"
    (tmp_path / "figures" / ".lock").write_text("99999999")
    assert statuses(reproduce()) == {"a": "unchanged", "b": "unchanged"}, "a stale file is no lock"
