from __future__ import annotations

import threading

import pytest
import torch

from nbkit import repro
from nbkit.data.sampling import TripleSampler
from nbkit.errors import TrainingDivergedError, UserError
from nbkit.evaluation.final import validation_evaluator
from nbkit.models.base import build_model, registry
from nbkit.training.callbacks import Callback, LogProgress, Stop
from nbkit.training.loop import TrainSettings, fit, make_optimizer, pick_device, train_epoch

SMALL = TrainSettings(epochs=8, batch_size=64, lr=0.02, lr_decay=0.9, lr_decay_epochs=2)


class Killed(BaseException):
    """What kill -9 looks like from inside: nothing gets to clean up."""


class Kill(Callback):
    def __init__(self, at: int) -> None:
        self.left = at

    def stepped(self, step: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


def build(name, data):
    return build_model(name, data.sealed(), {}, repro.generator(0, "weights"))


def run(name, data, **options):
    model = build(name, data)
    settings = options.pop("settings", SMALL)
    return model, fit(
        model, data, settings, seed=0, validate=validation_evaluator(data, ks=[20]), device="cpu", **options
    )


def without_clock(history):
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in history]


@pytest.mark.parametrize("name", sorted(registry()))
def test_a_killed_and_resumed_fit_equals_an_uninterrupted_one_bit_for_bit(name, world, tmp_path):
    model, whole = run(name, world)
    steps = model.sampler(world.sealed()).steps(SMALL.batch_size)
    for deaths, at in enumerate((steps - 1, 2 * steps + 1, 3 * steps + 1)):  # in epochs 1, 3 and 4 of what is left
        with pytest.raises(Killed):
            run(name, world, checkpoint=tmp_path / "c", checkpoint_seconds=0, callbacks=[Kill(at)])
        assert (tmp_path / "c").exists() == (deaths > 0)
    again, resumed = run(name, world, checkpoint=tmp_path / "c", checkpoint_seconds=0)
    assert without_clock(resumed.history) == without_clock(whole.history)
    assert (resumed.best_epoch, resumed.best_score) == (whole.best_epoch, whole.best_score)
    for parameter, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[parameter]), parameter


def test_what_a_model_says_of_itself_reaches_the_history_and_changes_nothing(world):
    plain, told, seen = build("bpr", world), build("bpr", world), []

    def diagnostics():
        seen.append((told.training, torch.is_grad_enabled()))
        return {"norm": float(told.users.norm())}

    told.diagnostics = diagnostics
    rows, with_norm = (without_clock(fit(m, world, SMALL, seed=0, device="cpu").history) for m in (plain, told))
    assert [row.pop("diagnostic_norm") for row in with_norm][-1] == told.users.norm().item()
    assert with_norm == rows
    assert seen == [(False, False)] * SMALL.epochs


def test_the_model_ends_with_the_weights_of_its_best_epoch(world):
    def peak_at_three():
        scores = iter([0.1, 0.2, 0.9, 0.5, 0.4, 0.3])
        return lambda model: {"recall@20": next(scores)}

    fitted = {}
    for epochs in (3, 6):
        model, settings = (
            build("bpr", world),
            TrainSettings(epochs=epochs, batch_size=64, lr=0.05, patience=9),
        )
        result = fit(model, world, settings, seed=0, validate=peak_at_three(), device="cpu")
        assert (result.best_epoch, result.best_score) == (3, 0.9)
        fitted[epochs] = model.users
    assert torch.equal(fitted[3], fitted[6])


def test_training_ends_after_so_many_validations_without_a_better_one(world):
    scores = iter([0.5, 0.6, *[0.1] * 50])
    settings = TrainSettings(epochs=40, patience=3)
    result = fit(build("bpr", world), world, settings, seed=0, validate=lambda m: {"recall@20": next(scores)})
    assert len(result.history) == 2 + settings.patience + 1


def test_selection_sees_differences_that_rounding_would_hide(world):
    scores = iter([0.10001, 0.10002, 0.10003, 0.1, 0.1, 0.1])
    result = fit(
        build("bpr", world),
        world,
        TrainSettings(epochs=9, patience=2),
        seed=0,
        validate=lambda m: {"recall@20": next(scores)},
    )
    assert result.best_epoch == 3


def test_validation_is_due_every_so_many_epochs_and_at_the_end(world):
    _, result = run("bpr", world, settings=TrainSettings(epochs=7, eval_every=3))
    assert [row["epoch"] for row in result.history if "valid_recall@20" in row] == [3, 6, 7]


def test_the_loss_is_the_scaled_sum_of_its_named_parts(world):
    _, result = run("bpr", world, settings=TrainSettings(epochs=2, loss_scale={"reg": 2.5}))
    for row in result.history:
        assert row["loss"] == pytest.approx(row["loss_bpr"] + 2.5 * row["loss_reg"], rel=1e-6)


def test_a_dropped_loss_part_no_longer_moves_the_model(world):
    pairs = torch.from_numpy(world.train.pairs())
    weights = []
    for settings, scale in (({}, {"reg": 0.0}), ({"reg": 0.0}, {})):
        model = build_model("bpr", world.sealed(), settings, repro.generator(0, "weights"))
        batches = TripleSampler(pairs, world.num_users, world.num_items).epoch(64, repro.generator(0, "training"))
        train_epoch(model, batches, make_optimizer(model, SMALL), loss_scale=scale)
        weights.append(model.users.detach())
    torch.testing.assert_close(*weights)


def test_an_unknown_loss_part_is_named_with_the_nearest(world):
    with pytest.raises(UserError, match="unknown loss part 'regg'; did you mean 'reg'"):
        run("bpr", world, settings=TrainSettings(loss_scale={"regg": 0.0}))


def test_an_unknown_metric_is_named_with_the_nearest(world):
    with pytest.raises(UserError, match="metric = 'recal@20'; did you mean 'recall@20'"):
        run("bpr", world, settings=TrainSettings(metric="recal@20"))


def test_a_loss_that_is_no_number_names_epoch_batch_and_part(world):
    model = build("lightgcn", world)
    losses, calls = model.losses, []

    def poisoned(batch):
        calls.append(0)
        parts = losses(batch)
        return parts | {"reg": parts["reg"] * float("nan")} if len(calls) == 6 else parts

    model.losses = poisoned
    with pytest.raises(TrainingDivergedError, match=r"epoch 2: loss part 'reg' became nan in batch 1;") as caught:
        fit(model, world, SMALL, seed=0)
    assert len(caught.value.history) == 1


def test_a_sum_that_overflows_while_its_parts_are_finite_is_named_too(world):
    with pytest.raises(TrainingDivergedError, match=r"epoch 1: loss part 'the sum' became inf in batch 0;"):
        run("bpr", world, settings=TrainSettings(loss_scale={"reg": 1e39}))


def test_stop_takes_effect_within_a_batch_from_another_thread(world):
    stop, seen = Stop(), []

    class Watch(Callback):
        def stepped(self, step):
            seen.append(step)
            if len(seen) == 6:
                thread = threading.Thread(target=stop.press)
                thread.start()
                thread.join()

    _, result = run("bpr", world, callbacks=[Watch(), stop], settings=TrainSettings(epochs=500, batch_size=64))
    assert result.status == "stopped"
    assert len(seen) == 6
    assert len(result.history) == 1


def test_learning_rate_decays_by_its_factor(world):
    _, result = run("bpr", world)
    assert [row["lr"] for row in result.history[:3]] == pytest.approx([0.02, 0.02 * 0.9**0.5, 0.02 * 0.9])


def test_gradients_are_clipped_to_the_norm_asked_for(world):
    model = build("bpr", world)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = torch.cat([p.detach().flatten() for p in model.parameters()])
    sampler = TripleSampler(torch.from_numpy(world.train.pairs()), world.num_users, world.num_items)
    train_epoch(model, sampler.epoch(10_000, repro.generator(0, "x")), optimizer, loss_scale={}, clip_norm=1e-3)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_a_damaged_checkpoint_is_one_line(world, tmp_path):
    (tmp_path / "c").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="cannot be resumed"):
        run("bpr", world, checkpoint=tmp_path / "c")


def test_a_checkpoint_of_another_model_is_refused(world, tmp_path):
    run("bpr", world, checkpoint=tmp_path / "c", checkpoint_seconds=0)
    with pytest.raises(UserError, match="cannot be resumed"):
        run("lightgcn", world, checkpoint=tmp_path / "c")


def test_a_log_has_a_line_every_few_seconds_and_one_at_the_end(world, capsys):
    run("bpr", world, callbacks=[LogProgress("bpr", every=0)])
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == SMALL.epochs + 1
    assert lines[0].startswith("bpr: epoch 1 of at most 8; loss 0.")
    assert "recall@20 0." in lines[0]
    assert lines[-1].startswith("bpr: finished after 8 epochs")


def test_an_absent_device_is_one_line():
    with pytest.raises(UserError, match="device 'gpu7'; expected auto, cpu, cuda"):
        pick_device("gpu7")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="no CUDA device"):
            pick_device("cuda")


def test_training_sees_the_sealed_view_alone(world, monkeypatch):
    from nbkit.data.dataset import SealedSplit

    monkeypatch.setattr(SealedSplit, "open", lambda self, purpose: pytest.fail("the seal was broken"))
    run("freedom", world)
