"""How fast the kernel answers a hand: instruments with 10,000 items or users, from a change of state to the view."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks import common
from nbkit.data.dataset import Interactions, MultimodalDataset
from nbkit.errors import UserError
from nbkit.studies.films import Film
from nbkit.widgets.arena import ModelArena
from nbkit.widgets.base import Instrument
from nbkit.widgets.player import TABLES, DenoisingPlayer
from nbkit.widgets.schedules import ScheduleDesigner


def shop(items: int, width: int) -> MultimodalDataset:
    """As many users as items, five clicks each, random features of that width, eight categories."""
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(items), 5)
    train = Interactions(users, generator.integers(0, items, len(users)))
    held = Interactions(np.arange(items), generator.integers(0, items, items))
    names = {"title": [f"item {n}" for n in range(items)], "category": [f"kind {n % 8}" for n in range(items)]}
    ids = np.array([str(n) for n in range(items)])
    features = {"text": generator.standard_normal((items, width), dtype=np.float32)}
    return MultimodalDataset(
        name="made",
        user_ids=ids,
        item_ids=ids,
        train=train,
        valid=held,
        test=held,
        features=features,
        item_table=pd.DataFrame(names),
    )


class Hand:
    """An instrument and one thing that a hand does to it: every ``move`` sets a trait to the next of some values."""

    def __init__(self, *, instrument: str, trait: str, values: tuple[object, ...], items: int, width: int) -> None:
        data = shop(items, width)
        made: dict[str, Callable[[], Instrument]] = {
            "schedules": lambda: ScheduleDesigner(data),
            "player": lambda: DenoisingPlayer(_film(items), data),
            "arena": lambda: ModelArena(_scores(items), data),
        }
        self.instrument = made[instrument]()
        assert self.instrument.view is not None
        self.trait, self.values = trait, itertools.cycle(values)

    def move(self) -> str:
        """What went wrong, if anything."""
        self.instrument.state.set_trait(self.trait, next(self.values))
        return self.instrument.error


def _film(points: int) -> Film:
    generator = np.random.default_rng(0)
    states = generator.standard_normal((11, points, 64), dtype=np.float32)
    snr = np.append(np.geomspace(1, 100, 10), np.inf)
    return Film("made", "text", tuple(range(10, -1, -1)), states, states, states[-1], np.arange(points), snr)


def _scores(users: int) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    tables = [
        pd.DataFrame({"model": model, "seed": 0, "user": np.arange(users), "value": generator.random(users).round(1)})
        for model in ("a", "b", "c")
    ]
    return pd.concat(tables, ignore_index=True)


# What a hand does: instrument, trait, the values it goes between.
MOVES: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("schedules", "t", (5, 20)),
    ("schedules", "gamma_max", (0.5, 0.9)),
    ("schedules", "item", (1, 2)),
    ("player", "frame", (3, 7)),
    ("player", "point", (10, 20)),
    ("player", "table", TABLES),
    ("arena", "second", ("b", "c")),
    ("arena", "selected", ((1, 2, 3), (4, 5, 6))),
)


def measure(*, items: int, width: int, bench: common.Bench) -> common.Report:
    """Milliseconds from a change of state until the view is up to date in the kernel.

    Raises:
        UserError: the machine is not idle, or an instrument complains.
    """
    report = common.Report("instruments", bench.threads)
    for instrument, trait, values in MOVES:
        side = bench.side(
            "benchmarks.instruments:Hand", instrument=instrument, trait=trait, values=values, items=items, width=width
        )
        timing = bench.turns({"move": (side, "move")})["move"]
        side.close()
        if timing.result:
            raise UserError(f"{instrument}, {trait}: {timing.result}")
        row = {"instrument": instrument, "moves": trait, "items": items, "ms": 1000 * timing.seconds}
        report.add_timed(f"{instrument} {trait}", row, {"times": timing})
    return report


def main(arguments: list[str] | None = None) -> None:
    """Time the kernel's answers to a hand."""
    options = common.parser(main.__doc__)
    options.add_argument("--items", type=int, default=10_000, help="items, and as many users and points")
    options.add_argument("--width", type=int, default=128, help="feature width")
    given = options.parse_args(arguments)
    bench = common.Bench.chosen(given)
    measure(items=given.items, width=given.width, bench=bench).finish(given.out)


if __name__ == "__main__":
    common.run(main)
