"""Diffusion of interaction vectors: what a user took, noised, and led back by one denoiser a modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.diffusion.denoisers import MLPDenoiser
from nbkit.diffusion.process import GaussianDiffusion, Step, Trajectory, standard_normal
from nbkit.diffusion.schedules import Schedule
from nbkit.errors import UserError, nearest
from nbkit.layers import dropout

ROWS = 1024  # users whose rebuilt rows are held at a time: bounds memory, whatever their number


class InteractionDiffusion(nn.Module):
    """x_0 ∈ {0,1}ᴵ, a user's training items, and x̂ = f_m(drop x_t, t), a network of one hidden layer a modality.

    Shapes: ``pairs`` ``(P, 2)`` distinct (user, item); users ``(B,)``; vectors ``(B, I)``. The hidden layer has at most
    as many units as there are items. Source: DiffRec (Wang et al., SIGIR 2023); DiffMM (Jiang et al., ACM MM 2024).
    """

    pairs: Tensor
    bounds: Tensor

    def __init__(
        self,
        pairs: Tensor,
        num_users: int,
        num_items: int,
        modalities: Iterable[str],
        schedule: Schedule,
        *,
        hidden: int,
        input_dropout: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_users, self.num_items, self.input_dropout = num_users, num_items, input_dropout
        by_user = pairs[torch.argsort(pairs[:, 0], stable=True)]
        self.register_buffer("pairs", by_user, persistent=False)
        counts = torch.bincount(by_user[:, 0], minlength=num_users)
        self.register_buffer("bounds", F.pad(counts.cumsum(0), (1, 0)), persistent=False)
        self.process = GaussianDiffusion(schedule)
        self.denoisers = nn.ModuleDict()
        for m in modalities:
            widths = (min(hidden, num_items),)
            self.denoisers[m] = MLPDenoiser(num_items, hidden=widths, residual=False, generator=generator)

    def interactions(self, users: Tensor) -> Tensor:
        """x_0 of distinct users: 1 for each training item."""
        first, counts = self.bounds[users], self.bounds[users + 1] - self.bounds[users]
        rows = torch.repeat_interleave(torch.arange(len(users), device=users.device), counts)
        nth = torch.arange(len(rows), device=users.device) - (counts.cumsum(0) - counts)[rows]
        x0 = torch.zeros(len(users), self.num_items, device=users.device)
        x0[rows, self.pairs[first[rows] + nth, 1]] = 1.0
        return x0

    def losses(
        self, share: float, projected: Mapping[str, Tensor], items: Tensor, generator: torch.Generator
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """For each modality w_t mean (x̂ - x_0)² and mean (x̂ X_m - x_0 Q)² over a random share of the users.

        Each row has a t of its own; w_t = SNR_{t-1} - SNR_t, and 1 at t = 1. Nothing but the denoisers is moved.
        Shapes: ``projected[m]`` X_m and ``items`` Q, ``(I, D)``.
        """
        order = torch.randperm(self.num_users, generator=generator, device=items.device)
        x0 = self.interactions(order[: max(1, round(share * self.num_users))])
        wanted = x0 @ items.detach()
        losses = {}
        for m, denoiser in self.denoisers.items():
            t = self.process.draw_steps(generator, len(x0))
            x_t = self.process.q_sample(x0, t, standard_normal(x0, generator))
            predicted = denoiser(dropout(x_t, self.input_dropout, generator), t)
            weight = self.process.loss_weight(t, "snr_drop")
            bound = (weight * (predicted - x0).square().mean(1)).mean()
            losses[m] = bound, F.mse_loss(predicted @ projected[m].detach(), wanted)
        return losses

    @torch.no_grad()
    def rebuilt(self, modality: str, top: int) -> Tensor:
        """The items of highest x̃ for each user, ``(U, top)``: x̃ is x_0 led back over all steps with no noise drawn.

        Between two steps x is only added to and mapped by W_1, so the hidden layer is led back instead of x:
        W_1 x̂ = (W_1 W_2) tanh(·) + W_1 b_2. Nothing I wide is computed but the last step's answer, which is x̃ itself.
        """
        net = self._denoiser(modality)
        (inner,) = net.hidden
        assert isinstance(inner, nn.Linear)
        of_x, of_time = inner.weight.tensor_split([self.num_items], dim=1)
        through, offset = net.output.weight.T @ of_x.T, of_x @ net.output.bias  # (H, H), (H,)
        process, columns = self.process, of_x.T.contiguous()
        time = F.linear(
            net.time(torch.arange(process.steps + 1, device=of_x.device)), of_time, inner.bias
        )  # (T + 1, H)
        found = []
        for start in range(0, self.num_users, ROWS):
            bounds = self.bounds[start : start + ROWS + 1]
            first, last = int(bounds[0]), int(bounds[-1])
            taken = self.pairs[first:last, 1].contiguous()
            h = F.embedding_bag(taken, columns, bounds - first, mode="sum", include_last_offset=True)  # W_1 x_0
            for t in range(process.steps, 1, -1):
                predicted = torch.tanh(h + time[t]) @ through + offset
                h = process.mean_x0[t] * predicted + process.mean_xt[t] * h
            found.append(net.output(torch.tanh(h + time[1])).topk(top, dim=1).indices)
        return torch.cat(found)

    @torch.no_grad()
    def trajectory(self, modality: str, users: Tensor) -> Trajectory:
        """x_0 of distinct users led back over all steps: states ``(T + 1, B, I)`` and predicted x_0; the last is x̃.

        Each state is the mean of q(x_{t-1} | x_t, x̂).
        """
        net, record = self._denoiser(modality), list[Step]()
        steps = self.process.subset(self.process.steps)
        x = x0 = self.interactions(users)
        for t in steps:
            predicted = net(x, t)
            x = self.process.posterior(predicted, x, t)[0]
            record.append(Step(x, predicted))
        return Trajectory.of(steps, x0, record)

    def _denoiser(self, modality: str) -> MLPDenoiser:
        if modality not in self.denoisers:
            raise UserError(f"no diffusion of {modality!r}; {nearest(modality, self.denoisers)}")
        net = self.denoisers[modality]
        assert isinstance(net, MLPDenoiser)
        return net


def with_first_beta(schedule: Schedule, beta: float) -> Schedule:
    """The schedule with another β_1 and all other β as they are; a β of 0 leaves it alone."""
    if not beta:
        return schedule
    betas = schedule.betas[1:].double()
    betas[0] = beta
    return Schedule.from_variances(schedule.name, -torch.expm1(torch.log1p(-betas).cumsum(0)).numpy())
