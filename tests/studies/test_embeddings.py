"""Claims about the stages of an item: what they are, whose they are, and what noise does without training."""

from __future__ import annotations

import numpy as np
import pytest

from nbkit.data.corrupt import corrupt
from nbkit.errors import UserError
from nbkit.studies.embeddings import stages, weights_on
from nbkit.studies.experiment import Experiment, load_model, run_experiment
from nbkit.training.loop import TrainSettings

QUICK = TrainSettings(epochs=1, batch_size=64)


@pytest.fixture
def run(world, tmp_path):
    return run_experiment(Experiment("jbm_diff", training=QUICK), world, root=tmp_path, device="cpu")


def test_stages_are_the_features_then_the_runs_own_tables_in_order(world, run):
    found, kept = stages(load_model(run, world), world, "text"), run.read_arrays("embeddings.npz")
    assert list(found) == ["raw", "projected", "denoised", "fused"]
    assert found["raw"] is world.features["text"]
    for name, table in (("projected", "projected_text"), ("denoised", "denoised_text"), ("fused", "item")):
        np.testing.assert_allclose(found[name], kept[table], atol=1e-6)


def test_a_model_without_content_has_its_items_alone(world, tmp_path):
    run = run_experiment(Experiment("lightgcn", training=QUICK), world, root=tmp_path, device="cpu")
    assert list(stages(load_model(run, world), world, "image")) == ["raw", "fused"]
    with pytest.raises(UserError, match="no modality 'txt'; did you mean 'text'"):
        stages(load_model(run, world), world, "txt")


def test_weights_on_the_same_data_are_the_model(world, run):
    own, other = stages(load_model(run, world), world, "image"), stages(weights_on(run, world), world, "image")
    assert all(np.array_equal(own[name], other[name]) for name in own)


def test_noise_reaches_the_projection_of_the_touched_rows_alone_and_the_denoised_of_more(world, run):
    noisy, truth = corrupt(world, "row_shuffle", 0.25, 0)
    clean, after = stages(load_model(run, world), world, "image"), stages(weights_on(run, noisy), noisy, "image")
    moved = {name: np.abs(after[name] - clean[name]).max(axis=1) > 1e-6 for name in clean}
    assert np.array_equal(moved["projected"], moved["raw"])
    assert not moved["raw"][~truth.noisy_rows["image"]].any()
    assert moved["denoised"].sum() > moved["raw"].sum(), "a denoiser that sees neighbours passes noise on"


def test_weights_of_an_unfinished_run_and_for_other_items_are_refused(world, run, make_planted, tmp_path):
    (run / "DONE").unlink()
    with pytest.raises(UserError, match="expected a finished run"):
        weights_on(run, world)
