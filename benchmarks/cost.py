"""What a training epoch costs beside one of LightGCN's, from a few optimiser steps of each, in turns in one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch

from benchmarks import cases, common
from benchmarks.measure import Sample, Timing, peak_memory
from benchmarks.ours import Nbkit
from nbkit.data.sampling import Batch
from nbkit.training.loop import train_epoch

STEPS = "benchmarks.cost:Steps"
STARTS = 5  # epochs begun in one call: what a model does every few epochs counts with its share
SETTLED = 100  # epochs counted from here, past every warm-up: what a model does for most of a run


@dataclass(frozen=True)
class Case:
    """A model and its settings; what is not set has the model's default."""

    name: str
    model: str
    settings: cases.Settings = field(default_factory=dict)


REFERENCE = Case("lightgcn", "lightgcn")
CASES = {
    case.name: case
    for case in (
        REFERENCE,  # against itself: how far the ratios scatter
        *(Case(model, model) for model in ("bpr", "vbpr", "mmgcn", "dualgnn", "slmrec", "bm3", "mgcn", "freedom")),
        *(Case(model, model) for model in ("pgl", "da_mrs", "diffmm", "diffcl")),
        Case("diffcl-no-diffusion", "diffcl", {"contrast": 0.0}),
        Case("jbm_diff", "jbm_diff"),
        Case("jbm_diff-no-diffusion", "jbm_diff", {"eta": 0.0}),
        Case("sasrec", "sasrec"),
        Case("gru4rec", "gru4rec"),
        Case("m3bsr", "m3bsr"),
        Case("m3bsr-no-diffusion", "m3bsr", {"modality_denoising": False, "behavior_denoising": False}),
    )
}


class Steps(Nbkit):
    """A model whose epochs can be timed in part: their start, and a few steps on batches not seen before."""

    def __init__(self, *, steps: int = 5, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.count, self.batches = steps, self._dealt()
        self.model.start_epoch(0, self.generator)
        self.epochs = SETTLED

    def _dealt(self) -> Iterator[Batch]:
        while True:
            yield from self.sampler.epoch(self.settings.batch_size, self.generator)

    def start(self) -> None:
        """What precedes the steps of ``STARTS`` epochs in a row, as far as it is the model's."""
        for _ in range(STARTS):
            self.model.start_epoch(self.epochs, self.generator)
            self.epochs += 1
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def step(self) -> int:
        """``count`` steps, their batches dealt meanwhile, where the last call left off: how many an epoch has."""
        train_epoch(self.model, islice(self.batches, self.count), self.optimizer, loss_scale={})
        return self.sampler.steps(self.settings.batch_size)

    def peak(self) -> float:
        """Most MB that the process ever held: for the data, the model, a start and some steps."""
        self.start()
        self.step()
        return peak_memory() / 1e6


def whole_epoch(start: Timing, step: Timing, steps: int) -> Timing:
    """An epoch's time in each round: its start, and as many steps as it has, of which a call made ``steps``."""
    once, often = 1 / STARTS, step.result / steps
    samples = (
        Sample(a.seconds * once + b.seconds * often, a.cpu * once + b.cpu * often, max(a.foreign, b.foreign))
        for a, b in zip(start.samples, step.samples, strict=True)
    )
    return Timing(tuple(samples), step.result)


def measure(
    chosen: Sequence[Case],
    folder: str,
    *,
    steps: int = 5,
    image_dim: int | None = None,
    device: str = "cpu",
    bench: common.Bench,
) -> common.Report:
    """An epoch of each case in turns with one of LightGCN's.

    Raises:
        UserError: the machine is not idle, or a model cannot be built from the data.
    """
    report = common.Report("cost", bench.threads)
    report.notes.append(
        f"epoch s: one start, and the mean of {steps} steps a turn times the steps of an epoch; "
        "ratio: over the LightGCN epoch in turns with it; histories are in random order where the data have no times"
    )
    shared: dict[str, Any] = {"folder": folder, "image_dim": image_dim, "device": device, "steps": steps}
    reference = bench.side(STEPS, model=REFERENCE.model, settings=dict(REFERENCE.settings), **shared)
    for case in chosen:
        side = bench.side(STEPS, model=case.model, settings=dict(case.settings), **shared)
        sides = {"model": side, REFERENCE.name: reference}
        parts = bench.turns({f"{n} {part}": (s, part) for n, s in sides.items() for part in ("start", "step")})
        side.close()
        times = {n: whole_epoch(parts[f"{n} start"], parts[f"{n} step"], steps) for n in sides}
        own, other = times["model"], times[REFERENCE.name]
        row = {
            "case": case.name,
            "steps": own.result,
            "start s": parts["model start"].seconds / STARTS,
            "step s": parts["model step"].seconds / steps,
            "epoch s": str(own),
            "LightGCN s": str(other),
            "ratio": own.seconds / other.seconds,
            "CPU ratio": own.cpu / other.cpu,
        }
        report.add_timed(case.name, row, {**times, **parts})
        if not bench.inline:
            print(" ", *(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
    reference.close()
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time training epochs of models against LightGCN's."""
    options = common.parser(main.__doc__, data=True)
    options.add_argument("--case", action="append", help=f"may be repeated: {', '.join(CASES)} (default: all)")
    options.add_argument("--steps", type=int, default=5, help="optimiser steps of one timed call")
    given = options.parse_args(arguments)
    with common.data_folder(given.data) as folder:
        report = measure(
            cases.choose(given.case, CASES),
            folder,
            steps=given.steps,
            image_dim=given.image_dim,
            device=given.device,
            bench=common.Bench.chosen(given),
        )
    report.name = common.named("cost", given)
    report.finish(given.out)


if __name__ == "__main__":
    common.run(main)
