"""Claims about denoising measured over runs: planted oracles, seeds, pairs, and the runs that are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from scipy.stats import norm

from nbkit import repro
from nbkit.data.corrupt import corrupt
from nbkit.data.dataset import Truth
from nbkit.data.sampling import TripleSampler
from nbkit.errors import UserError
from nbkit.evaluation.denoising import noise_auc
from nbkit.evaluation.recovery import summary
from nbkit.evaluation.stats import mean_interval
from nbkit.runs import RunFolder
from nbkit.studies import recovery as module
from nbkit.studies.experiment import Experiment, run_experiment
from nbkit.studies.recovery import experiments, offered, recovery
from nbkit.training.loop import TrainSettings

SPACE = np.linalg.qr(np.random.default_rng(9).normal(size=(10, 10)))[0]
QUICK = TrainSettings(epochs=1, batch_size=64)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def shop(world):
    """The planted world, its text a mixture of known attributes along known directions, with random clicks."""
    labels = {
        "relevant": rng(1).integers(4, size=world.num_items),
        "nuisance": rng(2).integers(4, size=world.num_items),
    }
    mixed = np.hstack([np.eye(4)[of] for of in labels.values()]) @ SPACE[:8] + 0.1 * rng(3).normal(size=(32, 10))
    truth = Truth(**{kind: pd.DataFrame({"value": of}) for kind, of in labels.items()})
    data = world.replace(features={"text": mixed.astype(np.float32)}, truth=truth)
    return corrupt(data, "add_random_edges", 0.2)[0]


class Fake(torch.nn.Module):
    """Takes a share of the nuisance directions out of the text, roughly, and knows noise up to an error of its seed."""

    name = "fake"

    def __init__(self, data, seed=0, error=0.0, rough=0.01, share=1.0):
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        raw, nuisance = data.features["text"], SPACE[4:8]
        self.text = torch.from_numpy(
            raw - share * raw @ nuisance.T @ nuisance + rough * rng(seed).normal(size=raw.shape)
        )
        self.keys = torch.from_numpy(data.truth.noisy_pairs @ [data.num_items, 1])
        self.num_items, self.error, self.seed = data.num_items, error, seed

    def export(self):
        return {"item": torch.ones(3, 2), "denoised_text": self.text}

    def credibility(self, users, positives, negatives):
        genuine = ~torch.isin(users * self.num_items + positives, self.keys)
        return genuine + self.error * torch.randn(len(users), generator=torch.Generator().manual_seed(self.seed))


@pytest.fixture
def finished(shop, tmp_path, monkeypatch):
    """Finished runs of fakes, one a seed; the settings name the experiment."""
    models = {}
    monkeypatch.setattr(module, "load_model", lambda run, dataset: models[run.id])

    def make(seeds, data="same", code="1", **settings):
        runs = []
        for seed in seeds:
            run = RunFolder(tmp_path / f"run{len(models)}")
            run.create()
            run.write_json("settings.json", {"model": "fake", "data": "any", "seed": seed, "model_settings": settings})
            run.write_json("environment.json", {"dataset": {"data": data, "code": code}})
            models[run.id] = Fake(shop, seed, **settings)
            runs.append(run)
        return runs

    return make


def row(frame, measure, table, experiment=None):
    rows = frame[(frame["measure"] == measure) & (frame["table"] == table)]
    (found,) = rows[rows["experiment"] == (experiment or frame["experiment"][0])].itertuples()
    return found


def test_the_truth_as_credibility_has_auc_1_for_every_seed(finished, shop):
    frame = recovery(finished([0, 1, 2]), rng(), shop)
    found = row(frame, "noise AUC", "credibility")
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    assert row(frame, "noise AP", "credibility").value == pytest.approx(1)
    assert row(frame, "noise AUC", "credibility - cosine text").low > 0
    assert set(frame["seeds"]) == {3}


def test_nuisance_taken_away_falls_and_relevance_does_not(finished, shop):
    frame = recovery(finished([0, 1, 2]), rng(), shop)
    assert row(frame, "nuisance R²", "denoised - raw").high < -0.3
    assert row(frame, "nuisance purity@10", "denoised - raw").high < 0
    assert row(frame, "relevant R²", "denoised").value > 0.8
    assert row(frame, "relevant R²", "denoised - raw").low > -0.05
    assert "CKA with ids" not in set(frame["measure"])


def test_seeds_are_averaged_and_raw_features_scatter_between_none(finished, shop):
    runs = finished([0, 1, 2], error=1.0, rough=0.3)
    each = [recovery([run], rng(), shop) for run in runs]
    both = recovery(runs, rng(), shop)
    keys = ["measure", "modality", "table"]
    assert both[keys].equals(each[0][keys])
    assert both["value"].to_numpy() == pytest.approx(np.mean([one["value"] for one in each], axis=0))
    assert len({row(one, "nuisance R²", "raw").value for one in each}) == 1  # the same folds
    assert len({row(one, "nuisance R²", "denoised").value for one in each}) == 3


def test_a_difference_within_a_run_stays_paired(finished, shop):
    frame = recovery(finished([0, 1, 2], share=0.1), rng(), shop)
    widths = {t: (r := row(frame, "relevant R²", t)).high - r.low for t in ("raw", "denoised", "denoised - raw")}
    assert widths["denoised - raw"] < min(widths["raw"], widths["denoised"]) / 3


def test_two_experiments_are_paired_by_seed_and_unit_and_named_by_what_differs(finished, shop):
    # Errors of a seed are the same but for their size, so that little more than chance differs from seed to seed.
    runs = finished([2, 0, 1], error=1.2) + finished([0, 1, 2], error=1.0)
    frame = recovery(runs, rng(), shop)
    assert list(dict.fromkeys(frame["experiment"])) == [
        "fake error=1.2",
        "fake error=1.0",
        "fake error=1.0 - fake error=1.2",
    ]
    difference = frame[frame["experiment"] == "fake error=1.0 - fake error=1.2"]
    assert set(difference["table"]) == {"denoised", "credibility"}
    own, less, more = (row(frame, "noise AUC", "credibility", name) for name in frame["experiment"].unique()[[1, 0, 2]])
    assert more.value == pytest.approx(own.value - less.value)
    assert 0 < more.low < more.high
    assert own.low < less.high  # each alone, they overlap
    denoised = difference[difference["table"] == "denoised"]
    assert not denoised[["value", "low", "high"]].to_numpy().any()  # the same features, to the last bit


def test_experiments_without_a_table_in_common_stand_side_by_side(finished, shop, monkeypatch):
    runs = [*finished([0]), *finished([0], code="2")]
    one, other = (module.load_model(run, shop) for run in runs)
    monkeypatch.setattr(one, "export", dict)
    monkeypatch.setattr(other, "credibility", None)
    frame = recovery(runs, rng(), shop)
    assert list(frame["experiment"].unique()) == ["fake code=1", "fake code=2"]
    assert frame["value"].dtype == float  # and not object, as beside an empty table


def test_intervals_cover_users_and_seeds_where_users_alone_do_not():
    expected = norm.cdf(0.6 / np.sqrt(2 * (1 + 0.25) + 0.09))
    covered, by_users = 0, 0
    for trial in range(120):
        generator = rng(trial)
        users = np.arange(600) % 60
        noisy = generator.random(600) < 0.3
        shared = 0.5 * generator.normal(size=60)[users] - noisy * generator.normal(0.6, 0.3, size=(3, 1))
        values = np.stack([noise_auc(x, noisy, users) for x in shared + generator.normal(size=(3, 600))])
        frame = summary({("noise AUC", "all"): {"credibility": values}}, generator, resamples=300)
        covered += frame["low"][0] <= expected <= frame["high"][0]
        alone = mean_interval(values.mean(axis=0), generator, resamples=300)
        by_users += alone.low <= expected <= alone.high
    assert covered >= 106  # 95 % of 120 is 114; fewer than 106 has p < .004
    assert by_users < 96


def test_a_trained_run_is_measured_by_the_mean_of_ten_draws_of_negatives(shop, tmp_path):
    experiment = Experiment(model="jbm_diff", data="planted", model_settings={"dim": 8}, training=QUICK)
    run = run_experiment(experiment, shop, root=tmp_path, device="cpu")
    frame = recovery([run], rng(), shop)
    model = module.load_model(run, shop)
    pairs = torch.from_numpy(shop.train.pairs())
    sampler = TripleSampler(pairs, shop.num_users, shop.num_items)
    draws = [
        model.credibility(*pairs.T, sampler.negatives(pairs[:, 0], repro.generator(n, "credibility")))
        for n in range(10)
    ]
    noisy = torch.isin(pairs @ torch.tensor([99, 1]), torch.from_numpy(shop.truth.noisy_pairs @ [99, 1]))
    expected = sklearn.metrics.roc_auc_score(noisy.numpy(), -torch.stack(draws).mean(0).numpy())
    assert row(frame, "noise AUC", "credibility").value == pytest.approx(expected, abs=1e-3)
    assert {"raw", "projected", "denoised"} <= set(frame["table"])
    pd.testing.assert_frame_equal(frame, recovery([run], rng(), shop))


def test_features_go_to_the_modality_of_the_longest_name(shop):
    data = shop.replace(features={"text": shop.features["text"], "long_text": shop.features["text"]})
    fake = Fake(shop)
    fake.export = lambda: {
        "item": torch.ones(2, 2),
        "denoised_long_text": torch.ones(32, 2),
        "x_text": torch.ones(32, 3),
    }
    tables, _ = offered(fake, data)
    assert {name: {m: t.shape for m, t in of.items()} for name, of in tables.items()} == {
        "denoised": {"long_text": (32, 2)},
        "x": {"text": (32, 3)},
    }


def test_runs_that_cannot_be_measured_are_refused_in_one_line(finished, shop, world):
    a, b = finished([0, 1])
    with pytest.raises(UserError, match="no run given"):
        recovery([], rng(), shop)
    with pytest.raises(UserError, match="runs run0 and run0 are both fake, seed 0; expected each seed once"):
        recovery([a, b, a], rng(), shop)
    with pytest.raises(UserError, match="runs run0 and run2 were trained on different data; expected one data set"):
        recovery([a, b, *finished([2], data="other")], rng(), shop)
    with pytest.raises(
        UserError, match=r"experiment 'fake error=0\.5' has seeds 0; expected those of 'fake error=unset': 0, 1"
    ):
        recovery([a, b, *finished([0], error=0.5)], rng(), shop)
    with pytest.raises(UserError, match="'planted' has no truth; expected planted or injected noise"):
        recovery([a], rng(), world)
    assert list(experiments([a, *finished([0], code="2")])) == ["fake code=1", "fake code=2"]


def test_a_model_that_says_nothing_about_noise_and_an_unfinished_run_are_refused(shop, tmp_path):
    experiment = Experiment(model="bpr", data="planted", training=replace(QUICK, epochs=1))
    run = run_experiment(experiment, shop, root=tmp_path, device="cpu")
    with pytest.raises(UserError, match="model bpr exports no features named TABLE_MODALITY and has no credibility"):
        recovery([run], rng(), shop)
    (run / "DONE").unlink()
    with pytest.raises(UserError, match="is stopped; expected a finished run"):
        recovery([run], rng(), shop)


def test_data_whose_truth_is_only_what_is_missing_has_none_to_measure_against(finished, world):
    dropped, _ = corrupt(world, "drop_edges", 0.2)
    with pytest.raises(UserError, match="has no truth"):
        recovery(finished([0]), rng(), dropped.replace(features={"text": world.features["text"]}))
