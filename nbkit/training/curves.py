"""What a validation curve says about when its training was stopped."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FEWEST = 8  # validations after the best one, below which a trend cannot be told from chance
CHANCE = 0.05


def cut_short(scores: Sequence[float], *, epochs_left: bool = True) -> bool:
    """Whether a fit was stopped for patience while its validation was rising again, so that more patience may pay.

    ``scores`` are the validations in order. After the best one they must rise: Kendall's tau above zero with one-sided
    p < .05. Models that start slowly are stopped so on small data: chance makes the first validation the best, then
    training needs more epochs than patience has to get past it. ``epochs_left`` is False when all epochs were spent.
    """
    from scipy.stats import kendalltau

    values = np.asarray(scores, dtype=float)
    after = values[int(np.argmax(values)) + 1 :] if len(values) else values
    if not epochs_left or len(after) < FEWEST:
        return False
    return bool(kendalltau(np.arange(len(after)), after, alternative="greater").pvalue < CHANCE)
