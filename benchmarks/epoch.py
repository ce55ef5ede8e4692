"""One training epoch, ours against MMRec's, in turns; first a proof that both compute the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, common
from benchmarks.measure import Side
from nbkit.errors import UserError

TOLERANCE = 1e-5
OURS, THEIRS = "benchmarks.ours:Nbkit", "benchmarks.peer:MMRec"


def triples(folder: str, batch: int = 2048, seed: int = 0) -> np.ndarray:
    """A batch of training pairs with random other items: ``(3, B)`` int64."""
    from benchmarks import data

    dataset = data.read(Path(folder))
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(dataset.train))[:batch]
    others = rng.integers(dataset.num_items, size=len(rows))
    return np.stack([dataset.train.user[rows], dataset.train.item[rows], others]).astype(np.int64)


def same_mathematics(ours: Side, theirs: Side, batch: np.ndarray) -> dict[str, float]:
    """Give our side MMRec's weights and compare loss and gradients of one batch.

    Raises:
        UserError: the losses differ by more than ``TOLERANCE``, gradients by more than 1e-3 of the largest.
    """
    weights, *_ = theirs.call("weights")
    ours.call("load", weights)
    (our_loss, *_), (their_loss, *_) = ours.call("loss", batch), theirs.call("loss", batch)
    gradients, *_ = theirs.call("gradients", batch)
    gap, *_ = ours.call("gradient_gap", batch, gradients)
    if not abs(our_loss - their_loss) <= TOLERANCE or not gap <= 1e-3:
        raise UserError(
            f"not the same mathematics: loss {our_loss:.7f} against MMRec's {their_loss:.7f}, "
            f"gradients apart by {gap:.2g} of the largest; expected the same"
        )
    return {"loss": our_loss, "loss_gap": abs(our_loss - their_loss), "gradient_gap": gap}


def measure(
    chosen: Sequence[cases.Case],
    folder: str,
    *,
    mmrec: str | None,
    image_dim: int | None = None,
    device: str = "cpu",
    bench: common.Bench,
) -> common.Report:
    """Epochs of each case on both sides, or on ours alone where no checkout of MMRec is given.

    Raises:
        UserError: the machine is not idle, or the sides differ in loss, gradients or number of steps.
    """
    report = common.Report("epoch", bench.threads)
    batch = triples(folder)
    for case in chosen:
        shared: dict[str, Any] = {"folder": folder, "image_dim": image_dim, "device": device}
        our_settings, their_settings = dict(case.nbkit_settings), dict(case.mmrec_settings)
        proof: dict[str, float] = {}
        if mmrec and (case.nbkit_same or case.mmrec_same):
            pair: list[Side] = [
                bench.side(OURS, model=case.nbkit, settings={**our_settings, **case.nbkit_same}, **shared),
                bench.side(
                    THEIRS,
                    checkout=mmrec,
                    model=case.mmrec,
                    settings={**their_settings, **case.mmrec_same},
                    **shared,
                ),
            ]
            proof = same_mathematics(pair[0], pair[1], batch)
            for used in pair:
                used.close()
        sides: dict[str, Side] = {"nbkit": bench.side(OURS, model=case.nbkit, settings=our_settings, **shared)}
        if mmrec:
            sides["MMRec"] = bench.side(THEIRS, checkout=mmrec, model=case.mmrec, settings=their_settings, **shared)
            proof = proof or same_mathematics(sides["nbkit"], sides["MMRec"], batch)
        times = bench.turns({n: (s, "epoch") for n, s in sides.items()})
        for side in sides.values():
            side.close()
        steps = {name: timing.result["steps"] for name, timing in times.items()}
        if len(set(steps.values())) > 1:
            raise UserError(f"{case.name}: optimiser steps {steps}; expected the same on both sides")
        must, goal = case.wanted(image_dim)
        row: dict[str, Any] = {"case": case.name, "steps": steps["nbkit"], "nbkit s": str(times["nbkit"])}
        if mmrec:
            row |= {
                "MMRec s": str(times["MMRec"]),
                "ratio": times["MMRec"].seconds / times["nbkit"].seconds,
                "CPU ratio": times["MMRec"].cpu / times["nbkit"].cpu,
                "must": must,
                "goal": goal,
                "loss gap": proof["loss_gap"],
            }
        report.add_timed(case.name, row, times, proof=proof)
        if not bench.inline:
            print(" ", *(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time training epochs of nbkit, and of an MMRec checkout where one is given."""
    options = common.parser(main.__doc__, data=True)
    options.add_argument("--mmrec", help="folder of an MMRec checkout (default: our side alone)")
    options.add_argument("--case", action="append", help=f"may be repeated: {', '.join(cases.CASES)} (default: all)")
    given = options.parse_args(arguments)
    with common.data_folder(given.data) as folder:
        report = measure(
            cases.choose(given.case, cases.CASES),
            folder,
            mmrec=given.mmrec,
            image_dim=given.image_dim,
            device=given.device,
            bench=common.Bench.chosen(given),
        )
    report.name = common.named("epoch", given)
    report.finish(given.out)


if __name__ == "__main__":
    common.run(main)
