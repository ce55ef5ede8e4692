"""Full ranking of the validation split, ours against MMRec's; first a proof that the metrics are equal."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import cases, common
from benchmarks.epoch import OURS
from benchmarks.measure import Side
from nbkit.errors import UserError


def same_metrics(ours: Mapping[str, float], theirs: Mapping[str, float]) -> int:
    """Number of metrics that both sides have and agree on, to the 4 digits that MMRec keeps.

    Raises:
        UserError: a metric of MMRec's that is missing here, or differs.
    """
    for name, value in theirs.items():
        # Half a unit of the 4th digit, and a little for the last bit of our mean.
        if name not in ours or not abs(ours[name] - value) <= 0.5e-4 + 1e-9:
            raise UserError(f"{name}: {ours.get(name)} here, {value} in MMRec; expected the same 4 digits")
    return len(theirs)


def proof(ours: Side, theirs: Side) -> dict[str, int]:
    """Equal metrics from the same score matrix, and from the same weights, each side scoring for itself."""
    theirs.call("epoch")
    expected, *_ = theirs.call("evaluate")
    with tempfile.TemporaryDirectory(prefix="nbkit-bench-") as folder:
        path = str(Path(folder) / "scores.npy")
        theirs.call("write_scores", path)
        from_scores, *_ = ours.call("metrics_of", path)
    ours.call("load", theirs.call("weights")[0])
    from_weights, *_ = ours.call("evaluate")
    return {
        "equal from scores": same_metrics(from_scores, expected),
        "equal from weights": same_metrics(from_weights, expected),
    }


def measure(
    chosen: Sequence[cases.Case],
    folder: str,
    *,
    mmrec: str | None,
    image_dim: int | None = None,
    device: str = "cpu",
    bench: common.Bench,
) -> common.Report:
    """Evaluation, and an epoch with its validation, for each case; MMRec's test ranking is not counted.

    Raises:
        UserError: the machine is not idle, or a metric differs.
    """
    report = common.Report("evaluation", bench.threads)
    for case in chosen:
        shared: dict[str, Any] = {"folder": folder, "image_dim": image_dim, "device": device}
        sides: dict[str, Side] = {
            "nbkit": bench.side(OURS, model=case.nbkit, settings=dict(case.nbkit_settings), **shared)
        }
        equal: dict[str, int] = {}
        if mmrec:
            sides["MMRec"] = bench.side(
                cases.PEERS[case.code], checkout=mmrec, model=case.theirs, settings=dict(case.their_settings), **shared
            )
            equal = proof(sides["nbkit"], sides["MMRec"])
        for work, wanted in (
            ("evaluate", cases.EVALUATION),
            ("both", cases.EPOCH_AND_VALIDATION.get(case.name)),
        ):
            times = bench.turns({n: (s, work) for n, s in sides.items()})
            what = "full evaluation" if work == "evaluate" else "epoch + validation"
            row: dict[str, Any] = {"case": case.name, "work": what, "nbkit s": str(times["nbkit"])}
            if mmrec:
                row |= {
                    "MMRec s": str(times["MMRec"]),
                    "ratio": times["MMRec"].seconds / times["nbkit"].seconds,
                    "CPU ratio": times["MMRec"].cpu / times["nbkit"].cpu,
                    "must": wanted[0] if wanted else None,
                    "goal": wanted[1] if wanted else None,
                    **equal,
                }
            report.add_timed(f"{case.name}, {what}", row, times)
        for side in sides.values():
            side.close()
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time the full ranking of the validation split, and an epoch with it."""
    options = common.parser(main.__doc__, data=True)
    options.add_argument("--mmrec", help="folder of an MMRec checkout (default: our side alone)")
    options.add_argument("--case", action="append", help=f"may be repeated: {', '.join(cases.CASES)}")
    given = options.parse_args(arguments)
    known = {name: case for name, case in cases.CASES.items() if case.code == "MMRec"}
    with common.data_folder(given.data) as folder:
        report = measure(
            cases.choose(given.case or ["bpr", "lightgcn-1", "vbpr"], known),
            folder,
            mmrec=given.mmrec,
            image_dim=given.image_dim,
            device=given.device,
            bench=common.Bench.chosen(given),
        )
    report.name = common.named("evaluation", given)
    report.finish(given.out)


if __name__ == "__main__":
    common.run(main)
