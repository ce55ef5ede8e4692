"""One space laid over another by turning it as a whole: orthogonal Procrustes, fitted once and kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nbkit.errors import UserError


@dataclass(frozen=True, eq=False)
class Overlay:
    """Rows ``(N, D)`` brought into a reference space of width D', by one rotation, one scale and one shift.

    x -> scale · (x - centre) R + target, R with orthonormal rows (columns where D > D'). As it turns a space as a
    whole, distances within it keep their proportions where D <= D', and no item can be pulled towards its place in
    the reference: a ridge regression would, and would make tables look alike that are not. The scale gives every space
    the reference's spread; the one of least squares would shrink a space to a point the less it has to do with it.
    Source: Schönemann, Psychometrika 1966; Gower & Dijksterhuis, Procrustes Problems, 2004.
    """

    centre: np.ndarray
    rotation: np.ndarray
    scale: float
    target: np.ndarray

    @classmethod
    def fit(cls, table: np.ndarray, reference: np.ndarray) -> Overlay:
        """The overlay of best rotation of ``(I, D)`` on ``(I, D')``, row by row the same items.

        Raises:
            UserError: tables of different length, or a table of equal rows.
        """
        if len(table) != len(reference):
            raise UserError(f"overlay of {len(table)} rows on {len(reference)}; expected the same items in both")
        centre, target = table.mean(axis=0), reference.mean(axis=0)
        x, y = table - centre, reference - target
        if not np.abs(x).max() > 1e-12:
            raise UserError("overlay of a table whose rows are all equal; expected items that differ")
        left, _, right = np.linalg.svd(x.T @ y, full_matrices=False)
        return cls(centre, left @ right, float(np.linalg.norm(y) / np.linalg.norm(x)), target)

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """Rows ``(N, D)`` in the reference space, ``(N, D')``."""
        return self.scale * (table - self.centre) @ self.rotation + self.target


def overlay_r2(table: np.ndarray, reference: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Share of a reference's variance that an overlay explains on items it was not fitted on: ``(I,)`` pseudo-values.

    1: the same shape; 0 or below: unrelated, and where one lies on the other means nothing. Here the scale is the one
    of least squares, fitted with the rotation. Shapes: ``(I, D)``, ``(I, D')``, ``folds`` ``(I,)`` fold numbers.
    """
    error = np.empty(len(table))
    for fold in np.unique(folds):
        rest = folds == fold
        overlay = Overlay.fit(table[~rest], reference[~rest])
        placed, held_out = (overlay(table[some]) - overlay.target for some in (~rest, rest))
        slope = (placed * (reference[~rest] - overlay.target)).sum() / (placed**2).sum()
        error[rest] = ((reference[rest] - overlay.target - slope * held_out) ** 2).sum(axis=1)
    deviation = ((reference - reference.mean(axis=0)) ** 2).sum(axis=1)
    ratio = error.mean() / deviation.mean()
    return 1 - ratio - (error - ratio * deviation) / deviation.mean()
