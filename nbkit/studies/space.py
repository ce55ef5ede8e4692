"""What a search varies: the settings that a model declares in its grid, round the settings it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nbkit import config
from nbkit.models.base import Grid
from nbkit.studies.experiment import Experiment

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = Mapping[str, Any]  # a value for each setting that is varied

DIGITS = 3  # significant ones of a number that is drawn: enough, and readable


@dataclass(frozen=True)
class Space:
    """The settings of ``grid``, round an experiment to ``start`` from.

    As points: the start, then every combination of the declared values. As ranges: a setting whose values, the start's
    among them, are positive floats goes from the least to the greatest on a logarithmic scale; whole numbers, names,
    switches and floats with a 0 among them are choices without an order.
    """

    start: Experiment
    grid: Grid

    @cached_property
    def values(self) -> dict[str, list[Any]]:
        """The declared values of each setting and the start's, each once."""
        declared = {**self.grid.settings, **self.grid.training}
        return {name: list(dict.fromkeys([*declared[name], self.origin[name]])) for name in declared}

    @cached_property
    def origin(self) -> Point:
        """The start as a point."""
        own = {name: self.start.model_settings[name] for name in self.grid.settings}
        return {**own, **{name: getattr(self.start.training, name) for name in self.grid.training}}

    def points(self, generator: np.random.Generator) -> list[Point]:
        """The start, then the declared points in an order that the generator decides, each once."""
        declared = [{**point.settings, **point.training} for point in self.grid.points()]
        shuffled = [declared[n] for n in generator.permutation(len(declared))]
        return list({key(point): point for point in [self.origin, *shuffled]}.values())

    def experiment(self, point: Point) -> Experiment:
        """The start with the point's values."""
        own = {name: point[name] for name in self.grid.settings}
        shared = {name: point[name] for name in self.grid.training}
        training = replace(self.start.training, **shared)
        return replace(self.start, model_settings={**self.start.model_settings, **own}, training=training)

    def label(self, point: Point) -> str:
        """The point as one reads it: ``reg=0.01 lr=0.001``, or ``start``."""
        return "start" if key(point) == key(self.origin) else config.assignments(point)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Ranges and choices as Optuna knows them."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        return {
            name: FloatDistribution(min(values), max(values), log=True)
            if is_range(values)
            else CategoricalDistribution(values)
            for name, values in self.values.items()
        }

    def rounded(self, point: Point) -> Point:
        """A drawn point with numbers of three significant digits, within their ranges."""
        found = dict(point)
        for name, values in self.values.items():
            if is_range(values):
                found[name] = min(max(float(f"{point[name]:.{DIGITS}g}"), min(values)), max(values))
        return found


def is_range(values: list[Any]) -> bool:
    """Whether values are drawn from between the least and the greatest."""
    return len(values) > 1 and all(isinstance(value, float) and value > 0 for value in values)


def key(point: Point) -> str:
    """Equal for points of equal values."""
    return config.canonical_json(point)
