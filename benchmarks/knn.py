"""Nearest items by cosine: in chunks, as nbkit does it, against one dense matrix; time and peak memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks import common
from benchmarks.measure import forget_peak, peak_memory
from nbkit import repro
from nbkit.errors import UserError
from nbkit.graphs import nearest_neighbours


def dense_neighbours(features: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The usual way: all cosines at once, ``(I, I)`` floats."""
    unit = F.normalize(features, dim=1)
    cosines, near = (unit @ unit.T).topk(k, dim=1)
    return near, cosines


WAYS: dict[str, Callable[..., tuple[torch.Tensor, torch.Tensor]]] = {
    "chunks": nearest_neighbours,
    "dense": dense_neighbours,
}


class Neighbours:
    """One way of finding the ``k`` nearest of ``items`` random rows."""

    def __init__(self, *, way: str, items: int, width: int, k: int = 10) -> None:
        self.way, self.k = WAYS[way], k
        self.features = torch.randn(items, width, generator=repro.generator(0, "knn"))

    def find(self) -> float:
        """Mean cosine found, by which two ways are compared."""
        return float(self.way(self.features, self.k)[1].double().mean())

    def extra_memory(self) -> float:
        """MB held at most while finding, beyond what is held now."""
        before = forget_peak()
        self.find()
        return (peak_memory() - before) / 1e6


def measure(
    items: int = 7_050,
    width: int = 4_096,
    *,
    bench: common.Bench,
) -> common.Report:
    """Both ways in turns.

    Raises:
        UserError: the machine is not idle, or the two ways find different neighbours.
    """
    sides = {way: bench.side("benchmarks.knn:Neighbours", way=way, items=items, width=width) for way in WAYS}
    memory = {way: side.call("extra_memory")[0] for way, side in sides.items()}
    times = bench.turns({way: (side, "find") for way, side in sides.items()})
    for side in sides.values():
        side.close()
    if abs(times["chunks"].result - times["dense"].result) > 1e-5:
        raise UserError(f"mean cosines {[t.result for t in times.values()]}; expected the same from both ways")
    report = common.Report("knn", bench.threads)
    for way, timing in times.items():
        row = {"way": way, "items": items, "width": width, "s": str(timing), "extra MB": memory[way]}
        report.add(row, **timing.record())
        if timing.disturbed:
            report.disturbed(way)
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time item kNN in chunks against a dense one."""
    options = common.parser(main.__doc__)
    options.add_argument("--items", type=int, default=7_050)
    options.add_argument("--width", type=int, default=4_096, help="feature width")
    given = options.parse_args(arguments)
    measure(given.items, given.width, bench=common.Bench.chosen(given)).finish(given.out)


if __name__ == "__main__":
    common.run(main)
