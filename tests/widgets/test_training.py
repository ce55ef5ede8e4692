from __future__ import annotations

import time

import pytest

from nbkit.errors import UserError
from nbkit.studies.experiment import Experiment
from nbkit.training.loop import TrainSettings
from nbkit.widgets.training import Training, TrainingState, bar_html, headless, train


def experiment(epochs=3, **changes):
    training = TrainSettings(epochs=epochs, batch_size=64, patience=100_000)
    return Experiment(model="bpr", data="planted", training=training, **changes)


def test_the_state_remembers_the_best_validation():
    state = TrainingState(title="bpr")
    state.started(0, 10, 4)
    for epoch, score in enumerate([0.1, 0.3, 0.2], start=1):
        state.epoch_ended({"epoch": epoch, "loss": 1.0 / epoch, "valid_recall@20": score})
    assert (state.epoch, state.best, state.status) == (3, 0.3, "training")


def test_the_bar_says_how_far_and_how_well():
    state = TrainingState(title="<bpr>", epochs=10)
    state.started(0, 10, 4)
    state.epoch_ended({"epoch": 4, "loss": 0.5, "valid_recall@20": 0.25})
    html = bar_html(state)
    assert "width:40%" in html
    assert "epoch 4 of at most 10 · loss 0.5000 · recall@20 0.2500 (best 0.2500)" in html
    assert "&lt;bpr&gt;" in html
    state.ended("finished")
    assert "width:100%" in bar_html(state)


def test_watched_and_headless_training_give_the_same_run(world, tmp_path, capsys):
    watched = train(experiment(), dataset=world, root=tmp_path / "a", interactive=True)
    inline = train(experiment(), dataset=world, root=tmp_path / "b", interactive=False)
    assert "bpr seed 0: finished after 3 epochs" in capsys.readouterr().err
    assert watched.id == inline.id
    assert (watched / "model.safetensors").read_bytes() == (inline / "model.safetensors").read_bytes()


def test_stop_ends_a_run_in_the_background_and_keeps_it(world, tmp_path):
    training = Training(experiment(epochs=100_000), dataset=world, root=tmp_path)
    while training.state.epoch < 2:
        time.sleep(0.01)
    training._callbacks[1].button.click()
    run = training.result()
    assert run.status == "stopped"
    assert len(run.read_table("history.parquet")) >= 2


def test_an_interrupt_while_waiting_stops_the_training(world, tmp_path, monkeypatch):
    training = Training(experiment(epochs=100_000), dataset=world, root=tmp_path)
    join, calls = training._thread.join, []

    def interrupted(timeout=None):
        calls.append(timeout)
        if len(calls) == 3:
            raise KeyboardInterrupt
        join(timeout)

    monkeypatch.setattr(training._thread, "join", interrupted)
    assert training.result().status == "stopped"


def test_a_mistake_in_the_thread_reaches_whoever_asks_for_the_result(world, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="expected a writable folder"):
        train(experiment(), dataset=world, root=tmp_path / "file" / "runs", interactive=True)


def test_nobody_watches_a_script_or_a_headless_run(monkeypatch):
    assert headless()
    monkeypatch.setenv("NBKIT_HEADLESS", "1")
    assert headless()
