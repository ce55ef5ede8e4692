"""Time and memory of a training step while users, items and pairs double: no step may grow with their square."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import cases, common, cost
from benchmarks.data import TINY, Size

CASES = {name: cost.CASES[name] for name in ("lightgcn", "diffcl", "jbm_diff", "m3bsr")}


def size(items: int) -> Size:
    """Two users an item and 6 training pairs a user, about as in Baby."""
    users = 2 * items
    return Size(users=users, items=items, train=6 * users, valid=users, test=users)


def _row(case: str, what: str, found: Mapping[int, float]) -> dict[str, Any]:
    sizes, values = list(found), list(found.values())
    grown = {"growth": common.growth(sizes, values), "last": common.growth(sizes[-2:], values[-2:])}
    return {"case": case, "what": what, **{f"{items:,} items": value for items, value in found.items()}, **grown}


def measure(
    chosen: Sequence[cost.Case],
    sizes: Sequence[int] = (5_000, 10_000, 20_000),
    *,
    steps: int = 5,
    bench: common.Bench,
) -> common.Report:
    """Each model at all sizes in turns: a step, the start of an epoch, peak memory beyond that of tiny data.

    Raises:
        UserError: the machine is not idle.
    """
    report = common.Report("growth", bench.threads)
    report.notes.append(
        "growth: exponent from the first size to the last; last: of the last two. 1 linear, 2 quadratic"
    )
    with contextlib.ExitStack() as stack:
        # Number 0: hardly any data. Its memory is that of torch and pandas, and would hide how the rest grows.
        made = {0: TINY, **{items: size(items) for items in sizes}}
        folders = {items: stack.enter_context(common.data_folder(None, size=made[items])) for items in made}
        for case in chosen:
            settings: dict[str, Any] = dict(case.settings)
            sides = {
                items: bench.side(cost.STEPS, folder=folder, model=case.model, settings=settings, steps=steps)
                for items, folder in folders.items()
            }
            memory = {items: side.call("peak")[0] for items, side in sides.items()}
            calls = {f"{part} {items}": (sides[items], part) for items in sizes for part in ("start", "step")}
            times = bench.turns(calls)
            for side in sides.values():
                side.close()
            for what, part, count in (("step s", "step", steps), ("start of an epoch s", "start", cost.STARTS)):
                parts = {items: times[f"{part} {items}"] for items in sizes}
                row = _row(case.name, what, {items: t.seconds / count for items, t in parts.items()})
                report.add_timed(f"{case.name}, {what}", row, {str(items): t for items, t in parts.items()})
            report.add(
                _row(case.name, "peak MB", {items: memory[items] - memory[0] for items in sizes}), base=memory[0]
            )
    return report


def main(arguments: list[str] | None = None) -> None:
    """Show how the time and memory of training steps grow with users, items and pairs."""
    options = common.parser(main.__doc__)
    options.add_argument("--case", action="append", help=f"may be repeated: {', '.join(CASES)} (default: all)")
    options.add_argument("--items", type=int, nargs="+", default=[5_000, 10_000, 20_000])
    options.add_argument("--steps", type=int, default=5, help="optimiser steps of one timed call")
    given = options.parse_args(arguments)
    chosen = cases.choose(given.case, CASES)
    measure(chosen, given.items, steps=given.steps, bench=common.Bench.chosen(given)).finish(given.out)


if __name__ == "__main__":
    common.run(main)
