"""Schedules and the process against closed forms, written again here in float64 numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.diffusion.process import GaussianDiffusion, Trajectory, guided, standard_normal
from nbkit.diffusion.schedules import Schedule, cosine, linear_beta, linear_variance
from nbkit.errors import UserError

SCHEDULES = {
    "published": linear_variance(5, scale=0.1, gamma_min=1e-4, gamma_max=0.02),
    "strong": linear_variance(10, scale=1.0, gamma_min=0.01, gamma_max=0.5),
    "beta": linear_beta(1000),
    "cosine": cosine(50),
    "one step": linear_variance(1, scale=0.5, gamma_min=0.5, gamma_max=0.9),
}
GOLDEN = 4.789854  # sum of absolute values at the end of the loop below
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed))


def alpha_bars(name: str) -> np.ndarray:
    """ᾱ_0 … ᾱ_T by the definitions, as running products of 1-β where the paper gives β."""
    if name == "beta":
        return np.cumprod(np.concatenate([[1.0], 1 - np.linspace(1e-4, 0.02, 1000)]))
    if name == "cosine":
        f = [np.cos((t / 50 + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(51)]
        return np.cumprod([1.0] + [1 - min(1 - f[t] / f[t - 1], 0.999) for t in range(1, 51)])
    steps, s, low, high = {"published": (5, 0.1, 1e-4, 0.02), "strong": (10, 1.0, 0.01, 0.5)}[name]
    return np.array([1.0] + [1 - s * (low + (t - 1) / (steps - 1) * (high - low)) for t in range(1, steps + 1)])


@pytest.mark.parametrize("name", ["published", "strong", "beta", "cosine"])
def test_tables_follow_from_alpha_bar_by_the_closed_forms(name):
    schedule, a = SCHEDULES[name], alpha_bars(name)
    assert schedule.steps == len(a) - 1
    beta = 1 - a[1:] / a[:-1]
    expected = {
        "alpha_bar": a[1:],
        "log_alpha_bar": np.log(a[1:]),
        "signal": np.sqrt(a[1:]),
        "sigma": np.sqrt(1 - a[1:]),
        "betas": beta,
        "snr": a[1:] / (1 - a[1:]),
        "mean_x0": np.sqrt(a[:-1]) * beta / (1 - a[1:]),
        "mean_xt": np.sqrt(1 - beta) * (1 - a[:-1]) / (1 - a[1:]),
        "posterior_variance": beta * (1 - a[:-1]) / (1 - a[1:]),
    }
    for table, values in expected.items():
        np.testing.assert_allclose(getattr(schedule, table)[1:].numpy(), values, rtol=1e-6, err_msg=table)


@every_schedule
def test_step_zero_is_clean_data(schedule):
    process, x, noise = GaussianDiffusion(schedule), draw(4, 3), draw(4, 3, seed=1)
    assert schedule.alpha_bar[0] == 1
    assert torch.equal(process.q_sample(x, 0, noise), x)
    assert torch.equal(process.posterior(x, x, 0)[0], x)
    assert torch.equal(process.predicted_noise(x, x, 0), torch.zeros_like(x))
    mean, variance = process.posterior(x, noise, 1)
    torch.testing.assert_close(mean, x)
    assert variance == 0


def test_published_constants_leave_almost_no_noise_and_a_long_linear_beta_nothing_else():
    assert SCHEDULES["published"].sigma[-1].item() == pytest.approx(np.sqrt(0.002), rel=1e-6)
    assert SCHEDULES["strong"].sigma[-1].item() == pytest.approx(np.sqrt(0.5), rel=1e-6)
    process, x = GaussianDiffusion(SCHEDULES["beta"]), 3 + draw(2000)
    last = process.q_sample(x, 1000, draw(2000, seed=1))
    assert last.mean().abs() < 0.1
    assert last.std().item() == pytest.approx(1, abs=0.05)


@every_schedule
def test_q_sample_has_the_moments_of_the_closed_form(schedule):
    process, n = GaussianDiffusion(schedule), 40_000
    t = (schedule.steps + 1) // 2
    x = torch.tensor([[2.0, -1.0]]).expand(n, 2)
    sample = process.q_sample(x, t, draw(n, 2))
    error = 5 * process.sigma[t].item() / np.sqrt(n)
    torch.testing.assert_close(sample.mean(0), process.signal[t] * x[0], atol=error, rtol=0)
    torch.testing.assert_close(sample.std(0), process.sigma[t].expand(2), atol=0, rtol=0.03)
    torch.testing.assert_close(process.mean_at(x, t), process.q_sample(x, t, torch.zeros(n, 2)))


def test_one_forward_step_followed_by_the_posterior_gives_the_marginal_of_the_step_before():
    """E and Var of x_{t-1} | x_0 through x_t must be those of q_sample at t - 1."""
    a = np.float64(SCHEDULES["strong"].alpha_bar.numpy())
    process = GaussianDiffusion(SCHEDULES["strong"])
    for t in range(1, 11):
        x0, zero = torch.ones(1, 1), torch.zeros(1, 1)
        weight_x0, variance = process.posterior(x0, zero, t)
        weight_xt, _ = process.posterior(zero, x0, t)
        mean = weight_x0.item() + weight_xt.item() * np.sqrt(a[t])
        spread = variance.item() + weight_xt.item() ** 2 * (1 - a[t])
        assert mean == pytest.approx(np.sqrt(a[t - 1]), rel=1e-5)
        assert spread == pytest.approx(1 - a[t - 1], rel=1e-4, abs=1e-7)


@given(
    t=st.integers(1, 10), s=st.integers(0, 9), eta=st.floats(0, 1), seed=st.integers(0, 999), name=st.sampled_from("ab")
)
@settings(max_examples=60, deadline=None)
def test_a_ddim_step_is_the_published_formula(t, s, eta, seed, name):
    schedule = {"a": SCHEDULES["strong"], "b": linear_beta(10)}[name]
    s = min(s, t - 1)
    a = schedule.alpha_bar.double().numpy() if name == "a" else np.cumprod([1, *(1 - np.linspace(1e-4, 0.02, 10))])
    x_t, x0 = draw(3, 4, seed=seed), draw(3, 4, seed=seed + 1000)
    step = GaussianDiffusion(schedule).ddim_step(x_t, t, x0, previous=s, eta=eta, generator=seeded(seed))
    x, clean, z = (v.double().numpy() for v in (x_t, x0, standard_normal(x_t, seeded(seed))))
    eps = (x - np.sqrt(a[t]) * clean) / np.sqrt(1 - a[t])
    sigma = eta * np.sqrt((1 - a[s]) / (1 - a[t]) * (1 - a[t] / a[s]))
    expected = np.sqrt(a[s]) * clean + np.sqrt(max(1 - a[s] - sigma**2, 0)) * eps + sigma * z
    np.testing.assert_allclose(step.previous.numpy(), expected, atol=2e-4)
    assert torch.equal(step.x0, x0)


@every_schedule
def test_ddim_with_eta_one_is_the_ddpm_step(schedule):
    process, x_t, x0 = GaussianDiffusion(schedule), draw(5, 3), draw(5, 3, seed=1)
    for t in {1, (schedule.steps + 1) // 2, schedule.steps}:
        ddpm = process.ddpm_step(x_t, t, x0, seeded(7))
        ddim = process.ddim_step(x_t, t, x0, previous=t - 1, eta=1.0, generator=seeded(7))
        torch.testing.assert_close(ddim.previous, ddpm.previous, atol=1e-4, rtol=1e-4)


def test_steps_of_rows_at_different_times_are_the_steps_of_each_row_alone():
    process, x, x0 = GaussianDiffusion(SCHEDULES["strong"]), draw(4, 2, 3), draw(4, 2, 3, seed=1)
    t = torch.tensor([1, 4, 10, 4])
    together = process.q_sample(x0, t, x), *process.posterior(x0, x, t), process.predicted_noise(x0, x, t)
    ddim = process.ddim_step(x, t, x0, previous=t - 1).previous
    for row in range(4):
        own, one = int(t[row]), slice(row, row + 1)
        alone = (
            process.q_sample(x0[one], own, x[one]),
            *process.posterior(x0[one], x[one], own),
            process.predicted_noise(x0[one], x[one], own),
        )
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[one].reshape(part.shape), part)
        torch.testing.assert_close(ddim[one], process.ddim_step(x[one], own, x0[one], previous=own - 1).previous)
        torch.testing.assert_close(process.q_sample(x0, t[row], x)[one], alone[0])  # a 0-d t is one for the table


@given(steps=st.sets(st.integers(1, 10), min_size=1), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_a_denoiser_that_knows_the_truth_is_led_back_to_it_over_any_subset_of_steps(steps, seed):
    process, x0 = GaussianDiffusion(SCHEDULES["strong"]), draw(6, 4, seed=seed)
    chosen = sorted(steps, reverse=True)
    x_t = process.q_sample(x0, chosen[0], draw(6, 4, seed=seed + 1))
    for kind in ("x0", "eps", "v"):

        def oracle(x, t, kind=kind):
            return process.target(kind, x0, process.predicted_noise(x0, x, t), t)

        for eta in (0.0, 0.7):
            end = process.reverse(oracle, x_t, chosen, kind=kind, eta=eta, generator=seeded(seed))
            torch.testing.assert_close(end, x0, atol=1e-4, rtol=1e-4)


@given(t=st.integers(1, 50), seed=st.integers(0, 999), kind=st.sampled_from(["x0", "eps", "v"]))
@settings(max_examples=60, deadline=None)
def test_predicted_x0_and_noise_invert_the_target_of_every_kind(t, seed, kind):
    process = GaussianDiffusion(linear_variance(50, scale=1.0, gamma_min=0.01, gamma_max=0.9))
    x0, noise = draw(3, 4, seed=seed), draw(3, 4, seed=seed + 1000)
    x_t = process.q_sample(x0, t, noise)
    clean = process.predicted_x0(kind, process.target(kind, x0, noise, t), x_t, t)
    torch.testing.assert_close(clean, x0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(process.predicted_noise(clean, x_t, t), noise, atol=1e-3, rtol=1e-3)


def test_v_is_the_derivative_along_the_circle_of_signal_and_noise():
    process, x0, noise = GaussianDiffusion(SCHEDULES["strong"]), draw(3, 4), draw(3, 4, seed=1)
    a = SCHEDULES["strong"].alpha_bar[6]
    angle = torch.arccos(a.sqrt())
    v = (torch.cos(angle + 1e-3) - torch.cos(angle - 1e-3)) * x0 + (
        torch.sin(angle + 1e-3) - torch.sin(angle - 1e-3)
    ) * noise
    torch.testing.assert_close(process.target("v", x0, noise, 6), v / 2e-3, atol=1e-3, rtol=1e-3)


def test_ddpm_sampling_with_the_exact_denoiser_of_gaussian_data_ends_in_that_gaussian():
    """For data N(m, s²) the best x_0 given x_t is linear: the reverse chain must give m and s back."""
    schedule = linear_beta(200, beta_max=0.1)
    process, m, s, n = GaussianDiffusion(schedule), 1.5, 0.5, 20_000
    a = schedule.alpha_bar.tolist()
    generator = seeded()
    x = standard_normal(torch.empty(n, 1), generator)
    for t in range(200, 0, -1):
        gain = np.sqrt(a[t]) * s**2 / (a[t] * s**2 + 1 - a[t])
        x = process.ddpm_step(x, t, m + gain * (x - np.sqrt(a[t]) * m), generator).previous
    assert x.mean().item() == pytest.approx(m, abs=0.02)
    assert x.std().item() == pytest.approx(s, abs=0.03)


def test_a_whole_deterministic_loop_is_the_same_loop_in_float64_numpy():
    process, x = GaussianDiffusion(cosine(20)), np.linspace(-1, 1, 12).reshape(3, 4)
    steps = process.subset(5)
    assert steps == (20, 16, 12, 8, 4)
    end = process.reverse(lambda x_t, t: torch.tanh(x_t) * (1 - t / 40), torch.tensor(x, dtype=torch.float32), steps)
    f = np.cos((np.arange(21) / 20 + 0.008) / 1.008 * np.pi / 2) ** 2
    a = np.cumprod(np.concatenate([[1.0], 1 - np.minimum(1 - f[1:] / f[:-1], 0.999)]))
    for t, s in [(20, 16), (16, 12), (12, 8), (8, 4), (4, 0)]:
        x0 = np.tanh(x) * (1 - t / 40)
        x = np.sqrt(a[s]) * x0 + np.sqrt(1 - a[s]) * (x - np.sqrt(a[t]) * x0) / np.sqrt(1 - a[t])
    np.testing.assert_allclose(end.numpy(), x, atol=1e-6)
    assert np.abs(x).sum() == pytest.approx(GOLDEN, abs=1e-5)


def test_a_recorded_loop_holds_every_state_and_prediction():
    process, x, record = GaussianDiffusion(SCHEDULES["strong"]), draw(4, 3), []
    steps = process.subset(3)
    end = process.reverse(lambda x_t, t: x_t / (1 + t), x, steps, record=record)
    trajectory = Trajectory.of(steps, x, record)
    assert trajectory.steps == (10, 7, 4, 0)
    assert trajectory.states.shape == (4, 4, 3)
    assert torch.equal(trajectory.states[0], x)
    assert torch.equal(trajectory.states[-1], end)
    for k in range(3):
        torch.testing.assert_close(trajectory.predicted[k], trajectory.states[k] / (1 + steps[k]))


@given(start=st.integers(1, 40), count=st.integers(1, 40))
def test_a_subset_of_steps_falls_evenly_from_its_start_to_one_or_more(start, count):
    process = GaussianDiffusion(linear_beta(40))
    if count > start:
        with pytest.raises(UserError, match="expected 1 ≤ steps ≤ start"):
            process.subset(count, start)
        return
    steps = process.subset(count, start)
    assert (len(steps), steps[0]) == (count, start)
    gaps = -np.diff([*steps, 0])
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_guidance_of_zero_is_the_conditional_prediction_and_more_leads_away_from_the_unconditional():
    conditional, unconditional = draw(3, 2), draw(3, 2, seed=1)
    assert torch.equal(guided(conditional, unconditional, 0.0), conditional)
    torch.testing.assert_close(guided(conditional, unconditional, 1.5), 2.5 * conditional - 1.5 * unconditional)


def test_loss_weights_are_one_or_bounded_or_the_drop_of_the_ratio():
    process = GaussianDiffusion(SCHEDULES["strong"])
    t = torch.arange(1, 11)
    a = alpha_bars("strong")
    snr = a[1:] / (1 - a[1:])
    assert torch.equal(process.loss_weight(t), torch.ones(10))
    np.testing.assert_allclose(process.loss_weight(t, "min_snr", 4.0), np.minimum(snr, 4) / 4, rtol=1e-5)
    np.testing.assert_allclose(process.loss_weight(t, "snr_drop"), [1, *(snr[:-1] - snr[1:])], rtol=1e-4)
    assert process.loss_weight(3, "min_snr").ndim == 0


def test_drawn_steps_are_uniform_from_one_to_the_last():
    process = GaussianDiffusion(SCHEDULES["published"])
    counts = torch.bincount(process.draw_steps(seeded(), 20_000), minlength=6)
    assert counts[0] == 0
    assert len(counts) == 6
    assert ((counts[1:] - 4000).abs() < 5 * np.sqrt(4000)).all()
    assert process.draw_steps(seeded()).ndim == 0


def test_a_process_is_no_parameter_and_is_not_saved():
    process = GaussianDiffusion(SCHEDULES["strong"])
    assert not list(process.parameters())
    assert not process.state_dict()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear_variance(0, scale=1, gamma_min=0.1, gamma_max=0.2), "steps = 0; expected a whole number"),
        (lambda: cosine(2.5), "steps = 2.5"),
        (lambda: linear_variance(5, scale=1, gamma_min=0.3, gamma_max=0.2), "0.275 at step 2 after 0.3"),
        (lambda: linear_variance(5, scale=0, gamma_min=0.1, gamma_max=0.2), "variance 0 at step 1"),
        (lambda: linear_variance(5, scale=10, gamma_min=0.01, gamma_max=0.2), "rise strictly between 0 and 1"),
        (lambda: linear_variance(5, scale=float("nan"), gamma_min=0.01, gamma_max=0.2), "variance nan"),
        (lambda: linear_beta(5, beta_min=0.0), "expected 0 < β_min"),
        (lambda: linear_beta(5, beta_max=1.0), "expected 0 < β_min"),
        (lambda: cosine(5, offset=-1), "offset = -1"),
        (lambda: cosine(5, beta_max=1.0), "beta_max = 1"),
        (lambda: Schedule.from_variances("mine", []), "mine: steps = 0"),
    ],
)
def test_a_bad_schedule_is_refused_in_one_line(make, message):
    with pytest.raises(UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_steps_are_refused():
    process, x = GaussianDiffusion(SCHEDULES["strong"]), draw(2, 2)
    for t in (-1, 11):
        with pytest.raises(UserError, match=r"expected 0 … 10"):
            process.mean_at(x, t)
    for steps in ([], [3, 3], [2, 5], [11, 1], [4, 0]):
        with pytest.raises(UserError, match="expected falling numbers"):
            process.reverse(lambda x_t, t: x_t, x, steps)
    with pytest.raises(UserError, match="with no generator"):
        process.ddim_step(x, 3, x, previous=2, eta=1.0)


def test_the_tables_agree_with_diffusers_where_it_is_installed():
    diffusers = pytest.importorskip("diffusers")
    other = diffusers.DDIMScheduler(1000, beta_start=1e-4, beta_end=0.02, clip_sample=False, set_alpha_to_one=True)
    process = GaussianDiffusion(linear_beta(1000))
    torch.testing.assert_close(process.alpha_bar[1:], other.alphas_cumprod, rtol=1e-3, atol=1e-6)
