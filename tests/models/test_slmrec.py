"""What SLMRec alone claims: its views, its loss and its three tasks by hand, and what the loss does not see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.models.base import Inputs
from nbkit.models.layers import info_nce
from nbkit.models.slmrec import SLMRec


def build(data, **settings) -> SLMRec:
    inputs = Inputs.from_view(data.sealed())
    return SLMRec(inputs, **{"dim": 6, "layers": 2, **settings}, generator=repro.generator(0, "weights"))


def batch(data, *, seed: int = 3, negative: int = 0) -> Batch:
    users, positives = torch.from_numpy(data.train.pairs())[0:200:3].T
    return Batch(users, positives, torch.full_like(users, negative), torch.Generator().manual_seed(seed))


def adjacency(data) -> Tensor:
    pairs = torch.from_numpy(data.train.pairs())
    full = torch.zeros(data.num_users + data.num_items, data.num_users + data.num_items)
    full[pairs[:, 0], data.num_users + pairs[:, 1]] = full[data.num_users + pairs[:, 1], pairs[:, 0]] = 1
    return full / (full.sum(1)[:, None] * full.sum(1)).sqrt()


def starts(model: SLMRec, data) -> list[Tensor]:
    """[P; Q] and [P; W f/|f| + b] of each modality."""
    users, tables = model.nodes[: data.num_users], [model.nodes]
    for m in data.modalities:
        raw, project = torch.tensor(data.features[m]), model.content[m].project
        unit = raw / (raw**2).sum(1, keepdim=True).sqrt()
        tables.append(torch.cat([users, unit @ project.weight.T + project.bias]))
    return tables


def fused(model: SLMRec, views: list[Tensor], data) -> tuple[Tensor, Tensor]:
    users, items = torch.cat(views, dim=1).split([data.num_users, data.num_items])
    return tuple(x @ f.weight.T + f.bias for x, f in zip((users, items), model.fuse, strict=True))


def cross_entropy(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a)))


def cosine_entropy(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    return cross_entropy(F.normalize(a, dim=1), F.normalize(b, dim=1), temperature)


@pytest.mark.parametrize("modalities", [("text",), ("audio", "image", "text")])
def test_scores_and_losses_follow_from_the_equations_over_dense_tables(modalities, make_planted):
    data = make_planted(modalities)
    model, seen, hop = build(data, ssl=0.3, ssl_temperature=0.7, layers=2), batch(data), adjacency(data)
    views = [(x + hop @ x + hop @ hop @ x) / 3 for x in starts(model, data)]
    users, items = fused(model, views, data)
    torch.testing.assert_close(model.score(torch.arange(data.num_users)), users @ items.T)
    expected = {"rec": cosine_entropy(users[seen.users], items[seen.positives], 0.2)}
    fine, *modal = (z[data.num_users :][seen.positives] for z in views)
    for m, z in zip(modalities, modal, strict=True):
        fine = model.coarser[m](fine)
        expected[f"ssl_{m}"] = 0.3 * cross_entropy(fine, z @ model.modal[m].weight.T, 0.7)
    parts = model.losses(seen)
    assert set(parts) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value)
    widths = [model.coarser[m].out_features for m in modalities]
    assert widths == ([6] if len(modalities) == 1 else [6, 6, 3])


@pytest.mark.parametrize("task", ["fd", "fm", "fd+fm"])
def test_the_tasks_of_two_views_follow_from_the_equations_over_dense_tables(task, world):
    model, seen, hop = build(world, task=task, ssl=0.3, hop_dropout=0.4), batch(world), adjacency(world)
    generator, tables, pair = torch.Generator().manual_seed(3), starts(model, world), []
    gone = torch.randperm(3, generator=generator) if "fm" in task else [None, None]
    for view in range(2):
        views = []
        for k, x in enumerate(tables):
            if k == gone[view]:
                x = torch.cat([x[: world.num_users], torch.zeros(world.num_items, 6)])
            total = x
            for _ in range(model.layers):
                x = hop @ x
                if "fd" in task:
                    x = x * torch.empty_like(x).bernoulli_(0.6, generator=generator) / 0.6
                total = total + x
            views.append(total / 3)
        pair.append(fused(model, views, world))
    rows = {"users": seen.users, "items": seen.positives}
    parts = model.losses(seen)
    assert set(parts) == {"rec", "ssl_users", "ssl_items"}
    for k, (kind, of) in enumerate(rows.items()):
        torch.testing.assert_close(parts[f"ssl_{kind}"], 0.3 * cosine_entropy(pair[0][k][of], pair[1][k][of], 0.2))


def test_the_two_masks_never_agree_and_each_table_is_masked_in_turn(world):
    model, masked = build(world, task="fm"), set()
    tables = model.tables()
    for seed in range(40):
        one, other = model._masked(tables, batch(world, seed=seed))
        gone = [next(k for k in range(3) if not torch.equal(view[k], tables[k])) for view in (one, other)]
        assert gone[0] != gone[1]
        assert not one[gone[0]][world.num_users :].any()
        assert torch.equal(one[gone[0]][: world.num_users], tables[0][: world.num_users])
        masked.add(tuple(gone))
    assert len(masked) == 6


def test_without_a_task_nothing_of_it_is_left_and_the_rest_is_the_same(world):
    bare, seen = build(world, ssl=0.0), batch(world)
    assert not len(bare.coarser) + len(bare.modal)
    assert set(bare.losses(seen)) == {"rec"}
    for task in ("fac", "fd", "fm", "fd+fm"):
        model = build(world, task=task)
        model.load_state_dict(bare.state_dict(), strict=False)
        assert torch.equal(model.losses(seen)["rec"], bare.losses(seen)["rec"])
        assert len(model.modal) == (2 if task == "fac" else 0)


def test_a_bias_of_what_is_contrasted_with_would_cancel():
    a, b, shift = (torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in ((9, 4), (9, 4), (4,)))
    torch.testing.assert_close(info_nce(a, b + shift, 0.5, cosine=False), info_nce(a, b, 0.5, cosine=False))
    assert not torch.allclose(info_nce(a + shift, b, 0.5, cosine=False), info_nce(a, b, 0.5, cosine=False))


def test_the_loss_does_not_see_the_length_of_vectors_and_ranking_by_cosines_does_not_either(world):
    dot, cosine, seen = build(world, ssl=0.0), build(world, ssl=0.0, score="cosine"), batch(world)
    users = torch.arange(world.num_users)
    before = [(m.losses(seen)["rec"], m.score(users)) for m in (dot, cosine)]
    vectors = [F.normalize(x, dim=1) for x in dot.embeddings()]
    torch.testing.assert_close(before[1][1], vectors[0] @ vectors[1].T)
    with torch.no_grad():
        for model in (dot, cosine):
            model.fuse[1].weight *= 3
            model.fuse[1].bias *= 3
    for model, (loss, score), factor in zip((dot, cosine), before, (3, 1), strict=True):
        torch.testing.assert_close(model.losses(seen)["rec"], loss)
        torch.testing.assert_close(model.score(users), factor * score)


def test_one_user_table_serves_every_view(world):
    model = build(world, layers=0)
    users, items = model.nodes.tensor_split([world.num_users])
    tables = model.tables()
    assert len(tables) == 3
    assert all(torch.equal(table[: world.num_users], users) for table in tables)
    assert torch.equal(tables[0][world.num_users :], items)
    expected = torch.cat([users] * 3, dim=1) @ model.fuse[0].weight.T + model.fuse[0].bias
    torch.testing.assert_close(model.embeddings()[0], expected)


def test_negatives_are_not_read_and_only_the_views_of_fd_and_fm_draw(world):
    for task, draws in (("fac", False), ("fd", True), ("fm", True)):
        model = build(world, task=task)
        full = model.losses(batch(world))
        other = model.losses(batch(world, negative=7))
        assert all(torch.equal(full[name], other[name]) for name in full)
        drawn = [model.losses(batch(world, seed=seed)) for seed in range(6)]
        assert all(torch.equal(full["rec"], parts["rec"]) for parts in drawn)
        assert (len({sum(parts.values()).item() for parts in drawn}) > 1) == draws
