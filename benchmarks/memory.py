"""Peak memory of ranking and item kNN while the number of items doubles: linear, dense ways quadratic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks import common
from benchmarks.knn import WAYS
from benchmarks.measure import forget_peak, peak_memory
from nbkit import repro
from nbkit.evaluation.ranking import Evaluator


class Load:
    """Random vectors and pairs at one number of items, and the works on them."""

    def __init__(self, *, items: int, users: int, width: int) -> None:
        self.items, self.users = items, users
        generator = repro.generator(0, "memory")
        self.item_vectors = torch.randn(items, width, generator=generator)
        self.user_vectors = torch.randn(users, width, generator=generator)
        rng = np.random.default_rng(0)
        self.train, self.held = (
            np.stack([np.repeat(np.arange(users), n), rng.integers(items, size=users * n)], axis=1) for n in (6, 1)
        )

    def extra_memory(self, work: str) -> float:
        """MB held at most during the work, beyond what was held before; true of the first work of a process."""
        # A first product makes BLAS set up its buffers, which belong to no work in particular.
        torch.mm(self.item_vectors[:64], self.item_vectors[:64].T)
        before = forget_peak()
        if work == "ranking":
            evaluator = Evaluator(self.held, [self.train], self.users, self.items)
            transposed = self.item_vectors.T
            evaluator.per_user(lambda users: self.user_vectors[users] @ transposed)
        else:
            WAYS[work.removeprefix("kNN ")](self.item_vectors, 10)
        return (peak_memory() - before) / 1e6


WORKS = ("ranking", "kNN chunks", "kNN dense")


def measure(
    sizes: Sequence[int] = (5_000, 10_000, 20_000),
    *,
    users: int = 4_000,
    width: int = 64,
    bench: common.Bench,
) -> common.Report:
    """Peak memory of each work at each number of items, and the growth from one to the next."""
    report = common.Report("memory", bench.threads)
    for work in WORKS:
        row: dict[str, Any] = {"work": work}
        found = []
        for items in sizes:
            side = bench.side("benchmarks.memory:Load", items=items, users=users, width=width)
            found.append(side.call("extra_memory", work)[0])
            side.close()
            row[f"{items:,} items MB"] = found[-1]
        row["growth"] = common.growth(sizes, found)
        report.add(row)
    return report


def main(arguments: list[str] | None = None) -> None:
    """Show how memory grows with the number of items."""
    options = common.parser(main.__doc__)
    options.add_argument("--items", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    options.add_argument("--users", type=int, default=4_000)
    given = options.parse_args(arguments)
    measure(given.items, users=given.users, bench=common.Bench.chosen(given)).finish(given.out)


if __name__ == "__main__":
    common.run(main)
