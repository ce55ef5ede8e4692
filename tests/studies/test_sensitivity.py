"""Curves of a sweep: the start in each of them, planted effects found and nothing else, flat curves said to be flat."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
import pytest

from nbkit import config
from nbkit.errors import UserError
from nbkit.evaluation import final
from nbkit.evaluation.stats import hierarchical_difference, mean_interval
from nbkit.runs import RunFolder
from nbkit.studies.paper_sweeps import SWEEPS, paper_sweep, published_peaks
from nbkit.studies.planning import Planned
from nbkit.studies.sensitivity import findings, sensitivity
from nbkit.studies.study import sweep

USERS, SEEDS = 300, [0, 1, 2]
OVER = {"contrast": [0.1, 0.02, 1.0], "align_by": ["dimension"], "lr": [0.01]}
METRIC = "recall@20"


def scores(experiment) -> np.ndarray:
    """Users differ, seeds differ a little, λ_cl = 1 costs everybody .2; nothing else does anything."""
    users = np.random.default_rng(0).uniform(0.3, 0.7, USERS)
    rng = np.random.default_rng(zlib.crc32(config.canonical_json(experiment).encode()))
    noise = 0.03 * rng.normal(size=USERS)
    return users + 0.002 * experiment.seed - 0.2 * (experiment.model_settings["contrast"] == 1) + noise - noise.mean()


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    study = sweep("diffcl", "boutique:tiny", over=OVER, seeds=SEEDS)
    found = []
    for number, (experiment, label) in enumerate(zip(study, study.labels(), strict=True)):
        run = RunFolder(root / f"{number:016x}").create()
        run.write_json("settings.json", config.canonical(experiment))
        parts = [
            pd.DataFrame({"user": range(USERS), "relevant": 1, "split": split, "masking": masking, METRIC: values})
            for split, masking, values in (
                ("valid", "train", scores(experiment)),
                ("test", "train", np.full(USERS, np.nan)),
            )
        ]
        run.write_table(final.PER_USER, pd.concat(parts).sample(frac=1, random_state=number))
        run.finish()
        found.append(Planned(experiment, label, run, "done", None))
    return found


def table(planned, seed=0):
    return sensitivity(planned, METRIC, np.random.default_rng(seed), resamples=2000)


def test_every_curve_has_the_start_in_its_place_and_values_in_order(planned):
    found = table(planned)
    values = {name: part["value"].tolist() for name, part in found.groupby("setting", sort=False)}
    assert values == {"contrast": [0.02, 0.1, 1.0], "align_by": ["table", "dimension"], "lr": [0.001, 0.01]}
    assert found.loc[found["start"], "value"].tolist() == [0.02, "table", 0.001]
    assert (found["seeds"] == 3).all()
    assert (found["n"] == USERS).all()


def test_a_planted_effect_is_shown_and_what_does_nothing_is_not(planned):
    found = table(planned)
    shown = found[found["verdict"].isin(["better", "worse"])]
    assert [(row.setting, row.value, row.verdict) for row in shown.itertuples()] == [("contrast", 1.0, "worse")]
    assert shown["difference"].item() == pytest.approx(-0.2, abs=1e-9)
    assert (found[found["start"]]["difference"] == 0).all()
    others = found[~found["start"]]
    assert (others["diff_low"] < others["difference"]).all()
    assert (others["difference"] < others["diff_high"]).all()


def test_numbers_are_those_of_the_statistics_room_corrected_for_every_comparison(planned):
    found = table(planned).set_index(["setting", "value"])
    start = np.stack([scores(p.experiment) for p in planned if p.label == "start"])
    own = np.stack([scores(p.experiment) for p in planned if p.label == "contrast=1"])
    mean = mean_interval(own, np.random.default_rng(5), resamples=4000)
    row = found.loc["contrast", 1.0]
    assert row["mean"] == pytest.approx(own.mean())
    assert (row["low"], row["high"]) == pytest.approx((mean.low, mean.high), abs=0.01)
    loose = hierarchical_difference(own, start, np.random.default_rng(5), level=0.95)
    strict = hierarchical_difference(own, start, np.random.default_rng(5), level=1 - 0.05 / 4)
    width = row["diff_high"] - row["diff_low"]
    assert width > 1.1 * (loose.high - loose.low)
    assert width == pytest.approx(strict.high - strict.low, rel=0.15)
    assert row["p_holm"] >= row["p"]


def test_a_sentence_names_what_differs_and_says_what_is_flat(planned):
    said = findings(table(planned), METRIC)
    assert len(said) == 3
    assert not any("np." in line for line in said)
    assert said[0].startswith("diffcl, contrast: 1 is worse than 0.02, -0.2000 (")
    assert said[1].startswith(
        "diffcl, align_by: flat as far as this shows: none of 1 values differs from table; the best"
    )
    assert all("corrected for 4 comparisons" in line for line in said[1:])


def test_what_is_no_finished_sweep_is_one_line(planned):
    with pytest.raises(UserError, match="expected a sweep"):
        table([each for each in planned if each.label == "start"])
    with pytest.raises(UserError, match=r"contrast = 1 has seeds .1, 2.; expected those of the other"):
        table([p for p in planned if not (p.label == "contrast=1" and p.experiment.seed == 0)])
    with pytest.raises(UserError, match="metric = 'recall@21'; did you mean 'recall@20'"):
        sensitivity(planned, "recall@21", np.random.default_rng(0))


def test_published_peaks_lie_within_the_papers_range_and_none_is_invented():
    peaks = published_peaks(["diffcl", "jbm_diff"])
    assert ((peaks["low"] >= 0.01) & (peaks["low"] <= peaks["high"]) & (peaks["high"] <= 1)).all()
    assert set(peaks["setting"]) == {"contrast", "align", "reg"}
    assert set(peaks["model"]) == {"diffcl"}
    assert not ((peaks["setting"] == "contrast") & (peaks["data"] == "Video")).any()


@pytest.mark.parametrize("values", SWEEPS)
def test_a_paper_s_sweep_is_one_departure_at_a_time_over_its_range(values):
    study = paper_sweep(["diffcl", "jbm_diff"], "boutique:tiny", values=values, seeds=[0])
    assert [label.count("=") for label in study.labels()].count(0) == 2
    assert max(label.count("=") for label in study.labels()) == 1
    for weight in ("contrast", "align", "reg"):
        tried = {e.model_settings[weight] for e in study if e.model == "diffcl"}
        assert {0.01, 1.0} < tried
    with pytest.raises(UserError, match="no published sweep of 'bpr'"):
        paper_sweep(["bpr"], "boutique:tiny")
    with pytest.raises(UserError, match="values = 'fats'; did you mean 'fast'"):
        paper_sweep(["diffcl"], "boutique:tiny", values="fats")
