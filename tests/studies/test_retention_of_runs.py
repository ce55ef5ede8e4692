"""Noise curves from run folders: scenarios, paired data, what is refused; and what is found of injected noise."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch

from nbkit.data.corrupt import corrupt
from nbkit.data.dataset import Truth
from nbkit.errors import UserError
from nbkit.evaluation.denoising import noise_auc
from nbkit.evaluation.retention import NoiseCurve, Robustness
from nbkit.runs import RunFolder
from nbkit.studies import injected as module
from nbkit.studies.datasets import Datasets
from nbkit.studies.injected import injected_recovery
from nbkit.studies.planning import plan
from nbkit.studies.retention import findings, noise_curves, noise_rates
from nbkit.studies.running import execute
from nbkit.studies.study import robustness

SHORT = {"epochs": 2, "batch_size": 256}


@pytest.fixture
def make(tmp_path):
    """Finished runs that hold what a curve is read from: scores that say which run they are of."""
    count = iter(range(1000))

    def one(model="a", seed=0, noise=(), data="d", users=(0, 1, 2), value=1.0, state="DONE"):
        run = RunFolder(tmp_path / f"run{next(count):03}")
        run.create()
        noise = [{"operator": name, "rate": rate, "seed": seed} for name, rate in noise]
        run.write_json("settings.json", {"model": model, "data": "any", "seed": seed, "noise": noise})
        run.write_json("environment.json", {"dataset": {"data": data}})
        table = pd.DataFrame({"split": "test", "masking": "train", "user": users, "relevant": 1, "recall@20": value})
        run.write_table("per_user.parquet", table.iloc[::-1])
        (run / state).touch()
        return run

    return one


def conditions(make, models=("a", "b"), seeds=(0, 1)):
    noise = {(): 1.0, (("drop_edges", 0.2),): 0.8, (("drop_edges", 0.1),): 0.9, (("gaussian", 10.0),): 0.5}
    return [
        make(model, seed, n, data=f"{n}{seed * bool(n)}", value=level + 0.01 * seed)
        for n, level in noise.items()
        for seed in seeds
        for model in models
    ]


# --- which noise ---


def test_rates_by_operator_begin_with_clean_data_once():
    given = noise_rates(operators=["drop_edges", "gaussian"], rates=[0.2, 0.0], decibels=[5])
    assert given == {"drop_edges": [0, 0.2], "gaussian": [math.inf, 5]}


def test_scenarios_are_studies():
    content = noise_rates("content", operators=["drop_edges"])
    assert content == {"row_shuffle": [0, 0.05, 0.1, 0.15, 0.2]}
    assert {"add_random_edges", "drop_edges"} == set(noise_rates("feedback"))
    every = noise_rates("all")
    assert len(every) == 8
    study = robustness(["vbpr", "lightgcn"], "boutique:tiny", operators=list(every), rates=every, seeds=[0])
    assert len(study) == 2 * (1 + 8 * 3)
    with pytest.raises(UserError, match="scenario = 'contents'; did you mean 'content'"):
        noise_rates("contents")
    with pytest.raises(UserError, match="unknown operator 'drop_edge'; did you mean 'drop_edges'"):
        noise_rates(operators=["drop_edge"])


# --- which scores ---


def test_a_curve_has_its_rates_in_order_of_strength_its_seeds_in_order_and_clean_data_first(make):
    curves = noise_curves(conditions(make, seeds=(1, 0)))
    assert [(c.model, c.operator, c.rates) for c in curves] == [
        (model, *of) for of in (("drop_edges", (0.0, 0.1, 0.2)), ("gaussian", (math.inf, 10.0))) for model in ("a", "b")
    ]
    np.testing.assert_allclose(curves[0].values[:, :, 0], [[1, 1.01], [0.9, 0.91], [0.8, 0.81]])


def test_models_on_other_data_under_the_same_noise_are_refused(make):
    runs = conditions(make)
    odd = make("c", 0, [("drop_edges", 0.2)], data="other")
    with pytest.raises(UserError, match=rf"and {odd.id} \(c seed 0 drop_edges:0.2\) were trained on different data"):
        noise_curves([*runs, odd])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"model": "c"}, "no run of c on clean data with seed 1"),
        ({"noise": [("drop_edges", 0.3)], "data": "x"}, "no run of a on drop_edges:0.3 with seed 1"),
        ({}, "two runs are a seed 0 clean:0; expected one"),
        ({"noise": [("drop_edges", 0.3), ("gaussian", 3)], "data": "y"}, "has 2 kinds of noise; expected one"),
        ({"model": "c", "users": (0, 1, 3)}, "has other test pairs than run run000"),
        ({"model": "c", "state": "failed.json"}, "is failed; expected a finished run"),
    ],
)
def test_what_makes_no_whole_study_is_refused(make, more, words):
    with pytest.raises(UserError, match=words):
        noise_curves([*conditions(make), make(**{"data": "()0", **more})])


def test_other_refusals(make):
    with pytest.raises(UserError, match="no run with noise"):
        noise_curves([make()])
    with pytest.raises(UserError, match="did you mean 'recall@20'"):
        noise_curves([make()], "recal@20")
    with pytest.raises(UserError, match="no scores with split 'valid' and masking 'train'"):
        noise_curves([make()], split="valid")


# --- in words ---


def test_findings_say_who_keeps_more_only_where_it_is_shown():
    clean = np.random.default_rng(0).random((1, 300))
    shares = {"row_shuffle": {"firm": 0.9, "frail": 0.3}, "drop_edges": {"firm": 0.5, "frail": 0.5}}
    curves = [
        NoiseCurve(model, name, (0.0, 0.4), np.stack([clean, share * clean]) * (1 if model == "frail" else 0.8))
        for name, of in shares.items()
        for model, share in of.items()
    ]
    said = findings(Robustness(curves, np.random.default_rng(0), resamples=1000))
    assert said == [
        "row_shuffle at 40%: of its recall@20 on clean data keeps firm 90% (90% – 90%), frail 30% (30% – 30%).",
        "row_shuffle: firm keeps more than frail (area +0.300, p = 0.002).",
        "row_shuffle: frail leads on clean data and falls below firm at 12.9%.",
        "drop_edges at 40%: of its recall@20 on clean data keeps firm 50% (50% – 50%), frail 50% (50% – 50%).",
        "drop_edges: no difference in area is shown between any two models.",
    ]


def test_findings_of_one_model_compare_nothing():
    clean = np.random.default_rng(0).random((1, 300))
    alone = Robustness(
        [NoiseCurve("a", "gaussian", (math.inf, 10.0), np.stack([clean, clean]))], np.random.default_rng(0)
    )
    assert findings(alone) == ["gaussian at 10 dB: of its recall@20 on clean data keeps a 100% (100% – 100%)."]


# --- what is found of injected noise ---


class Fake(torch.nn.Module):
    """Knows the pairs that were injected, up to an error, and holds planted ones for the least credible of all."""

    name = "fake"

    def __init__(self, data, clean, error=0.0):
        super().__init__()
        self.nothing, self.num_items, self.error = torch.nn.Parameter(torch.zeros(1)), data.num_items, error
        both, planted = (torch.from_numpy(d.truth.noisy_pairs @ [data.num_items, 1]) for d in (data, clean))
        self.injected, self.planted = both[~torch.isin(both, planted)], planted
        self.text = torch.tensor(clean.features["text"])

    def export(self):
        return {"denoised_text": self.text}

    def credibility(self, users, positives, negatives):
        keys = users * self.num_items + positives
        known = 1.0 - torch.isin(keys, self.injected).float() - 5 * torch.isin(keys, self.planted).float()
        return known + self.error * torch.randn(len(users), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def shop(world):
    planted = world.train.pairs()[::7]
    text = np.random.default_rng(3).normal(size=(world.num_items, 10)).astype(np.float32)
    return world.replace(features={"text": text}, truth=Truth(noisy_pairs=planted))


@pytest.fixture
def judged(shop, tmp_path, monkeypatch):
    """The recovery table of fakes under a noise with three seeds."""

    def of(operator, rate=0.3, error=0.0):
        runs = []
        for seed in range(3):
            run = RunFolder(tmp_path / f"run{seed}")
            run.create()
            noise = [{"operator": operator, "rate": rate, "seed": seed}]
            run.write_json("settings.json", {"model": "bpr", "data": "shop", "seed": seed, "noise": noise})
            runs.append(run)
        monkeypatch.setattr(module, "load_model", lambda run, data: Fake(data, shop, error))
        return injected_recovery(runs, np.random.default_rng(0), datasets=Datasets({"shop": shop}), resamples=200)

    return of


def test_a_model_that_knows_what_was_injected_finds_all_of_it_though_it_doubts_planted_noise_more(judged):
    table = judged("add_random_edges").set_index(["measure", "table"])
    assert table.loc[("noise AUC", "credibility"), ["value", "low", "high"]].tolist() == [1, 1, 1]
    assert table.loc[("noise AP", "credibility"), "value"] == 1
    assert table.loc[("noise AUC", "cosine text"), "value"] == pytest.approx(0.5, abs=0.1), "text says nothing"
    assert set(table["seeds"]) == {3}


def test_the_auc_of_a_model_that_errs_is_the_mean_over_seeds_of_the_measure_on_pairs_not_planted(judged, shop):
    found = judged("add_random_edges", error=0.7).set_index(["measure", "table"]).loc[("noise AUC", "credibility")]
    by_hand = []
    for seed in range(3):
        data, own = corrupt(shop, "add_random_edges", 0.3, seed)
        pairs = data.train.pairs()
        keys, planted, injected = (p @ [data.num_items, 1] for p in (pairs, shop.truth.noisy_pairs, own.noisy_pairs))
        credible = module.offered(Fake(data, shop, 0.7), data)[1]
        keep = ~np.isin(keys, planted)
        by_hand.append(noise_auc(credible[keep], np.isin(keys, injected)[keep], pairs[keep, 0]).mean())
    assert found["value"] == pytest.approx(np.mean(by_hand))
    assert 0.5 < found["low"] < found["value"] < found["high"] < 1
    assert found["n"] == len(np.unique(shop.train.pairs()[:, 0]))


def test_denoised_features_that_are_the_clean_ones_agree_with_them(judged):
    table = judged("row_shuffle", 0.5).set_index("table")
    assert set(table["measure"]) == {"CKA with clean"}
    assert table.loc["denoised", "value"] == pytest.approx(1)
    assert table.loc["raw", "value"] < 0.9
    assert table.loc["denoised - raw", "low"] > 0


def test_dropped_pairs_leave_nothing_to_find(judged):
    table = judged("drop_edges")
    assert table.empty
    assert list(table) == module.COLUMNS


# --- the whole way ---


def test_a_study_from_declaration_to_retention(tmp_path):
    noise = noise_rates(operators=["row_shuffle", "drop_edges"], rates=[0.5])
    declared = robustness("bpr", "boutique:tiny", operators=list(noise), rates=noise, seeds=[0], training=SHORT)
    assert {o.status for o in execute(declared, root=tmp_path, test=True)} == {"done"}
    runs = [planned.run for planned in plan(declared, tmp_path).runs]
    kept = Robustness(noise_curves(runs), np.random.default_rng(0), resamples=200).retention()
    blind = kept[kept["operator"] == "row_shuffle"]
    assert (blind[["mean", "low", "high"]] == 1).all(axis=None), "BPR reads no features"
    other = kept[(kept["operator"] == "drop_edges") & (kept["rate"] > 0)]
    assert (other["mean"] != 1).all()
    assert set(kept["n"]) == {120}
