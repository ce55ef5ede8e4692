"""Noise schedules: how much of the data is left after t steps, and everything that follows from it.

``T`` steps; t = 1 … T, and t = 0 is clean data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nbkit.errors import UserError


@dataclass(frozen=True, eq=False)
class Schedule:
    """The numbers of a Gaussian diffusion process, one a step; all tables ``(T + 1,)`` float32, index 0 is clean data.

    They are computed in float64 and rounded once, so that σ keeps its digits where ᾱ is almost 1.
    Source: Ho et al., NeurIPS 2020, eq. 4-7.
    """

    name: str
    alpha_bar: Tensor  # ᾱ_t, share of the data's variance that is left
    log_alpha_bar: Tensor  # ln ᾱ_t
    signal: Tensor  # √ᾱ_t
    sigma: Tensor  # √(1-ᾱ_t)
    betas: Tensor  # β_t = 1 - ᾱ_t / ᾱ_{t-1}
    snr: Tensor  # ᾱ_t / (1-ᾱ_t), infinite at t = 0
    mean_x0: Tensor  # weight of x_0 in the mean of q(x_{t-1} | x_t, x_0)
    mean_xt: Tensor  # weight of x_t in it
    posterior_variance: Tensor  # its variance

    @property
    def steps(self) -> int:
        """T."""
        return len(self.betas) - 1

    @classmethod
    def from_variances(cls, name: str, variances: ArrayLike) -> Schedule:
        """The schedule of given noise variances 1-ᾱ_1 … 1-ᾱ_T.

        Raises:
            UserError: no step, or variances that do not rise strictly between 0 and 1.
        """
        v = np.concatenate([[0.0], np.asarray(variances, dtype=np.float64).reshape(-1)])
        if len(v) < 2:
            raise UserError(f"schedule {name}: steps = 0; expected at least 1")
        bad = np.flatnonzero(~((np.diff(v) > 0) & (v[1:] < 1)))  # NaN is bad, too
        if len(bad):
            t = int(bad[0]) + 1
            raise UserError(
                f"schedule {name}: noise variance {v[t]:g} at step {t} after {v[t - 1]:g}; "
                "expected variances that rise strictly between 0 and 1"
            )
        alpha_bar, before = 1 - v, np.concatenate([[0.0], v[:-1]])
        beta = (v - before) / (1 - before)
        with np.errstate(divide="ignore", invalid="ignore"):
            tables = {
                "alpha_bar": alpha_bar,
                "log_alpha_bar": np.log1p(-v),
                "signal": np.sqrt(alpha_bar),
                "sigma": np.sqrt(v),
                "betas": beta,
                "snr": alpha_bar / v,
                "mean_x0": np.sqrt(1 - before) * beta / v,
                "mean_xt": np.sqrt(1 - beta) * before / v,
                "posterior_variance": beta * before / v,
            }
        # Clean data stays as it is: at t = 0 the posterior is x_0 itself.
        tables["mean_x0"][0], tables["mean_xt"][0], tables["posterior_variance"][0] = 1.0, 0.0, 0.0
        return cls(name, **{key: torch.tensor(table, dtype=torch.float32) for key, table in tables.items()})


def _check_steps(name: str, steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UserError(f"schedule {name}: steps = {steps!r}; expected a whole number of at least 1")


def linear_variance(steps: int, *, scale: float, gamma_min: float, gamma_max: float) -> Schedule:
    """Noise variance rising in a straight line: 1-ᾱ_t = s·[γ_min + (t-1)/(T-1)·(γ_max-γ_min)].

    A single step has variance s·γ_min. The constants published with it (s = 0.1, γ from 1e-4 to 0.02) leave a noise of
    at most 0.045 standard deviations, for data of unit variance.
    Source: DiffRec (Wang et al., SIGIR 2023); DiffMM; DiffCL.

    Raises:
        UserError: a value outside its range, or γ that do not rise.
    """
    _check_steps("linear_variance", steps)
    return Schedule.from_variances("linear_variance", scale * np.linspace(gamma_min, gamma_max, steps))


def linear_beta(steps: int, *, beta_min: float = 1e-4, beta_max: float = 0.02) -> Schedule:
    """β rising in a straight line from ``beta_min`` to ``beta_max``. Source: Ho et al., NeurIPS 2020, section 4.

    Raises:
        UserError: no step, or β outside (0, 1).
    """
    _check_steps("linear_beta", steps)
    if not (0 < beta_min <= beta_max < 1):
        raise UserError(f"schedule linear_beta: β from {beta_min:g} to {beta_max:g}; expected 0 < β_min ≤ β_max < 1")
    return Schedule.from_variances("linear_beta", _variances(np.linspace(beta_min, beta_max, steps)))


def cosine(steps: int, *, offset: float = 0.008, beta_max: float = 0.999) -> Schedule:
    """ᾱ_t = f(t)/f(0), f(t) = cos²((t/T + offset)/(1 + offset) · π/2), each β at most ``beta_max``.

    Source: Nichol & Dhariwal, ICML 2021, eq. 17.

    Raises:
        UserError: no step, a negative offset, or ``beta_max`` outside (0, 1).
    """
    _check_steps("cosine", steps)
    if not (offset >= 0 and 0 < beta_max < 1):
        raise UserError(
            f"schedule cosine: offset = {offset:g}, beta_max = {beta_max:g}; expected offset ≥ 0, 0 < beta_max < 1"
        )
    f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return Schedule.from_variances("cosine", _variances(np.minimum(1 - f[1:] / f[:-1], beta_max)))


def _variances(beta: np.ndarray) -> np.ndarray:
    """1-ᾱ from β, exact where β is small."""
    return -np.expm1(np.cumsum(np.log1p(-beta)))
