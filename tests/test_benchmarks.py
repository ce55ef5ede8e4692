"""The benchmarks still run, on tiny data and our side alone: their figures mean nothing here."""

from __future__ import annotations

import json
import mmap
import os
import pickle
import time
from dataclasses import replace
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from nbkit.errors import UserError

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _from_repository_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def quick() -> Any:
    from benchmarks.common import Bench

    return Bench(repetitions=1, grain=0.0, inline=True)


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


def test_every_case_trains_and_says_its_steps(tiny: str, quick: Any) -> None:
    from benchmarks import cases, epoch

    report = epoch.measure(cases.choose(None, cases.CASES), tiny, checkouts={}, bench=quick)
    assert [row["case"] for row in report.rows] == list(cases.CASES)
    assert {row["steps"] for row in report.rows} == {1}
    assert all(row["nbkit MB"] > 50 for row in report.rows)


def layers(**sizes: tuple[int, int]) -> dict[str, tuple[int, ...]]:
    """Weight and bias of linear maps, named with a double underscore for a point."""
    names = {name.replace("__", "."): size for name, size in sizes.items()}
    return {f"{n}.{part}": shape for n, s in names.items() for part, shape in (("weight", s), ("bias", s[:1]))}


def peer_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Arrays of the shapes that the peers use, by their names, on the tiny data."""
    ids = {"user_embedding.weight": (120, 64), "item_id_embedding.weight": (60, 64)}
    raw = {"image_embedding.weight": (60, 12), "text_embedding.weight": (60, 8)}
    content = raw | layers(image_trs=(64, 12), text_trs=(64, 8))
    square = (64, 64)
    gates = {f"gate_{name}__0": square for name in ("v", "t", "image_prefer", "text_prefer")}
    graph_nets: dict[str, tuple[int, ...]] = {"id_embedding": (180, 64)}
    for gcn, width in (("v_gcn", 12), ("t_gcn", 8)):
        graph_nets[f"{gcn}.preference"] = (120, width)
        for hop, wide in enumerate((width, 64, 64), start=1):
            graph_nets[f"{gcn}.conv_embed_{hop}.weight"] = (wide, wide)
            graph_nets |= layers(**{f"{gcn}__linear_layer{hop}": (64, wide), f"{gcn}__g_layer{hop}": (64, wide + 64)})
    dual: dict[str, tuple[int, ...]] = {"weight_u": (120, 2, 1)}
    for gcn, width in (("v_gcn", 12), ("t_gcn", 8)):
        dual[f"{gcn}.preference"] = (120, 64)
        dual |= layers(**{f"{gcn}__MLP": (256, width), f"{gcn}__MLP_1": (64, 256)})
    return {
        "bpr": {"user_embedding.weight": (120, 64), "item_embedding.weight": (60, 64)},
        "lightgcn": {"embedding_dict.user_emb": (120, 64), "embedding_dict.item_emb": (60, 64)},
        "vbpr": {
            "u_embedding": (120, 128),
            "i_embedding": (60, 64),
            "item_linear.weight": (64, 20),
            "item_linear.bias": (64,),
        },
        "freedom": ids | content,
        "bm3": ids | content | layers(predictor=square),
        "mgcn": ids | content | {"query_common.2.weight": (1, 64)} | layers(query_common__0=square, **gates),
        "pgl": content | {"user_image.weight": (120, 64), "user_text.weight": (120, 64)},
        "slmrec": {"embedding_user.weight": (120, 64), "embedding_item.weight": (60, 64)}
        | layers(v_dense=(64, 12), t_dense=(64, 8), g_i_iv=square, g_v_iv=square, g_iv_iva=square, g_iva_ivat=(32, 64))
        | layers(g_t_ivat=(32, 64), embedding_user_after_GCN=(64, 192), embedding_item_after_GCN=(64, 192)),
        "mmgcn": graph_nets,
        "dualgnn": dual,
        "da_mrs": ids,
        "diffmm": {"uEmbeds": (120, 64), "iEmbeds": (60, 64), "modal_weight": (2,)}
        | {"image_trans": (12, 64), "text_trans": (8, 64)}
        | layers(**{f"{m}__in_layers__0": (60, 70) for m in ("image", "text")})
        | layers(**{f"{m}__out_layers__0": (60, 60) for m in ("image", "text")})
        | layers(image__emb_layer=(10, 10), text__emb_layer=(10, 10)),
    }


def peer_arrays(model: str, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: 0.1 * rng.standard_normal(shape, dtype=np.float32) for n, shape in peer_shapes()[model].items()}


def test_every_case_can_take_over_the_peers_weights(tiny: str) -> None:
    from benchmarks import cases
    from benchmarks.correspondence import from_peer
    from benchmarks.ours import Nbkit

    for case in cases.CASES.values():
        theirs = peer_arrays(case.nbkit)
        side = Nbkit(folder=tiny, model=case.nbkit, settings=case.nbkit_settings)
        side.load(theirs)
        values = from_peer(case.nbkit, {n: torch.from_numpy(v) for n, v in theirs.items()}, side.view.features)
        for name, own in side.model.state_dict().items():  # parameters, and MMGCN's constants
            torch.testing.assert_close(own, values[name], rtol=0, atol=0)
        del theirs[min(theirs)]
        with pytest.raises((UserError, KeyError)):
            side.load(theirs)


def triples_of(tiny: str) -> np.ndarray:
    from benchmarks import epoch

    return epoch.triples(tiny, batch=64)


def test_gradients_lead_back_through_composed_and_shared_arrays(tiny: str) -> None:
    from benchmarks import cases
    from benchmarks.ours import Nbkit

    batch = triples_of(tiny)

    def own_gradients(side: Any) -> dict[str, np.ndarray]:
        side._total(batch).backward()
        return {n: p.grad.numpy().copy() for n, p in side.model.named_parameters() if p.grad is not None}

    theirs = peer_arrays("slmrec")
    side = Nbkit(folder=tiny, model="slmrec", settings=cases.CASES["slmrec"].nbkit_settings)
    side.load(theirs)
    own = own_gradients(side)
    expected = {"embedding_user.weight": own["nodes"][:120], "embedding_item.weight": own["nodes"][120:]}
    names = {"v_dense": "content.image.project", "t_dense": "content.text.project", "g_i_iv": "coarser.image"}
    names |= {"embedding_user_after_GCN": "fuse.0", "embedding_item_after_GCN": "fuse.1"}
    expected |= {f"{n}.{part}": own[f"{mine}.{part}"] for n, mine in names.items() for part in ("weight", "bias")}
    expected |= {"g_v_iv.weight": own["modal.image.weight"], "g_t_ivat.weight": own["modal.text.weight"]}
    # G = A B, g = A b + a: dA = dG Bᵀ + dg bᵀ, dB = Aᵀ dG, db = Aᵀ dg, da = dg.
    a, b, bias = (theirs[n] for n in ("g_iva_ivat.weight", "g_iv_iva.weight", "g_iv_iva.bias"))
    d_map, d_bias = own["coarser.text.weight"], own["coarser.text.bias"]
    expected |= {"g_iva_ivat.weight": d_map @ b.T + np.outer(d_bias, bias), "g_iva_ivat.bias": d_bias}
    expected |= {"g_iv_iva.weight": a.T @ d_map, "g_iv_iva.bias": a.T @ d_bias}
    assert side.gradient_gap(batch, expected) < 1e-5
    for name in ("g_iv_iva.weight", "embedding_item.weight"):
        assert side.gradient_gap(batch, expected | {name: expected[name] * 1.01}) == pytest.approx(0.01, rel=0.1)
    assert side.gradient_gap(batch, {n: v for n, v in expected.items() if n != "v_dense.weight"}) > 1

    theirs = peer_arrays("dualgnn")
    side = Nbkit(folder=tiny, model="dualgnn", settings=cases.CASES["dualgnn"].nbkit_settings)
    side.load(theirs)
    own = own_gradients(side)
    first, second = own["weights"].T
    expected = {"weight_u": np.stack([first + second, second], axis=1)[:, :, None]}
    for gcn, m in (("v_gcn", "image"), ("t_gcn", "text")):
        expected[f"{gcn}.preference"] = own[f"preferences.{m}"]
        for mlp, place in (("MLP", 0), ("MLP_1", 2)):
            expected |= {f"{gcn}.{mlp}.{part}": own[f"content.{m}.{place}.{part}"] for part in ("weight", "bias")}
    assert side.gradient_gap(batch, expected) < 1e-5
    assert side.gradient_gap(batch, expected | {"weight_u": np.stack([first, second], axis=1)[:, :, None]}) > 0.1


def test_two_layers_of_a_time_code_answer_what_the_peers_one_layer_answers_a_step_earlier(tiny: str) -> None:
    from benchmarks.ours import Nbkit
    from nbkit.diffusion.denoisers import sinusoidal

    theirs, side = peer_arrays("diffmm"), Nbkit(folder=tiny, model="diffmm")
    side.load(theirs)
    weight, bias = (torch.from_numpy(theirs[f"text.emb_layer.{part}"]) for part in ("weight", "bias"))
    answers = side.model.diffusion.denoisers["text"].time(torch.arange(1, 6))
    torch.testing.assert_close(answers, sinusoidal(torch.arange(5), 10) @ weight.T + bias, rtol=1e-4, atol=2e-5)


def test_draws_and_rebuilt_graphs_of_a_proof_are_the_same_each_time_and_lead_back_to_the_peers_arrays(
    tiny: str,
) -> None:
    from benchmarks.ours import Nbkit
    from nbkit.diffusion.denoisers import sinusoidal

    side, batch = Nbkit(folder=tiny, model="diffmm", batch_size=64), triples_of(tiny)
    side.load(peer_arrays("diffmm"))
    assert side.loss(batch) == side.loss(batch)
    assert (side.model.edges >= 0).all()
    side._total(batch).backward()
    own = {n: p.grad.numpy().copy() for n, p in side.model.named_parameters()}
    expected = {"uEmbeds": own["nodes"][:120], "iEmbeds": own["nodes"][120:], "modal_weight": own["fusion"]}
    codes = sinusoidal(torch.arange(6), 10)
    known = torch.cat([torch.nn.functional.silu(codes[1:]), torch.ones(5, 1)], dim=1)
    for m in ("image", "text"):
        net = f"diffusion.denoisers.{m}"
        expected[f"{m}_trans"] = own[f"content.{m}.project.weight"].T
        for layer, mine in (("in_layers.0", "hidden.0"), ("out_layers.0", "output")):
            expected |= {f"{m}.{layer}.{part}": own[f"{net}.{mine}.{part}"] for part in ("weight", "bias")}
        outer = np.concatenate([own[f"{net}.time.outer.weight"].T, own[f"{net}.time.outer.bias"][None]])
        heard = np.linalg.pinv(known.double().numpy()).T @ outer  # of the five answers
        expected[f"{m}.emb_layer.weight"] = heard.T @ codes[:5].numpy()
        expected[f"{m}.emb_layer.bias"] = heard.sum(0)
    assert side.gradient_gap(batch, expected) < 1e-4
    assert side.gradient_gap(batch, expected | {"modal_weight": -own["fusion"]}) > 1


def test_a_peer_counts_its_steps_and_gives_the_gradients_of_one_batch_alone() -> None:
    from benchmarks.peer import Peer

    class Line(Peer):
        def __init__(self) -> None:
            self.slope, self.start = torch.nn.Parameter(torch.ones(2)), torch.zeros(3)
            self.optimizer = torch.optim.SGD([self.slope], lr=0.0)
            super().__init__(self.optimizer, "cpu")

        def train(self) -> float:
            for _ in range(3):
                self.backward(np.ones(2, np.float32))
                self.optimizer.step()
            return 7.0

        def named(self) -> dict[str, torch.nn.Parameter]:
            return {"slope": self.slope}

        def constants(self) -> dict[str, torch.Tensor]:
            return {"start": self.start}

        def backward(self, triples: np.ndarray) -> float:
            loss = self.slope @ torch.from_numpy(triples)
            loss.backward()
            return loss.item()

    peer = Line()
    assert peer.epoch() == {"steps": 3, "loss": 7.0}
    kept = peer.weights()
    assert set(kept) == {"slope", "start"}
    for size in (1, 2):  # what the epoch and the call before left is gone
        loss, gradients = peer.loss_and_gradients(np.full(2, size, np.float32))
        assert loss == 2 * size
        np.testing.assert_array_equal(gradients["slope"], [size, size])
    with torch.no_grad():
        peer.slope.zero_()
    assert kept["slope"].all()  # a copy


def test_the_proof_runs_the_authors_whole_epoch_on_one_batch_and_moves_nothing(tiny: str) -> None:
    from benchmarks import data, diffmm
    from benchmarks.peer import Peer

    class Coach:
        """Goes over its loaders as the authors' does: users twice, then triples."""

        def __init__(self) -> None:
            self.weight = torch.nn.Parameter(torch.ones(1))
            optimizers = [torch.optim.SGD([self.weight], lr=1.0) for _ in range(3)]
            self.opt, self.denoise_opt_image, self.denoise_opt_text = optimizers
            rows = torch.arange(120.0)[:, None]
            self.handler = SimpleNamespace(
                trnLoader=None, diffusionLoader=None, diffusionData=SimpleNamespace(data=rows)
            )

        def trainEpoch(self) -> dict[str, float]:
            self.handler.trnLoader.dataset.negSampling()
            assert len(self.handler.trnLoader.dataset) // side.args.batch == 1
            self.seen = [[users for _, users in self.handler.diffusionLoader] for _ in range(2)]
            (self.triples,) = self.handler.trnLoader
            for optimizer in (self.opt, self.denoise_opt_image, self.denoise_opt_text):
                self.weight.sum().backward()
                optimizer.step()
            print("a line at each step")
            return {"Loss": 1.0, "BPR Loss": 0.5, "CL loss": 0.25, "Di image loss": 2.0, "Di text loss": 4.0}

    side = object.__new__(diffmm.DiffMM)
    side.args, side.coach, side.users, side.pairs = SimpleNamespace(batch=9), Coach(), 120, data.TINY.train
    Peer.__init__(side, side.coach.opt, "cpu")
    batch = triples_of(tiny)
    assert side.backward(batch) == 7.25
    trained, rebuilt = side.coach.seen
    generator = torch.Generator().manual_seed(diffmm.PROOF_SEED)
    assert torch.equal(torch.cat(trained), torch.randperm(120, generator=generator)[: round(64 / 700 * 120)])
    assert torch.equal(torch.cat(rebuilt), torch.arange(120))
    np.testing.assert_array_equal(side.coach.triples, batch)
    assert side.coach.weight.item() == 1
    assert side.args.batch == 9
    assert side.coach.handler.trnLoader is None


def test_the_layout_of_diffmms_authors_is_a_pickled_matrix_a_split(tiny: str, tmp_path: Path) -> None:
    from benchmarks import data

    dataset = data.read(Path(tiny))
    folder = data.write_diffmm(dataset, tmp_path / "baby")
    matrix = pickle.loads((folder / "trnMat.pkl").read_bytes())
    assert matrix.shape == (120, 60)
    assert set(zip(matrix.row.tolist(), matrix.col.tolist(), strict=True)) == set(
        map(tuple, dataset.train.pairs().tolist())
    )
    assert pickle.loads((folder / "tstMat.pkl").read_bytes()).nnz == data.TINY.test
    np.testing.assert_array_equal(np.load(folder / "image_feat.npy"), dataset.features["image"])


def test_a_known_factor_between_the_losses_is_not_taken_for_a_difference(tiny: str) -> None:
    from benchmarks import cases, epoch
    from benchmarks.measure import Inline
    from benchmarks.ours import Nbkit

    batch = triples_of(tiny)
    ours = Inline("benchmarks.ours:Nbkit", folder=tiny, model="bpr", settings=cases.CASES["bpr"].nbkit_settings)
    weights = peer_arrays("bpr")

    class Peer:
        factor = 1.0

        def call(self, method: str, *arguments: Any) -> tuple[Any, float, float]:
            side = Nbkit(folder=tiny, model="bpr", settings=cases.CASES["bpr"].nbkit_settings)
            side.load(weights)
            loss = side._total(batch) * self.factor
            loss.backward()
            users, items = (p.grad.numpy() for p in (side.model.users, side.model.items))
            gradients = {"user_embedding.weight": users, "item_embedding.weight": items}
            return {"weights": weights, "loss_and_gradients": (loss.item(), gradients)}[method], 0.0, 0.0

    peer = Peer()
    assert epoch.same_mathematics(ours, peer, batch)["gradient_gap"] < 1e-5  # type: ignore[arg-type]
    peer.factor = 1.5
    assert epoch.same_mathematics(ours, peer, batch, factor=1.5)["loss_gap"] < 1e-6  # type: ignore[arg-type]
    with pytest.raises(UserError, match="not the same mathematics"):
        epoch.same_mathematics(ours, peer, batch)  # type: ignore[arg-type]


def test_a_batch_can_name_every_user_and_item_once(tiny: str) -> None:
    from benchmarks import data, epoch

    users, items, _ = epoch.triples(tiny, distinct=True)
    assert len(users) > 30
    assert len(np.unique(users)) == len(np.unique(items)) == len(users)
    train = set(map(tuple, data.read(Path(tiny)).train.pairs().tolist()))
    assert set(zip(users.tolist(), items.tolist(), strict=True)) <= train
    repeated = epoch.triples(tiny)
    assert len(repeated[0]) == data.TINY.train


def test_graphs_for_mmrec_list_those_who_share_most() -> None:
    from benchmarks.fittings import lists

    # 0 and 1 share two contexts, 0 and 2 one; 3 shares none.
    nodes, contexts = np.array([0, 0, 0, 1, 1, 2, 3]), np.array([0, 1, 2, 0, 1, 2, 3])
    assert lists(nodes, contexts, 4, 2) == {0: [[1, 2], [2, 1]], 1: [[0], [2]], 2: [[0], [1]], 3: [[], []]}
    assert lists(nodes, contexts, 4, 2, least=2)[0] == [[1], [2]]
    filled = lists(nodes, contexts, 4, 2, fill=True)
    assert filled[3] == [[], []]
    assert all(len(part) == 2 for node in (0, 1, 2) for part in filled[node])
    assert torch.tensor(filled[1][1]).softmax(0).tolist() == [1.0, 0.0]


def test_the_peak_of_memory_begins_anew() -> None:
    from benchmarks import measure

    before = measure.forget_peak()
    held = mmap.mmap(-1, 200_000_000)  # goes back to the kernel when it is closed, whatever the allocator keeps
    for start in range(0, len(held), mmap.PAGESIZE):
        held[start] = 1
    held.close()
    assert measure.peak_memory() > before + 190e6
    assert measure.forget_peak() < before + 100e6
    assert measure.peak_memory() < before + 100e6


def test_vbpr_columns_follow_their_modality() -> None:
    from benchmarks.correspondence import from_peer

    features = {"image": np.zeros((60, 12)), "text": np.zeros((60, 8))}
    weight = torch.cat([torch.full((64, 8), 1.0), torch.full((64, 12), 2.0)], dim=1)  # text, then image
    empty = torch.empty(0)
    arrays = {"u_embedding": empty, "i_embedding": empty, "item_linear.weight": weight, "item_linear.bias": empty}
    ours = from_peer("vbpr", arrays, features)["content.project.weight"]
    assert (ours[:, :12] == 2.0).all()
    assert (ours[:, 12:] == 1.0).all()


def test_evaluation_runs_and_a_wrong_metric_is_noticed(tiny: str, quick: Any) -> None:
    from benchmarks import cases, evaluation

    report = evaluation.measure(cases.choose(["bpr"], cases.CASES), tiny, mmrec=None, bench=quick)
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


def test_neighbours_and_memory_report_every_way(quick: Any) -> None:
    from benchmarks import knn, memory

    assert [row["way"] for row in knn.measure(300, 16, bench=quick).rows] == ["chunks", "dense"]
    rows = memory.measure((200, 400), users=50, width=8, bench=quick).rows
    assert [row["work"] for row in rows] == list(memory.WORKS)
    assert all("400 items MB" in row for row in rows)


def test_every_model_has_its_cost_beside_lightgcn(tmp_path: Path, quick: Any) -> None:
    from benchmarks import cases, cost, data

    small = data.make(data.Size(users=30, items=20, train=90, valid=30, test=30), image_dim=4, text_dim=4)
    folder = str(data.write_parquet(small, tmp_path))
    report = cost.measure(cases.choose(None, cost.CASES), folder, steps=1, bench=quick)
    assert [row["case"] for row in report.rows] == list(cost.CASES)
    assert {row["steps"] for row in report.rows} == {1}
    assert all(row["ratio"] > 0 for row in report.rows)
    with pytest.raises(UserError, match="did you mean 'diffcl-no-diffusion'"):
        cases.choose(["diffcl-diffusion"], cost.CASES)


def test_without_diffusion_no_diffusion_loss_is_left(tiny: str) -> None:
    from benchmarks import cost

    def parts(case: cost.Case) -> set[str]:
        side = cost.Steps(folder=tiny, model=case.model, settings=case.settings)
        return set(side.model.losses(next(side.batches)))

    for name in (name for name in cost.CASES if name.endswith("-no-diffusion")):
        with_it, without = parts(cost.CASES[name.removesuffix("-no-diffusion")]), parts(cost.CASES[name])
        assert without < with_it
        assert not any(part.startswith(("denoise", "diffusion", "modality", "behavior")) for part in without)


def test_an_epoch_is_one_start_and_all_its_steps() -> None:
    from benchmarks.cost import STARTS, whole_epoch
    from benchmarks.measure import Sample, Timing

    start = Timing((Sample(0.5 * STARTS, 1.0 * STARTS, 0.1), Sample(1.5 * STARTS, 2.0 * STARTS, 0.0)))
    step = Timing((Sample(3.0, 6.0, 0.0), Sample(5.0, 10.0, 0.2)), result=58)
    # 2 steps a call: 29 times a call.
    assert whole_epoch(start, step, 2).samples == (Sample(87.5, 175.0, 0.1), Sample(146.5, 292.0, 0.2))


def test_timed_steps_deal_every_pair_before_any_comes_again(tiny: str) -> None:
    from benchmarks import cost, data

    side = cost.Steps(folder=tiny, model="bpr", steps=3)
    side.settings = replace(side.settings, batch_size=100)
    seen: list[tuple[int, int]] = []
    losses = side.model.losses

    def watched(batch: Any) -> Any:
        seen.extend(zip(batch.users.tolist(), batch.positives.tolist(), strict=True))
        return losses(batch)

    side.model.losses = watched  # type: ignore[method-assign]
    epoch = data.TINY.train // 100
    assert [side.step() for _ in range(5)] == [epoch] * 5
    assert len(seen) == 5 * 3 * 100
    assert len(set(seen[: data.TINY.train])) == data.TINY.train


def test_timed_epochs_lie_past_every_warm_up(tiny: str) -> None:
    from benchmarks import cost
    from nbkit.models.base import registry

    warm_ups = [p.default for m in registry().values() if (p := signature(m.__init__).parameters.get("warmup"))]
    assert warm_ups
    assert max(warm_ups) <= cost.SETTLED
    side, begun = cost.Steps(folder=tiny, model="bpr"), list[int]()
    side.model.start_epoch = lambda epoch, generator: begun.append(epoch)  # type: ignore[method-assign]
    side.start()
    assert begun == list(range(cost.SETTLED, cost.SETTLED + cost.STARTS))


def test_data_without_times_get_a_random_order_and_real_times_are_kept(tiny: str, tmp_path: Path) -> None:
    from benchmarks import data

    table = pd.read_parquet(Path(tiny) / "interactions.parquet")
    made = data.read(Path(tiny))
    times = np.concatenate([made.train.timestamp, made.valid.timestamp])
    assert len(np.unique(times)) == len(times)
    assert abs(np.corrcoef(np.arange(len(made.train)), made.train.timestamp)[0, 1]) < 0.2
    table.assign(timestamp=np.arange(len(table)) * 7).to_parquet(tmp_path / "interactions.parquet")
    real = data.read(tmp_path).train.timestamp
    np.testing.assert_array_equal(real, np.flatnonzero(table["split"] == "train") * 7)


def test_growth_is_the_exponent_and_every_model_reports_its_own(quick: Any) -> None:
    from benchmarks import cases, growth
    from benchmarks.common import growth as exponent

    sizes = [5_000, 10_000, 20_000]
    assert exponent(sizes, [n**2 / 1e3 for n in sizes]) == pytest.approx(2)
    assert exponent(sizes, [3.0 * n for n in sizes]) == pytest.approx(1)
    assert exponent(sizes, [0.0, 1e-4, 5e-4]) == 0
    assert np.isnan(exponent([5_000], [3.0]))
    rows = growth.measure(cases.choose(["diffcl", "jbm_diff"], growth.CASES), (40, 80), steps=1, bench=quick).rows
    assert [(row["case"], row["what"].split()[0]) for row in rows] == [
        (case, what) for case in ("diffcl", "jbm_diff") for what in ("step", "start", "peak")
    ]
    assert all(row["80 items"] > 0 for row in rows if row["what"] == "step s")


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
        Inline("benchmarks.mmrec:MMRec", checkout="nowhere", folder="nowhere", model="BPR")
    with pytest.raises(UserError, match=r"--diffmm 'nowhere': no Main\.py"):
        Inline("benchmarks.diffmm:DiffMM", checkout="nowhere", folder="nowhere", model="DiffMM")


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
        cases.choose(["lightgcn2"], cases.CASES)


def test_every_instrument_answers_and_is_timed(quick: Any) -> None:
    from benchmarks import instruments

    rows = instruments.measure(items=60, width=8, bench=quick).rows
    assert [(row["instrument"], row["moves"]) for row in rows] == [move[:2] for move in instruments.MOVES]
    assert all(row["ms"] > 0 for row in rows)
    with (
        mock.patch.object(instruments, "MOVES", (("player", "frame", (99, 100)),)),
        pytest.raises(UserError, match="player, frame: frame = "),
    ):
        instruments.measure(items=60, width=8, bench=quick)


def test_studies_are_listed_planned_and_timed_beside_their_training(quick: Any) -> None:
    from benchmarks import studies

    told = {"inside": 1.0, "outside": 0.01, "runs": 4}
    with mock.patch.object(studies.Machinery, "pool", return_value=told):  # no process for this
        rows = studies.measure(runs=3, data="boutique:tiny", epochs=1, bench=quick).rows
    assert [row["what"].split(" of ")[0] for row in rows[:2]] == ["frame", "plan"]
    assert all(row["seconds"] > 0 for row in rows)
    assert all(0 < row["outside %"] < 1000 for row in rows[2:])
