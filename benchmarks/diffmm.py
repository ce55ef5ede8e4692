"""The authors' DiffMM as the other side of a comparison, driven by its own loaders and its own training epoch."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from benchmarks import data
from benchmarks.peer import PROOF_SEED, Peer, adapt, source_folder
from nbkit.errors import UserError

DISPENSABLE = ("setproctitle", "tqdm")  # what it imports and may do without here
HIDDEN = 1000  # width of its denoisers' inner layer


class Passes:
    """Stands for one of its loaders: each pass over it gives the next list of batches, of ``size`` rows in all."""

    def __init__(self, size: int, *passes: Sequence[Any]) -> None:
        self.size, self.passes, self.dataset = size, iter(passes), self

    def __iter__(self) -> Iterator[Any]:
        return iter(next(self.passes))

    def __len__(self) -> int:
        return self.size

    def negSampling(self) -> None:
        """The negatives come with the batch."""


class DiffMM(Peer):
    """The authors' ``Coach`` on one data folder, on the CPU; ``settings`` are its command line's.

    ``folder`` is in the Parquet layout; a copy in their layout is made in a temporary folder.

    Raises:
        UserError: no such code at ``checkout``, or another device.
    """

    def __init__(
        self,
        *,
        checkout: str,
        folder: str,
        model: str,
        settings: Mapping[str, Any] | None = None,
        batch_size: int = 1024,
        image_dim: int | None = None,
        device: str = "cpu",
        seed: int = 999,
    ) -> None:
        source = source_folder("--diffmm", checkout, "Main.py", "DiffMM")
        if device != "cpu":
            raise UserError(f"--device {device!r}: DiffMM is compared on the CPU alone; expected cpu")
        sys.dont_write_bytecode = True  # a checkout is left as it was found
        self.adapted = adapt(DISPENSABLE)
        sys.path.insert(0, str(source))
        dataset = data.read(Path(folder), image_dim=image_dim)
        self.users, self.pairs = dataset.num_users, len(dataset.train)
        # Ours has no more units than items. "baby" is one of three names it knows, and means two modalities.
        width = min(HIDDEN, dataset.num_items)
        options = {"data": "baby", "batch": batch_size, "dims": f"[{width}]", "seed": seed, **(settings or {})}
        with tempfile.TemporaryDirectory(prefix="diffmm-") as here, chdir(here), _silent():
            data.write_diffmm(dataset, Path("Datasets", "baby"))
            with patch.object(sys, "argv", ["Main.py", *(f"--{name}={value}" for name, value in options.items())]):
                main = importlib.import_module("Main")
            main.seed_it(seed)
            handler = main.DataHandler()
            handler.LoadData()
            self.args, self.coach = main.args, main.Coach(handler)
            self.coach.prepareModel()
        super().__init__(self.coach.opt, device)

    def train(self) -> float:
        return _total(self._epoch())

    def _epoch(self) -> dict[str, float]:
        with _silent():
            means: dict[str, float] = self.coach.trainEpoch()
        return means

    def _parts(self) -> dict[str, torch.nn.Module]:
        coach = self.coach
        return {"": coach.model, "image.": coach.denoise_model_image, "text.": coach.denoise_model_text}

    def named(self) -> dict[str, torch.nn.Parameter]:
        return {f"{part}{n}": p for part, module in self._parts().items() for n, p in module.named_parameters()}

    def backward(self, triples: np.ndarray) -> float:
        """Their training epoch over one batch, all modal graphs rebuilt in it, where no optimiser moves anything.

        The denoisers see as many random users as they see here at such a batch.
        """
        size = triples.shape[1]
        torch.manual_seed(PROOF_SEED)
        share = torch.randperm(self.users)[: max(1, round(size / self.pairs * self.users))]
        batches: list[tuple[Tensor, ...]] = [self._rows(some) for some in torch.arange(self.users).split(1024)]
        coach = self.coach
        with ExitStack() as changed:
            for optimizer in (coach.opt, coach.denoise_opt_image, coach.denoise_opt_text):
                changed.enter_context(patch.object(optimizer, "step"))
            loaders: dict[str, Any] = {
                "diffusionLoader": Passes(size, [self._rows(share)], batches),
                "trnLoader": Passes(size, [torch.from_numpy(triples)]),
            }
            changed.enter_context(patch.multiple(coach.handler, **loaders))
            changed.enter_context(patch.object(self.args, "batch", size))
            return _total(self._epoch())

    def _rows(self, users: Tensor) -> tuple[Tensor, Tensor]:
        """A batch of its loader of interactions: rows and users."""
        return self.coach.handler.diffusionData.data[users], users


def _total(means: Mapping[str, float]) -> float:
    """The whole loss of a step, from the means that an epoch returns."""
    return means["Loss"] + means["CL loss"] + means["Di image loss"] + means["Di text loss"]


@contextmanager
def _silent() -> Iterator[None]:
    """Without the line that it prints at each step."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield
