"""Known noise: eight ways to damage training data, each of which says what it touched."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from nbkit.data.corrupt import content, feedback
from nbkit.data.corrupt.truth import merge_truth
from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError, nearest
from nbkit.repro import numpy_generator

__all__ = ["Operator", "corrupt", "merge_truth", "operators"]


@dataclass(frozen=True)
class Operator:
    """One kind of noise: ``operator(dataset, rate, generator) -> (dataset, truth)``.

    ``rate`` is a share between 0 and 1, or for ``unit="dB"`` a signal-to-noise ratio; ``neutral`` is the rate
    at which nothing happens. Rates count from the data set given, so they never add up. The truth that comes
    back tells what this operator touched; the new data set carries it merged with what was known before.
    Validation and test interactions stay as they are.
    """

    name: str
    kind: Literal["feedback", "content"]
    unit: Literal["share", "dB"]
    help: str
    function: Callable[..., tuple[MultimodalDataset, Truth]]

    @property
    def neutral(self) -> float:
        return 0.0 if self.unit == "share" else math.inf

    def strength(self, rate: float) -> float:
        """The rate on a scale that rises with the noise from 0, clean: a share as it is, decibels as σ / signal RMS.

        The second is 10^(-dB / 20): .1 at 20 dB, 1 at 0 dB.
        """
        return float(rate) if self.unit == "share" else 10 ** (-rate / 20)

    def rate(self, strength: float) -> float:
        """The rate of a strength: the inverse of :meth:`strength`."""
        return strength if self.unit == "share" else -20 * math.log10(strength) if strength else math.inf

    def check(self, rate: float) -> None:
        """Refuse a rate out of range.

        Raises:
            UserError: what was expected.
        """
        low, high = (0.0, 1.0) if self.unit == "share" else (-100.0, math.inf)
        if not isinstance(rate, Real) or isinstance(rate, bool) or not low <= rate <= high:
            expected = "a share in 0 … 1" if self.unit == "share" else "a signal-to-noise ratio from -100 dB"
            raise UserError(f"noise {self.name}: rate {rate!r}; expected {expected}")

    def __call__(
        self, dataset: MultimodalDataset, rate: float, generator: Any, **options: Any
    ) -> tuple[MultimodalDataset, Truth]:
        """The damaged data set and what was touched.

        Raises:
            UserError: a rate out of range, or a data set that this noise cannot be added to.
        """
        self.check(rate)
        return self.function(dataset, float(rate), generator, **options)


_OPERATORS = (
    Operator(
        "add_random_edges",
        "feedback",
        "share",
        "accidental clicks on random items",
        feedback.add_random_edges,
    ),
    Operator("add_popular_edges", "feedback", "share", "clicks that follow the crowd", feedback.add_popular_edges),
    Operator("drop_edges", "feedback", "share", "likes that were never observed", feedback.drop_edges),
    Operator("gaussian", "content", "dB", "white noise on every feature", content.gaussian),
    Operator(
        "dimension_dropout",
        "content",
        "share",
        "some dimensions of each item set to zero",
        content.dimension_dropout,
    ),
    Operator("row_shuffle", "content", "share", "items that show another item's content", content.row_shuffle),
    Operator("missing_modality", "content", "share", "items without a modality", content.missing_modality),
    Operator("cross_modal_swap", "content", "share", "items whose modalities contradict", content.cross_modal_swap),
)


def operators() -> dict[str, Operator]:
    """Every kind of noise by name."""
    return {operator.name: operator for operator in _OPERATORS}


def corrupt(
    dataset: MultimodalDataset, operator: str, rate: float, seed: int = 0, **options: Any
) -> tuple[MultimodalDataset, Truth]:
    """The data set with one kind of noise at a rate, and what was touched.

    Raises:
        UserError: an unknown operator, a rate out of range, or a data set that this noise cannot be added to.
    """
    known = operators()
    if operator not in known:
        raise UserError(f"unknown noise {operator!r}; {nearest(operator, known)}")
    return known[operator](dataset, rate, numpy_generator(seed, f"corrupt/{operator}"), **options)
