"""One training epoch, ours against other code's, in turns; first a proof that both compute the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import cases, common
from benchmarks.measure import Side
from nbkit.errors import UserError

TOLERANCE = 1e-5
OURS = "benchmarks.ours:Nbkit"


def triples(folder: str, batch: int = 2048, seed: int = 0, *, distinct: bool = False) -> np.ndarray:
    """A batch of training pairs with random other items: ``(3, B)`` int64.

    With ``distinct`` no user and no observed item comes twice.
    """
    from benchmarks import data

    dataset = data.read(Path(folder))
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(dataset.train))
    if distinct:
        seen: tuple[set[int], set[int]] = (set(), set())
        pairs = np.stack([dataset.train.user, dataset.train.item], axis=1)
        rows = np.array([row for row in rows if _new(pairs[row].tolist(), seen)])
    rows = rows[:batch]
    others = rng.integers(dataset.num_items, size=len(rows))
    return np.stack([dataset.train.user[rows], dataset.train.item[rows], others]).astype(np.int64)


def _new(pair: Sequence[int], seen: tuple[set[int], set[int]]) -> bool:
    """Whether neither of both was seen before; then they are now."""
    new = not any(one in some for one, some in zip(pair, seen, strict=True))
    if new:
        for one, some in zip(pair, seen, strict=True):
            some.add(one)
    return new


def same_mathematics(ours: Side, theirs: Side, batch: np.ndarray, *, factor: float = 1.0) -> dict[str, float]:
    """Give our side the peer's weights and compare loss and gradients of one batch; its are ``factor`` times ours.

    Raises:
        UserError: the losses differ by more than ``TOLERANCE`` (of the loss, where it is above 1), gradients by more
            than 1e-3 of the largest.
    """
    weights, *_ = theirs.call("weights")
    ours.call("load", weights)
    (our_loss, *_), (their_answer, *_) = ours.call("loss", batch), theirs.call("loss_and_gradients", batch)
    their_loss, gradients = their_answer[0] / factor, {n: value / factor for n, value in their_answer[1].items()}
    gap, *_ = ours.call("gradient_gap", batch, gradients)
    if not abs(our_loss - their_loss) <= TOLERANCE * max(1.0, abs(their_loss)) or not gap <= 1e-3:
        raise UserError(
            f"not the same mathematics: loss {our_loss:.7f} against the peer's {their_loss:.7f}, "
            f"gradients apart by {gap:.2g} of the largest; expected the same"
        )
    return {"loss": our_loss, "loss_gap": abs(our_loss - their_loss), "gradient_gap": gap}


def _sides(
    case: cases.Case, checkout: str | None, bench: common.Bench, *, same: bool, **shared: Any
) -> dict[str, Side]:
    """Ours, and the peer where there is a checkout; as they are timed, or as they must be the ``same``."""
    ours, theirs = (case.nbkit_same, case.their_same) if same else ({}, {})
    sides = {"nbkit": bench.side(OURS, model=case.nbkit, settings={**case.nbkit_settings, **ours}, **shared)}
    if checkout:
        settings = {**case.their_settings, **theirs}
        peer = cases.PEERS[case.code]
        sides[case.code] = bench.side(peer, checkout=checkout, model=case.theirs, settings=settings, **shared)
    return sides


def measure(
    chosen: Sequence[cases.Case],
    folder: str,
    *,
    checkouts: Mapping[str, str],
    image_dim: int | None = None,
    device: str = "cpu",
    bench: common.Bench,
) -> common.Report:
    """Epochs of each case on both sides, or on ours alone where there is no checkout of the case's code base.

    Raises:
        UserError: the machine is not idle, or the sides differ in loss, gradients or number of steps.
    """
    report = common.Report("epoch", bench.threads)
    for case in chosen:
        shared = {"folder": folder, "image_dim": image_dim, "device": device, "batch_size": case.batch_size}
        checkout, proof = checkouts.get(case.code), dict[str, float]()
        if checkout:  # in processes of its own, which leaves no trace in the memory of the timed ones
            sides = _sides(case, checkout, bench, same=True, **shared)
            batch = triples(folder, case.batch_size, distinct=case.distinct)
            proof = same_mathematics(sides["nbkit"], sides[case.code], batch, factor=case.factor)
            for side in sides.values():
                side.close()
        sides = _sides(case, checkout, bench, same=False, **shared)
        before = {name: side.call("forget_peak")[0] / 1e6 for name, side in sides.items()}
        times = bench.turns({n: (s, "epoch") for n, s in sides.items()})
        peaks = {name: side.call("peak_memory")[0] / 1e6 for name, side in sides.items()}
        for side in sides.values():
            side.close()
        steps = {name: timing.result["steps"] for name, timing in times.items()}
        if len(set(steps.values())) > 1:
            raise UserError(f"{case.name}: optimiser steps {steps}; expected the same on both sides")
        must, goal = case.wanted(image_dim)
        row: dict[str, Any] = {"case": case.name, "steps": steps["nbkit"], "nbkit s": str(times["nbkit"])}
        if checkout:
            row |= {
                f"{case.code} s": str(times[case.code]),
                "ratio": times[case.code].seconds / times["nbkit"].seconds,
                "CPU ratio": times[case.code].cpu / times["nbkit"].cpu,
                "must": must,
                "goal": goal,
            }
        row |= {f"{name} MB": round(peak) for name, peak in peaks.items()}
        if checkout:
            row |= {
                "MB ratio": peaks[case.code] / peaks["nbkit"],
                "loss gap": proof["loss_gap"],
                "gradient gap": proof["gradient_gap"],
                "proof": case.proof,
            }
        report.add_timed(case.name, row, times, proof_values=proof, before_MB=before)
        if not bench.inline:
            print(" ", *(f"{name} {value}" for name, value in row.items()), sep="  ", flush=True)
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time training epochs of nbkit, and of checkouts of other code where they are given."""
    options = common.parser(main.__doc__, data=True)
    for code in cases.PEERS:
        options.add_argument(f"--{code.lower()}", help=f"folder of a checkout of {code} (default: our side alone)")
    options.add_argument("--case", action="append", help=f"may be repeated: {', '.join(cases.CASES)} (default: all)")
    given = options.parse_args(arguments)
    with common.data_folder(given.data) as folder:
        report = measure(
            cases.choose(given.case, cases.CASES),
            folder,
            checkouts={code: path for code in cases.PEERS if (path := getattr(given, code.lower()))},
            image_dim=given.image_dim,
            device=given.device,
            bench=common.Bench.chosen(given),
        )
    report.name = common.named("epoch", given)
    report.finish(given.out)


if __name__ == "__main__":
    common.run(main)
