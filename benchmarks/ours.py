"""nbkit as one side of a comparison: the public loop, sampler and evaluator, called as ``fit`` calls them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import data, measure
from benchmarks.correspondence import Arrays, from_peer
from benchmarks.peer import PROOF_SEED
from nbkit import repro
from nbkit.data.sampling import Batch
from nbkit.errors import UserError
from nbkit.evaluation.ranking import Evaluator
from nbkit.models.base import build_model
from nbkit.training.loop import TrainSettings, make_optimizer, train_epoch


class Nbkit:
    """One nbkit model on one data folder in the Parquet layout."""

    def __init__(
        self,
        *,
        folder: str,
        model: str,
        settings: Mapping[str, Any] | None = None,
        batch_size: int = 2048,
        image_dim: int | None = None,
        device: str = "cpu",
        seed: int = 999,
    ) -> None:
        repro.tune_allocator()
        self.view = data.read(Path(folder), image_dim=image_dim).sealed()
        self.model_name, self.device, self.settings = model, torch.device(device), TrainSettings(batch_size=batch_size)
        self.model = build_model(model, self.view, settings or {}, repro.generator(seed, "model")).to(self.device)
        self.sampler = self.model.sampler(self.view, self.device)
        self.optimizer = make_optimizer(self.model, self.settings)
        self.generator = repro.generator(seed, "training", self.device.type)
        self.evaluator = Evaluator(
            self.view.valid.pairs(),
            [self.view.train.pairs()],
            self.view.num_users,
            self.view.num_items,
            device=self.device,
        )
        self.epochs = self.steps = 0
        self.optimizer.register_step_post_hook(self._count_step)

    def _count_step(self, *_: Any) -> None:
        self.steps += 1

    def epoch(self) -> dict[str, float]:
        """One epoch as ``fit`` runs it, without its validation: optimiser steps and mean loss of a step."""
        before = self.steps
        self.model.start_epoch(self.epochs, self.generator)
        batches = self.sampler.epoch(self.settings.batch_size, self.generator)
        means = train_epoch(self.model, batches, self.optimizer, loss_scale={})
        self.epochs += 1
        return {"steps": self.steps - before, "loss": means["loss"]}

    def evaluate(self) -> dict[str, float]:
        """Full ranking of the validation split: every metric, unrounded."""
        return self.evaluator(self.model)

    def both(self) -> dict[str, float]:
        """An epoch and its validation: what one waits for."""
        return {**self.epoch(), **self.evaluate()}

    def metrics_of(self, scores_file: str) -> dict[str, float]:
        """The same metrics from a ``(U, I)`` score matrix in a NumPy file."""
        scores = np.load(scores_file, mmap_mode="r")
        per_user = self.evaluator.per_user(lambda users: torch.from_numpy(scores[users.cpu().numpy()]).to(self.device))
        return {name: float(values.mean()) for name, values in per_user.items()}

    def forget_peak(self) -> int:
        """Let the peak of memory begin anew, at the bytes that this returns."""
        return measure.forget_peak(self.device)

    def peak_memory(self) -> int:
        """Most bytes held since then."""
        return measure.peak_memory(self.device)

    def load(self, weights: Arrays) -> None:
        """Take over the peer's weights, and constants kept with them, so that both sides stand at the same point.

        Raises:
            UserError: the model has arrays that the peer's weights do not fill, or of another shape.
        """
        self.taken = {name: torch.from_numpy(value) for name, value in weights.items()}
        values = from_peer(self.model_name, self.taken, self.view.features)
        for name, own in self.model.state_dict().items():
            if name not in values or values[name].shape != own.shape:
                shape = tuple(values[name].shape) if name in values else None
                raise UserError(f"{self.model_name}: weight {name} {tuple(own.shape)} has {shape} in the peer")
        self.model.load_state_dict({name: values[name] for name in self.model.state_dict()})

    def _total(self, triples: np.ndarray) -> torch.Tensor:
        users, positives, negatives = torch.from_numpy(triples).to(self.device)
        self.model.train()
        self.model.start_epoch(1, self.generator)  # graphs that last an epoch are made here
        draws = torch.Generator(self.device).manual_seed(PROOF_SEED)
        return torch.stack(list(self.model.losses(Batch(users, positives, negatives, draws)).values())).sum()

    def loss(self, triples: np.ndarray) -> float:
        """Loss of one batch of ``(3, B)`` users, positives and negatives with the weights as they are."""
        with torch.no_grad():
            return float(self._total(triples))

    def gradient_gap(self, triples: np.ndarray, theirs: Arrays) -> float:
        """Largest gap between the peer's gradients and ours led back to its arrays, as a share of the array's largest.

        Gradients that cancel to rounding noise (the bias of a projection under a pairwise loss) are held against
        1e-5 of the largest of all. Follows :meth:`load`.
        """
        self.model.zero_grad()
        self._total(triples).backward()
        arrays = {name: value.clone().requires_grad_() for name, value in self.taken.items()}
        values = from_peer(self.model_name, arrays, self.view.features)
        own = {
            values[n]: p.grad.cpu()
            for n, p in self.model.named_parameters()
            if p.grad is not None and values[n].requires_grad  # nothing of the peer's stands behind a constant
        }
        self.model.zero_grad()
        back = torch.autograd.grad(list(own), list(arrays.values()), list(own.values()), materialize_grads=True)
        ours = {name: gradient.numpy() for name, gradient in zip(arrays, back, strict=True)}
        expected = {name: theirs.get(name, np.zeros(1)) for name in ours}
        largest = {name: float(np.abs(value).max()) for name, value in expected.items()}
        floor = 1e-5 * max(largest.values())
        return max(float(np.abs(ours[n] - expected[n]).max()) / max(largest[n], floor) for n in ours)
