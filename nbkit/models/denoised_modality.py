"""One modality of all items: projected, diffused and denoised under a collaborative condition.

``I`` items, ``D`` width, ``T`` steps. Reconstruction of JBM-Diff's conditional graph diffusion (see ``jbm_diff``).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.diffusion.denoisers import Conditioning, GraphDenoiser
from nbkit.diffusion.process import GaussianDiffusion, Step, Trajectory, guided, standard_normal
from nbkit.graphs import SparseGraph
from nbkit.layers import linear, standardised


class Features(NamedTuple):
    """Item tables by modality, ``(I, D)`` each."""

    clean: list[Tensor]  # x
    denoised: list[Tensor]  # x̂
    mixed: list[Tensor]  # x̃
    carried: list[Tensor]  # H


class Views(NamedTuple):
    """One forward pass. Shapes: node tables ``(U + I, D)``, users first; item tables by modality ``(I, D)``."""

    z: Tensor  # collaborative vectors Z
    clean: list[Tensor]  # x
    denoised: list[Tensor]  # x̂
    judged: list[Tensor]  # what pairs are judged by: x̂, x̃, or H after the item graph
    side: Tensor
    vectors: Tensor  # E = Z + side


class DenoisedModality(nn.Module):
    """x = LN₀(W f/‖f‖ + b), its denoised x̂ under a condition c, and their mixture x̃ = (1-η) x + η x̂ with trained η.

    x̂ comes from √ᾱ_{T'} x, T' = ⌈T/2⌉, with no noise drawn: the same path in training and evaluation. ``retention`` 0
    leaves the diffusion out, exactly. Shapes: ``features`` ``(I, D_m)``, frozen; x, x̂, x̃ and c ``(I, D)``.
    """

    features: Tensor

    def __init__(
        self,
        features: Tensor,
        graph: SparseGraph | None,
        process: GaussianDiffusion,
        dim: int,
        *,
        eta: float,
        conditioning: Conditioning,
        guidance_scale: float,
        reverse_steps: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.process, self.guidance_scale = process, guidance_scale
        self.chosen = process.subset(reverse_steps, start=math.ceil(process.steps / 2))
        self.register_buffer("features", F.normalize(features, dim=1), persistent=False)
        self.project = linear(features.shape[1], dim, generator)
        self.denoiser = GraphDenoiser(dim, graph, conditioning=conditioning, generator=generator) if eta else None
        if eta:
            self.mixing = nn.Parameter(torch.tensor(math.log(eta / (1 - eta))))

    def projected(self) -> Tensor:
        """x ``(I, D)``."""
        return standardised(self.project(self.features))

    def predict(self, x_t: Tensor, t: int | Tensor, condition: Tensor) -> Tensor:
        """x̂_0 by the network, guided away from its unconditional answer where a guidance scale is set."""
        assert self.denoiser is not None
        answer = self.denoiser(x_t, t, condition)
        return guided(answer, self.denoiser(x_t, t), self.guidance_scale) if self.guidance_scale else answer

    def denoised(self, x: Tensor, condition: Tensor) -> Tensor:
        """x̂ ``(I, D)``; of several DDIM steps the gradient flows through the last alone."""
        x_t = self.process.mean_at(x, self.chosen[0])
        for t, previous in pairwise(self.chosen):
            with torch.no_grad():
                x_t = self.process.ddim_step(x_t, t, self.predict(x_t, t, condition), previous=previous).previous
        return self.predict(x_t, self.chosen[-1], condition)

    def forward(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x, x̂ and x̃."""
        x = self.projected()
        if self.denoiser is None:
            return x, x, x
        x_hat = self.denoised(x, condition)
        return x, x_hat, torch.lerp(x, x_hat, torch.sigmoid(self.mixing))

    def loss(
        self, x: Tensor, condition: Tensor, dropout: float, generator: torch.Generator, *, min_snr: bool = False
    ) -> Tensor:
        """Mean squared error of x̂_0 at a random step, each row without its condition with this probability.

        One step for the whole table, as at inference: nodes at different noise would mix over the graph.
        """
        assert self.denoiser is not None
        x, t = x.detach(), self.process.draw_steps(generator)
        dropped = torch.rand(len(x), generator=generator, device=x.device) < dropout
        answer = self.denoiser(self.process.q_sample(x, t, standard_normal(x, generator)), t, condition, dropped)
        return self.process.loss_weight(t, "min_snr" if min_snr else "constant") * F.mse_loss(answer, x)

    def trajectory(self, condition: Tensor, generator: torch.Generator) -> Trajectory:
        """The way from noise at T back to clean rows, all T steps, for a viewer."""
        x = self.projected()
        x_t = self.process.q_sample(x, self.process.steps, standard_normal(x, generator))
        record: list[Step] = []
        self.process.reverse(lambda state, t: self.predict(state, t, condition), x_t, record=record)
        return Trajectory.of(self.process.subset(self.process.steps), x_t, record)
