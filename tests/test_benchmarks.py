"""The benchmarks still run, on tiny data and our side alone: their figures mean nothing here."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbkit.errors import UserError

ROOT = Path(__file__).parents[1]
QUICK = {"repetitions": 1, "grain": 0.0, "inline": True}


@pytest.fixture(autouse=True)
def _from_repository_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        from benchmarks import data

        made = data.make(data.TINY, image_dim=12, text_dim=8)
        return str(data.write_parquet(made, tmp_path_factory.mktemp("bench")))


def test_made_data_have_the_size_asked_for_and_no_pair_twice(tiny: str) -> None:
    from benchmarks import data

    table = pd.read_parquet(Path(tiny) / "interactions.parquet")
    assert table["split"].value_counts().to_dict() == {
        "train": data.TINY.train,
        "valid": data.TINY.valid,
        "test": data.TINY.test,
    }
    assert not table.duplicated(["user_id", "item_id"]).any()
    for _, part in table.groupby("split"):
        assert part["user_id"].nunique() == data.TINY.users
    assert table.loc[table["split"] == "train", "item_id"].nunique() == data.TINY.items


def test_made_popularity_has_a_heavy_tail() -> None:
    from benchmarks import data

    made = data.make(data.Size(users=600, items=300, train=5_000, valid=700, test=700), image_dim=2, text_dim=2)
    counts = np.sort(np.bincount(made.train.item, minlength=300))[::-1]
    assert counts[:30].sum() > 3 * counts[-150:].sum() / 5
    assert counts[0] > 5 * np.median(counts)


def test_mmrec_layout_labels_the_splits_as_mmrec_reads_them(tiny: str, tmp_path: Path) -> None:
    from benchmarks import data

    dataset = data.read(Path(tiny))
    folder = data.write_mmrec(dataset, tmp_path / "bench")
    table = pd.read_csv(folder / "bench.inter", sep="\t")
    assert list(table) == ["userID", "itemID", "rating", "timestamp", "x_label"]
    assert np.bincount(table["x_label"]).tolist() == [data.TINY.train, data.TINY.valid, data.TINY.test]
    np.testing.assert_array_equal(np.load(folder / "image_feat.npy"), dataset.features["image"])


def test_every_case_trains_and_says_its_steps(tiny: str) -> None:
    from benchmarks import cases, epoch

    report = epoch.measure(cases.choose(None), tiny, mmrec=None, **QUICK)
    assert [row["case"] for row in report.rows] == list(cases.CASES)
    assert {row["steps"] for row in report.rows} == {1}


def test_every_case_can_take_over_the_peers_weights(tiny: str) -> None:
    from benchmarks import cases
    from benchmarks.ours import Nbkit, from_mmrec

    # Arrays of the shapes that MMRec uses, by its names.
    shapes = {
        "bpr": {"user_embedding.weight": (120, 64), "item_embedding.weight": (60, 64)},
        "lightgcn": {"embedding_dict.user_emb": (120, 64), "embedding_dict.item_emb": (60, 64)},
        "vbpr": {
            "u_embedding": (120, 128),
            "i_embedding": (60, 64),
            "item_linear.weight": (64, 20),
            "item_linear.bias": (64,),
        },
        "freedom": {
            "user_embedding.weight": (120, 64),
            "item_id_embedding.weight": (60, 64),
            "image_embedding.weight": (60, 12),
            "text_embedding.weight": (60, 8),
            "image_trs.weight": (64, 12),
            "image_trs.bias": (64,),
            "text_trs.weight": (64, 8),
            "text_trs.bias": (64,),
        },
    }
    rng = np.random.default_rng(0)
    for case in cases.CASES.values():
        theirs = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes[case.nbkit].items()}
        side = Nbkit(folder=tiny, model=case.nbkit, settings=case.nbkit_settings)
        side.load(theirs)
        named = dict(side.model.named_parameters())
        for name, value in from_mmrec(case.nbkit, theirs, side.view.features).items():
            if name in named:
                np.testing.assert_array_equal(named[name].detach().numpy(), value)


def test_vbpr_columns_follow_their_modality() -> None:
    from benchmarks.ours import from_mmrec

    features = {"image": np.zeros((60, 12)), "text": np.zeros((60, 8))}
    weight = np.concatenate([np.full((64, 8), 1.0), np.full((64, 12), 2.0)], axis=1)  # text, then image
    arrays = {"u_embedding": None, "i_embedding": None, "item_linear.weight": weight, "item_linear.bias": None}
    ours = from_mmrec("vbpr", arrays, features)["content.project.weight"]
    assert (ours[:, :12] == 2.0).all()
    assert (ours[:, 12:] == 1.0).all()


def test_evaluation_runs_and_a_wrong_metric_is_noticed(tiny: str) -> None:
    from benchmarks import cases, evaluation

    report = evaluation.measure(cases.choose(["bpr"]), tiny, mmrec=None, **QUICK)
    assert [row["work"] for row in report.rows] == ["full evaluation", "epoch + validation"]
    assert evaluation.same_metrics({"recall@20": 0.12341}, {"recall@20": 0.1234}) == 1
    with pytest.raises(UserError, match=r"recall@20: 0\.1236 here, 0\.1234 in MMRec"):
        evaluation.same_metrics({"recall@20": 0.1236}, {"recall@20": 0.1234})


def test_metrics_from_a_score_file_equal_those_of_the_model(tiny: str, tmp_path: Path) -> None:
    from benchmarks.ours import Nbkit

    side = Nbkit(folder=tiny, model="bpr")
    side.epoch()
    users, items = (t.detach().numpy() for t in side.model.embeddings())
    np.save(tmp_path / "scores.npy", users @ items.T)
    assert side.metrics_of(str(tmp_path / "scores.npy")) == pytest.approx(side.evaluate(), abs=1e-12)


def test_neighbours_and_memory_report_every_way() -> None:
    from benchmarks import knn, memory

    assert [row["way"] for row in knn.measure(300, 16, **QUICK).rows] == ["chunks", "dense"]
    rows = memory.measure((200, 400), users=50, width=8, inline=True).rows
    assert [row["work"] for row in rows] == list(memory.WORKS)
    assert all("400 items MB" in row for row in rows)


def test_chunked_neighbours_take_less_memory_than_dense_ones() -> None:
    from benchmarks.measure import Worker

    # A process of its own: memory that other tests freed but kept would hide the growth here.
    worker = Worker("benchmarks.memory:Load", threads=1, items=6_000, users=50, width=8)
    chunks, dense = (worker.call("extra_memory", work)[0] for work in ("kNN chunks", "kNN dense"))
    worker.close()
    assert dense > 6_000**2 * 4 / 1e6 * 0.7
    assert chunks < dense / 3


def test_report_is_a_table_and_a_json_file_with_the_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.common import Report

    report = Report("trial", threads=1)
    report.add({"case": "a", "ratio": 2.0}, samples=[1, 2])
    report.add({"case": "b"})
    report.disturbed("b")
    report.finish(tmp_path)
    (path,) = tmp_path.glob("trial-*.json")
    content = json.loads(path.read_text())
    assert content["rows"][0]["samples"] == [1, 2]
    assert content["machine"]["threads"] == 1
    assert "torch" in content["environment"]["versions"]
    printed = capsys.readouterr().out
    assert "NOT JUDGED: b" in printed
    assert printed.splitlines()[0].split() == ["case", "ratio"]


def test_a_worker_answers_from_another_process_and_passes_on_mistakes() -> None:
    from benchmarks.measure import Inline, Worker

    worker = Worker("collections:Counter", a=2)
    result, seconds, _ = worker.call("most_common")
    assert result == [("a", 2)]
    assert seconds >= 0
    with pytest.raises(RuntimeError, match="AttributeError"):
        worker.call("no_such_method")
    worker.close()
    with pytest.raises(UserError, match=r"no src/common/trainer\.py"):
        Inline("benchmarks.peer:MMRec", checkout="nowhere", folder="nowhere", model="BPR")


def test_sides_take_turns_and_a_disturbed_sample_is_left_out() -> None:
    from benchmarks.measure import Sample, Timing, take_turns

    order: list[str] = []

    class Fake:
        pids = ()

        def __init__(self, name: str) -> None:
            self.name = name

        def call(self, method: str) -> tuple[str, float, float]:
            order.append(self.name)
            return method, 1.0, 1.0

        def close(self) -> None: ...

    times = take_turns({"a": (Fake("a"), "go"), "b": (Fake("b"), "go")}, repetitions=2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert times["a"].result == "go"
    assert len(times["a"].samples) == 2
    assert Timing((Sample(1.0, 1.0, 0.0), Sample(9.0, 1.0, 0.9))).seconds == 1.0
    assert Timing((Sample(9.0, 1.0, 0.9),)).disturbed


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import measure

    start = time.perf_counter()
    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(measure, "_busy_seconds", lambda: round((time.perf_counter() - start) * ticks) / ticks)
    monkeypatch.setattr(measure, "_own_seconds", lambda processes: 0.0)
    with pytest.raises(UserError, match=r"other processes use 1\.\d+ cores|other processes use 0\.9\d cores"):
        measure.check_idle(force=False, seconds=0.05)
    assert measure.check_idle(force=True, seconds=0.05) > 0.8


def test_unknown_case_names_the_nearest() -> None:
    from benchmarks import cases

    with pytest.raises(UserError, match="did you mean 'lightgcn-2'"):
        cases.choose(["lightgcn2"])
