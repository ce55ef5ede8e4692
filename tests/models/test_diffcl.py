"""What DiffCL alone claims: its graphs, fusion and alignment by hand; which switch changes what; what trains what."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.errors import UserError
from nbkit.models.base import Inputs
from nbkit.models.diffcl import DiffCL
from nbkit.models.layers import info_nce
from nbkit.training.loop import TrainSettings, fit

# Two users, two items: u0 took i0 and i1, u1 took i1. Degrees 2, 1, 1, 2.
FOUR = Inputs(
    num_users=2,
    num_items=2,
    pairs=torch.tensor([[0, 0], [0, 1], [1, 1]]),
    features={
        "image": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        "text": torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]]),
    },
    neighbours={},
)
S = math.sqrt(0.5)
ADJACENCY = torch.tensor([[0, 0, S, 0.5], [0, 0, 0, S], [S, 0, 0, 0], [0.5, S, 0, 0]])


def four(**settings) -> DiffCL:
    return DiffCL(FOUR, **{"dim": 3, "hidden": 5, **settings}, generator=repro.generator(0, "weights"))


def batch(seed: int = 0) -> Batch:
    return Batch(
        torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), torch.tensor([1, 0, 0]), torch.Generator().manual_seed(seed)
    )


def encoded_by_hand(model: DiffCL) -> tuple[Tensor, dict[str, Tensor]]:
    powers = torch.eye(4) + ADJACENCY + ADJACENCY @ ADJACENCY
    modal = {}
    for m in ("image", "text"):
        inner, _, outer = model.content[m]
        x = FOUR.features[m] @ inner.weight.T + inner.bias
        x = torch.where(x > 0, x, 0.01 * x) @ outer.weight.T + outer.bias
        rows = torch.cat([model.users[m], x])
        modal[m] = powers @ (rows / rows.norm(dim=1, keepdim=True))
    return powers @ model.nodes, modal


def test_scores_of_four_nodes_follow_from_the_equations_by_hand():
    model = four(neighbours=2)
    with torch.no_grad():
        model.fusion.fill_(0.3)
        identity, modal = encoded_by_hand(model)
        for x in modal.values():  # both items are neighbours of each: a mean of the two is added to each
            x[2:] += x[2:].mean(0)
        fused = 0.3 * modal["image"] + 0.7 * modal["text"]
        expected = fused[:2] @ fused[2:].T + identity[:2] @ identity[2:].T
        torch.testing.assert_close(model.score(torch.tensor([0, 1])), expected)


def test_an_item_graph_of_one_neighbour_is_the_item_itself_and_of_no_hop_is_absent():
    for settings, factor in (({"neighbours": 1}, 2), ({"item_layers": 0}, 1)):
        model = four(**settings)
        _, encoded = model.encoded()
        for m, x in model.enhanced(encoded).items():
            torch.testing.assert_close(x[2:], factor * encoded[m][2:])
            torch.testing.assert_close(x[:2], encoded[m][:2])


@pytest.mark.parametrize("by", ["table", "dimension"])
def test_alignment_is_the_distance_of_means_and_deviations_to_those_of_the_identities(by):
    model = four(align_by=by, align=2.0, neighbours=1)
    identity, modal = encoded_by_hand(model)
    parts = model.losses(batch())
    for m, x in modal.items():
        x = torch.cat([x[:2], 2 * x[2:]])
        columns = range(3) if by == "dimension" else [slice(None)]
        gaps = [
            (identity[:, c].mean() - x[:, c].mean()).abs() + (identity[:, c].std() - x[:, c].std()).abs()
            for c in columns
        ]
        torch.testing.assert_close(parts[f"align_{m}"], 2 * sum(gaps) / len(gaps))


def test_the_norm_part_is_the_mean_square_of_the_enhanced_modal_tables():
    model = four(reg=3.0)
    modal = model.enhanced(model.encoded()[1])
    expected = 3 * sum((x**2).sum() / x.numel() for x in modal.values())
    torch.testing.assert_close(model.losses(batch())["reg"], expected)


def test_fusion_weights_start_equal_and_always_sum_to_one(make_planted):
    for modalities in (("text",), ("image", "text"), ("audio", "image", "text")):
        model = DiffCL(Inputs.from_view(make_planted(modalities).sealed()), generator=repro.generator(0, "weights"))
        torch.testing.assert_close(model.fusion_weights(), torch.full((len(modalities),), 1 / len(modalities)))
        with torch.no_grad():
            model.fusion.fill_(0.2)
        assert model.fusion_weights().sum().item() == pytest.approx(1)


def test_the_contrast_is_info_nce_between_two_denoised_views_of_users_and_of_items():
    model, generator = four(contrast=0.7), torch.Generator().manual_seed(0)
    parts = model.losses(batch())
    for m, x in model.encoded()[1].items():
        views, errors = [], []
        for _ in range(2):
            t = model.diffusion.draw_steps(generator)
            x_t = model.diffusion.q_sample(x, t, torch.randn(4, 3, generator=generator))
            views.append(model.denoisers[m](x_t, t))
            errors.append(((views[-1] - x) ** 2).sum() / (4 * 3))
        expected = info_nce(views[0][:2], views[1][:2], 0.4) + info_nce(views[0][2:], views[1][2:], 0.4)
        torch.testing.assert_close(parts[f"contrast_{m}"], 0.7 * expected)
        torch.testing.assert_close(parts[f"denoise_{m}"], sum(errors))


def test_distinct_rows_of_a_batch_of_all_nodes_are_all_nodes():
    one, all_rows = four().losses(batch()), four(contrast_over="all").losses(batch())
    assert all(torch.equal(one[name], all_rows[name]) for name in one)
    part = Batch(*(x[:1] for x in (batch().users, batch().positives, batch().negatives)), batch().generator)
    assert four().losses(part)["contrast_image"] == 0  # one user, one item: nothing to tell apart
    assert four(contrast_over="all").losses(part)["contrast_image"] > 0


def names(parts: dict[str, Tensor]) -> set[str]:
    return {name.split("_")[0] for name in parts}


def test_each_of_the_eight_variants_has_exactly_its_parts_and_leaves_the_others_as_they_were():
    whole = four(neighbours=1)
    state, full = whole.state_dict(), whole.losses(batch())
    off = {"diff": {"contrast", "denoise"}, "align": {"align"}, "h": set()}
    for size in range(4):
        for dropped in itertools.combinations(DiffCL.parts, size):
            model = four(neighbours=1, **{k: v for part in dropped for k, v in DiffCL.parts[part].items()})
            kept = {n: state[n] for n in model.state_dict()}
            assert set(state) - set(kept) == {n for n in state if "diff" in dropped and n.startswith("denoisers")}
            model.load_state_dict(kept)
            parts = model.losses(batch())
            gone = set().union(*(off[part] for part in dropped))
            assert names(parts) == names(full) - gone
            assert bool(model.item_graphs) == ("h" not in dropped)
            for name, value in parts.items():
                same = "h" not in dropped or name.split("_")[0] in ("contrast", "denoise")
                assert torch.equal(value, full[name]) == same, (dropped, name)


def test_noisy_views_have_no_denoiser_and_another_contrast():
    denoised, noisy = four(), four(views="noisy")
    noisy.load_state_dict({n: v for n, v in denoised.state_dict().items() if not n.startswith("denoisers")})
    one, other = denoised.losses(batch()), noisy.losses(batch())
    assert names(other) == names(one) - {"denoise"}
    assert not torch.allclose(one["contrast_image"], other["contrast_image"])
    assert torch.equal(one["bpr"], other["bpr"])


def gradients(model: DiffCL, part: str) -> set[str]:
    """First words of the names of the parameters that a loss part moves."""
    model.zero_grad()
    model.losses(batch())[part].backward()
    return {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_each_part_trains_what_it_should_and_nothing_else():
    model = four()
    assert gradients(model, "denoise_image") == {"denoisers"}
    assert gradients(model, "contrast_image") == {"denoisers", "users", "content"}
    assert gradients(model, "bpr") == {"nodes", "users", "content", "fusion"}
    assert gradients(model, "align_text") == {"nodes", "users", "content"}


def test_the_denoiser_gives_back_more_than_a_constant_could(world):
    model = DiffCL(Inputs.from_view(world.sealed()), generator=repro.generator(0, "weights"))
    settings = TrainSettings(epochs=40, batch_size=64, lr=0.02)

    def error() -> tuple[float, float]:
        """Mean squared error of the predicted x_0 over all steps and rows, and of the best constant row."""
        with torch.no_grad():
            x0, generator, total = model.encoded()[1]["image"], torch.Generator().manual_seed(1), 0.0
            for t in range(1, 6):
                x_t = model.diffusion.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
                total += F.mse_loss(model.denoisers["image"](x_t, t), x0).item() / 5
            return total, (x0 - x0.mean(0)).square().mean().item()

    untrained, constant = error()
    assert untrained > constant
    fit(model, world, settings, seed=0, device="cpu")
    trained, constant = error()
    assert trained < 0.5 * constant


def test_training_and_evaluation_take_the_same_path_and_nothing_is_kept_from_a_step():
    model = four()
    model.train()
    model.losses(batch())
    trained = model.embeddings()
    model.eval()
    assert all(torch.equal(a, b) for a, b in zip(trained, model.embeddings(), strict=True))
    with torch.no_grad():
        model.users["image"][0] += 1
    assert not torch.equal(trained[0][0], model.embeddings()[0][0])


def test_published_constants_are_almost_noiseless_beside_the_data_and_the_settings_can_mend_it(world):
    """The warning of the docstring of the schedule, measured on what is diffused."""

    def share(**settings) -> float:
        model = DiffCL(Inputs.from_view(world.sealed()), **settings, generator=repro.generator(0, "weights"))
        x0 = model.encoded()[1]["image"]
        return (model.diffusion.sigma[-1] / (model.diffusion.signal[-1] * x0.std())).item()

    assert share() < 0.3
    assert share(noise_scale=1.0, gamma_min=0.01, gamma_max=0.5) > 2


def test_a_trajectory_starts_as_noise_ends_in_the_last_prediction_and_depends_on_eta():
    model = four(steps=4, noise_scale=1.0, gamma_min=0.1, gamma_max=0.9)
    x0 = model.encoded()[1]["text"].detach()

    def run(eta: float = 0.0):
        return model.trajectory("text", torch.Generator().manual_seed(3), eta=eta)

    trajectory = run()
    assert trajectory.steps == (4, 3, 2, 1, 0)
    assert trajectory.states.shape == (5, 4, 3)
    assert trajectory.predicted.shape == (4, 4, 3)
    noise = torch.randn(4, 3, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(trajectory.states[0], model.diffusion.q_sample(x0, 4, noise))
    torch.testing.assert_close(trajectory.states[-1], trajectory.predicted[-1])
    with torch.no_grad():
        torch.testing.assert_close(trajectory.predicted[1], model.denoisers["text"](trajectory.states[1], 3))
    assert all(torch.equal(a, b) for a, b in zip(trajectory[1:], run()[1:], strict=True))
    assert not torch.allclose(trajectory.states[1], run(0.9).states[1])
    with pytest.raises(UserError, match="no diffusion of 'txet'; did you mean 'text'"):
        model.trajectory("txet", torch.Generator())


def test_a_schedule_that_does_not_rise_is_refused():
    with pytest.raises(UserError, match="expected variances that rise"):
        four(gamma_min=0.5, gamma_max=0.1)


def test_one_modality_trains_and_its_weight_is_one(make_planted):
    data = make_planted(("text",))
    model = DiffCL(Inputs.from_view(data.sealed()), generator=repro.generator(0, "weights"))
    result = fit(model, data, TrainSettings(epochs=2, batch_size=64), seed=0, device="cpu")
    assert result.history[1]["loss"] < result.history[0]["loss"]
    assert model.fusion_weights().tolist() == [1.0]


def test_edges_are_left_out_of_training_alone_and_drawn_anew_each_epoch(world):
    view = world.sealed()
    model = DiffCL(Inputs.from_view(view), dim=8, edge_dropout=0.5, generator=repro.generator(0, "weights"))
    ranked, drawn = model.embeddings(), repro.generator(0, "training")
    edges = []
    for epoch in range(2):
        model.start_epoch(epoch, drawn)
        edges.append(model.sampled.indices.tolist())
        assert len(edges[-1]) == 2 * (len(view.train) // 2)
    assert edges[0] != edges[1]
    assert all(torch.equal(a, b) for a, b in zip(ranked, model.embeddings(), strict=True))
    identity, encoded = model.encoded(model.sampled)
    users, items = model._vectors(identity, model.enhanced(encoded))
    gap = (users[[0, 1]] * (items[[2, 3]] - items[[4, 5]])).sum(1)
    some = Batch(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor([4, 5]), drawn)
    torch.testing.assert_close(model.losses(some)["bpr"], F.softplus(-gap).mean())
