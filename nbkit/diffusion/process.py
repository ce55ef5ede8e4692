"""The Gaussian diffusion process: noise added, noise taken away, whatever network predicts it.

``x0`` clean rows, ``x_t`` rows after t steps, ``noise`` a standard normal draw (ε). ``t`` is one step for the whole
table (an int or a 0-d tensor) or one a row ``(B,)``; 1 … T, and 0 means clean.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from nbkit.diffusion.schedules import Schedule
from nbkit.errors import UserError

Kind = Literal["x0", "eps", "v"]  # what a network predicts
Weighting = Literal["constant", "min_snr", "snr_drop"]


class Step(NamedTuple):
    """One reverse step: the sample at the earlier step, and the clean rows predicted on the way."""

    previous: Tensor
    x0: Tensor


class Trajectory(NamedTuple):
    """A recorded reverse process of K steps, for a viewer.

    Shapes: ``steps`` K + 1 numbers, falling to 0; ``states`` ``(K + 1, ..., D)``, the sample at each of them;
    ``predicted`` ``(K, ..., D)``, the clean rows predicted at each but the last.
    """

    steps: tuple[int, ...]
    states: Tensor
    predicted: Tensor

    @classmethod
    def of(cls, steps: Sequence[int], x: Tensor, record: Sequence[Step]) -> Trajectory:
        """The trajectory that :meth:`GaussianDiffusion.reverse` recorded from x over these steps."""
        states = torch.stack([x, *(step.previous for step in record)])
        return cls((*steps, 0), states, torch.stack([step.x0 for step in record]))


def standard_normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """ε: a standard normal draw of the shape, type and device of ``like``."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)


def guided(conditional: Tensor, unconditional: Tensor, w: float) -> Tensor:
    """(1+w)·conditional - w·unconditional; w = 0 is the conditional prediction.

    Source: classifier-free guidance (Ho & Salimans, 2022, eq. 6).
    """
    return conditional if w == 0 else torch.lerp(unconditional, conditional, 1 + w)


class GaussianDiffusion(nn.Module):
    """A schedule's forward and reverse process. Holds no parameter, is not saved, moves with the model it is part of.

    Shapes: rows ``(..., D)``. Source: Ho et al., NeurIPS 2020 (DDPM); Song et al., ICLR 2021 (DDIM);
    Salimans & Ho, ICLR 2022 (v).
    """

    alpha_bar: Tensor
    log_alpha_bar: Tensor
    signal: Tensor
    sigma: Tensor
    betas: Tensor
    snr: Tensor
    mean_x0: Tensor
    mean_xt: Tensor
    posterior_variance: Tensor

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        for field in fields(schedule):
            if isinstance(table := getattr(schedule, field.name), Tensor):
                self.register_buffer(field.name, table.clone(), persistent=False)

    @property
    def steps(self) -> int:
        """T."""
        return self.schedule.steps

    def _at(self, table: Tensor, t: int | Tensor, like: Tensor) -> Tensor:
        """The table's value at t, shaped to multiply the rows of ``like``."""
        if isinstance(t, int) and not 0 <= t <= self.steps:
            raise UserError(f"diffusion step t = {t}; expected 0 … {self.steps}")
        value = table[t].to(like.dtype)
        return value.reshape(-1, *[1] * (like.ndim - 1)) if value.ndim else value

    def draw_steps(self, generator: torch.Generator, rows: int | None = None) -> Tensor:
        """t uniform on 1 … T: one for the whole table, 0-d, or one for each of ``rows``."""
        shape = () if rows is None else (rows,)
        return torch.randint(1, self.steps + 1, shape, generator=generator, device=self.alpha_bar.device)

    # Forward

    def mean_at(self, x0: Tensor, t: int | Tensor) -> Tensor:
        """√ᾱ_t x_0, the mean of q(x_t | x_0): the noisy state with no noise drawn."""
        return self._at(self.signal, t, x0) * x0

    def q_sample(self, x0: Tensor, t: int | Tensor, noise: Tensor) -> Tensor:
        """x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε."""
        return self.mean_at(x0, t) + self._at(self.sigma, t, x0) * noise

    def posterior(self, x0: Tensor, x_t: Tensor, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(..., D)`` and variance (broadcastable) of q(x_{t-1} | x_t, x_0)."""
        mean = self._at(self.mean_x0, t, x0) * x0 + self._at(self.mean_xt, t, x0) * x_t
        return mean, self._at(self.posterior_variance, t, x0)

    # What a network predicts

    def target(self, kind: Kind, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """What a network of that kind should answer: x_0, ε, or v = √ᾱ_t ε - √(1-ᾱ_t) x_0."""
        if kind == "v":
            return self._at(self.signal, t, x0) * noise - self._at(self.sigma, t, x0) * x0
        return x0 if kind == "x0" else noise

    def predicted_x0(self, kind: Kind, output: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """The clean rows that a network's answer means."""
        if kind == "x0":
            return output
        signal, sigma = self._at(self.signal, t, x_t), self._at(self.sigma, t, x_t)
        return signal * x_t - sigma * output if kind == "v" else (x_t - sigma * output) / signal

    def predicted_noise(self, x0: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """The ε that leads from x_0 to x_t; 0 where t = 0 and x_t is x_0."""
        return (x_t - self.mean_at(x0, t)) / self._at(self.sigma, t, x_t).clamp(min=1e-12)

    def loss_weight(self, t: int | Tensor, weighting: Weighting = "constant", gamma: float = 5.0) -> Tensor:
        """Weight of the squared error of predicted x_0 at step t, of t's shape.

        ``min_snr``: min(SNR_t, γ)/γ, at most 1 (Hang et al., ICCV 2023); ``snr_drop``: SNR_{t-1} - SNR_t, and 1 at
        t = 1, the weight of the variational bound (DiffRec), which is huge for small t.
        """
        if weighting == "constant":
            return torch.ones_like(self.snr)[t]
        if weighting == "min_snr":
            return self.snr.clamp(max=gamma)[t] / gamma
        drop = torch.cat([self.snr.new_zeros(1), self.snr.new_ones(1), self.snr[1:-1] - self.snr[2:]])
        return drop[t]

    # Reverse

    def ddpm_step(self, x_t: Tensor, t: int | Tensor, x0: Tensor, generator: torch.Generator) -> Step:
        """A draw from q(x_{t-1} | x_t, predicted x_0)."""
        mean, variance = self.posterior(x0, x_t, t)
        return Step(mean + variance.sqrt() * standard_normal(x_t, generator), x0)

    def ddim_step(
        self,
        x_t: Tensor,
        t: int | Tensor,
        x0: Tensor,
        *,
        previous: int | Tensor,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Step:
        """From step t to any earlier step s: √ᾱ_s x_0 + √(1-ᾱ_s-σ²) ε̂ + σ z, ε̂ the noise that x_0 means at x_t.

        σ² = η² (1-ᾱ_s)/(1-ᾱ_t) (1-ᾱ_t/ᾱ_s): η = 0 is deterministic; η = 1 is :meth:`ddpm_step` where s = t - 1.
        Source: Song et al., ICLR 2021, eq. 12 and 16.

        Raises:
            UserError: η above 0 with no generator.
        """
        noise = self.predicted_noise(x0, x_t, t)
        sigma = self._at(self.sigma, previous, x_t)
        if eta == 0:
            return Step(self.mean_at(x0, previous) + sigma * noise, x0)
        if generator is None:
            raise UserError(f"ddim_step: eta = {eta:g} with no generator; expected a torch.Generator")
        fresh = -torch.expm1(self._at(self.log_alpha_bar, t, x_t) - self._at(self.log_alpha_bar, previous, x_t))
        drawn = eta * sigma / self._at(self.sigma, t, x_t) * fresh.sqrt()
        kept = (sigma.square() - drawn.square()).clamp(min=0).sqrt()
        return Step(self.mean_at(x0, previous) + kept * noise + drawn * standard_normal(x_t, generator), x0)

    def subset(self, count: int, start: int | None = None) -> tuple[int, ...]:
        """``count`` steps spread evenly over ``start`` (T unless said) … 1, falling, ``start`` first."""
        start = self.steps if start is None else start
        if not 1 <= count <= start <= self.steps:
            raise UserError(f"{count} reverse steps from {start}; expected 1 ≤ steps ≤ start ≤ {self.steps}")
        return tuple(start - (k * start) // count for k in range(count))

    def reverse(
        self,
        denoise: Callable[[Tensor, int], Tensor],
        x: Tensor,
        steps: Sequence[int] | None = None,
        *,
        kind: Kind = "x0",
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        record: list[Step] | None = None,
    ) -> Tensor:
        """The reverse process from x at ``steps[0]`` over the chosen steps (all unless said): clean rows ``(..., D)``.

        ``denoise(x_t, t)`` is the network's answer, of that kind. Every step taken is appended to ``record``.

        Raises:
            UserError: steps that do not fall strictly between T and 1.
        """
        chosen = self.subset(self.steps) if steps is None else tuple(steps)
        falling = all(a > b for a, b in itertools.pairwise(chosen))
        if not chosen or not falling or chosen[0] > self.steps or chosen[-1] < 1:
            raise UserError(f"reverse steps {list(chosen)}; expected falling numbers between {self.steps} and 1")
        for t, previous in itertools.pairwise((*chosen, 0)):
            x0 = self.predicted_x0(kind, denoise(x, t), x, t)
            step = self.ddim_step(x, t, x0, previous=previous, eta=eta, generator=generator)
            if record is not None:
                record.append(step)
            x = step.previous
        return x
