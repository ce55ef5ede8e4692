"""What models that read histories claim beyond the contract: order, strict past, padding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nbkit import repro
from nbkit.data.dataset import Interactions
from nbkit.data.sequences import Past, Stream, joined
from nbkit.errors import UserError
from nbkit.evaluation.final import reference_test, validation_evaluator
from nbkit.evaluation.ranking import scorer
from nbkit.layers import dropout
from nbkit.models.attention import TransformerBlock
from nbkit.models.base import SequentialRecommender, build_model, registry
from nbkit.studies.recommend import recommendations
from nbkit.training.loop import TrainSettings, fit

SEQUENTIAL = sorted(name for name, cls in registry().items() if issubclass(cls, SequentialRecommender))
QUICK = TrainSettings(epochs=40, batch_size=64, lr=0.02, patience=100)


def build(name, data, **settings):
    return build_model(name, data.sealed(), settings, repro.generator(0, "weights")).eval()


def events(*rows):
    user, item, time, behavior = np.array(rows).T
    return Interactions(user, item, timestamp=time, behavior=behavior)


def scores(model, data, train, users, held_out=None):
    return scorer(model, Past(data.sealed(), train, held_out))(torch.tensor(users))


def longer(history, columns):
    """The same history with more padding in front."""
    return {n: Stream(*(F.pad(t, (columns, 0)) for t in (s.items, s.behaviors, s.mask))) for n, s in history.items()}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_next_item_of_the_cycle_comes_first(name, world):
    model = build(name, world, predict="all")
    fit(model, world, QUICK, seed=0, device="cpu")
    assert validation_evaluator(world, ks=[1])(model)["hit@1"] > 0.8  # which of the two unseen, only the order tells


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_order_of_events_matters(name, world):
    model, data = build(name, world), world
    there = events(*[(0, item, time, time % 2) for time, item in enumerate((0, 4, 8, 12))])
    back = replace(there, item=there.item[[2, 1, 0, 3]])
    assert not torch.allclose(scores(model, data, there, [0]), scores(model, data, back, [0]), atol=1e-4)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_no_event_at_or_after_the_held_out_one_changes_a_prediction(name, world):
    model, valid, users = build(name, world), world.valid, list(range(world.num_users))
    before = scores(model, world, world.train, users, valid)
    moment = int(valid.timestamp[0])  # the same for everybody
    rng = np.random.default_rng(0)
    for times in (np.full(300, moment), rng.integers(moment, moment + 5, 300)):
        user, item, behavior = rng.integers([[world.num_users], [world.num_items], [2]], size=(3, 300))
        late = events(*zip(user, item, times, behavior, strict=True))
        more = joined(late, world.train)
        assert torch.equal(scores(model, world, more, users, valid), before)
    early = replace(more, timestamp=np.minimum(more.timestamp, moment - 1))
    assert not torch.equal(scores(model, world, early, users, valid), before)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_final_test_sees_train_and_validation_before_the_test_pair(name, world):
    model, test = build(name, world), world.test.open("rewrite")
    seen = joined(world.train, world.valid)
    moment = int(test.timestamp[0])
    order = np.random.default_rng(0).permutation(len(seen))
    late = joined(seen, replace(seen.take(order), timestamp=np.full(len(seen), moment)))
    expected = scorer(model, Past(world.sealed(), late, test))(torch.arange(world.num_users)).clone()
    expected[torch.tensor(world.train.user), torch.tensor(world.train.item)] = -torch.inf
    place = (expected > expected[torch.tensor(test.user), torch.tensor(test.item)][:, None]).sum(1)
    found = reference_test(world, model, ks=[1, 5])["train"]
    assert found["hit@5"].tolist() == (place < 5).double().tolist()
    without = world.replace(valid=replace(world.valid, timestamp=np.full(len(world.valid), moment)))
    assert reference_test(without, model, ks=[1, 5])["train"]["mrr@5"].tolist() != found["mrr@5"].tolist()


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_padding_changes_nothing(name, world):
    model = build(name, world, length=12)
    users = torch.arange(world.num_users)
    history = model.histories(world, world.train).before(users, users % 5)  # some are empty
    junk = {n: Stream(s.items + 7 * ~s.mask, s.behaviors + ~s.mask, s.mask) for n, s in history.items()}
    with torch.no_grad():
        expected = model.encode(history)
        for same in (longer(history, 7), junk):
            torch.testing.assert_close(model.encode(same), expected)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_batch_may_hold_users_with_no_history_at_all(name, world):
    model = build(name, world)
    history = model.histories(world, world.train).before(torch.tensor([0, 1]), torch.tensor([-5, 5]))
    encoded = model.encode(history)
    assert torch.isfinite(encoded).all()
    encoded.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_recommendations_read_train_and_validation(name, world):
    model = build(name, world)
    table = recommendations(model, world, [3], 4)
    score = scores(model, world, joined(world.train, world.valid), [3])[0]
    rows = [list(world.item_ids).index(i) for i in table["item_id"]]
    np.testing.assert_array_equal(table["score"], score[rows].numpy())


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_data_without_times_or_with_an_unknown_behaviour_is_refused(name, world):
    timeless = world.replace(train=Interactions(world.train.user, world.train.item))
    with pytest.raises(UserError, match="'planted' has no times"):
        build(name, timeless)
    with pytest.raises(UserError, match="deep = 'purchases'; did you mean 'purchase'"):
        build(name, world, deep="purchases")


@pytest.mark.parametrize(("name", "loss"), [("sasrec", "bce"), ("gru4rec", "bpr"), ("gru4rec", "top1")])
def test_the_losses_of_the_papers_learn_as_well(name, loss, world):
    model = build(name, world, loss=loss)
    result = fit(model, world, replace(QUICK, epochs=60), seed=0, device="cpu")
    assert set(result.history[0]) >= {f"loss_{loss}"}
    assert validation_evaluator(world, ks=[2])(model)["hit@2"] > 0.7


def test_sasrecs_binary_loss_is_that_of_the_paper(world):
    model = build("sasrec", world, loss="bce", dropout=0.0)
    batch = next(model.sampler(world).epoch(8, repro.generator(0, "training")))
    scores = model.encode(batch.history) @ model.item_table().T
    rows = torch.arange(8)
    own, other = scores[rows, batch.positives], scores[rows, batch.negatives]
    expected = -(torch.sigmoid(own).log() + (1 - torch.sigmoid(other)).log()).mean()
    torch.testing.assert_close(model.losses(batch)["bce"], expected)


def test_sasrec_reads_each_place_from_what_is_before_it(world):
    model, states = build("sasrec", world), []
    model.blocks[-1].register_forward_hook(lambda block, args, x: states.append(x))
    torch.nn.init.zeros_(model.positions)  # else a shorter history stands at other places
    items, zeros = torch.tensor([[3, 9, 1, 7, 2]]), torch.zeros(1, 5, dtype=torch.long)
    encoded = [
        model.encode({"all": Stream(items[:, :n], zeros[:, :n], torch.ones(1, n, dtype=torch.bool))})
        for n in range(1, 6)
    ]
    torch.testing.assert_close(model.norm(states[-1][0]), torch.cat(encoded))


def test_where_there_is_no_event_a_place_reads_itself_alone_and_padding_is_read_by_nobody():
    block = TransformerBlock(8, 2, repro.generator(0, "weights")).eval()
    x, mask = torch.randn(1, 4, 8, generator=repro.generator(0, "x")), torch.tensor([[False, False, True, True]])
    alone = torch.cat([block(x[:, n : n + 1], torch.tensor([[True]])) for n in range(2)], dim=1)
    torch.testing.assert_close(block(x, mask & False)[:, :2], alone)
    torch.testing.assert_close(block(x, mask)[:, 2:], block(x[:, 2:], mask[:, 2:]))
    for there in (mask, mask & False):
        torch.testing.assert_close(block(x, there, last=True), block(x, there)[:, -1:])


def test_gru4rec_equals_the_recurrence_written_out(world):
    model = build("gru4rec", world, dim=5)
    items = torch.tensor([3, 9, 1])
    w_i, w_h, b_i, b_h = model.gru.parameters()
    h = torch.zeros(5)
    for x in model.items[items]:
        i, g = (w_i @ x + b_i).chunk(3), (w_h @ h + b_h).chunk(3)
        r, z = torch.sigmoid(i[0] + g[0]), torch.sigmoid(i[1] + g[1])
        h = (1 - z) * torch.tanh(i[2] + r * g[2]) + z * h
    stream = Stream(F.pad(items, (2, 0))[None], torch.zeros(1, 5).long(), torch.tensor([[0, 0, 1, 1, 1]]).bool())
    torch.testing.assert_close(model.encode({"all": stream})[0], h)


def test_dropout_keeps_the_mean_and_draws_from_the_generator_alone():
    x = torch.ones(400, 400)
    generator = repro.generator(0, "training")
    dropped = dropout(x, 0.3, generator)
    assert dropped.mean().item() == pytest.approx(1, abs=0.01)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert dropout(x, 0.3, None) is x


def test_heads_must_divide_the_width(world):
    with pytest.raises(UserError, match="heads = 3; expected a divisor of dim = 64"):
        build("sasrec", world, heads=3)
