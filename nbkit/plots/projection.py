"""One fixed map: a picture of a space that is fitted once, on clean data, and never moves again.

A map that is fitted anew for each table, noise level or diffusion time moves everything, and nobody can tell the map's
motion from the items'. Here the map is fitted on one reference table. Whatever comes later is placed by it, row by row.

Rows of another space cannot: ids and features have no axis in common even where they have the same width. An
:class:`~nbkit.evaluation.overlay.Overlay`, fitted on clean data and then kept, turns each space as a whole onto the
reference. Within one space (before and after denoising, clean and noisy) positions compare; between spaces only as
far as :func:`~nbkit.evaluation.overlay.overlay_r2` says that the shapes agree.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from nbkit.errors import UserError, nearest
from nbkit.evaluation.denoising import unit_rows
from nbkit.evaluation.overlay import Overlay

Method = Literal["pca", "umap"]
SAME_SPACE = {"denoised": "projected"}  # a denoiser predicts the features that it was given noisy
_ANCHORS = 8  # fitted rows by which UMAP's map places a new one


@dataclass(frozen=True, eq=False)
class FixedMap:
    """Rows ``(N, D)`` -> places ``(N, 2)``; where a row lies depends on nothing but the row.

    PCA places by its two axes (``centre`` ``(D,)``, ``axes`` ``(D, 2)``), so distances on the map are never longer than
    in the space; ``held`` is the share of the variance that they show. UMAP knows places of the rows it was fitted on
    alone (``anchors`` ``(I, D)``, ``places`` ``(I, 2)``), and its own ``transform`` moves all new rows by random steps.
    Here a new row comes to the mean of its eight nearest anchors' places, weighted by inverse squared distance, and a
    row that equals an anchor to that anchor's place. Source: Shepard, ACM National Conference 1968.
    """

    method: Method
    centre: np.ndarray
    axes: np.ndarray | None = None
    anchors: np.ndarray | None = None
    places: np.ndarray | None = None
    held: float = float("nan")

    @classmethod
    def fit(cls, table: np.ndarray, method: Method = "pca", seed: int = 0) -> FixedMap:
        """A map of a table ``(I, D)``, the same for the same seed; only UMAP draws.

        Raises:
            UserError: an unknown method, fewer than three rows or two columns, numbers that are not finite, equal rows.
        """
        if method not in ("pca", "umap"):
            raise UserError(f"map: unknown method {method!r}; {nearest(method, ('pca', 'umap'))}")
        table = np.asarray(table, dtype=np.float64)
        if table.ndim != 2 or len(table) < 3 or table.shape[1] < 2 or not np.isfinite(table).all():
            raise UserError(f"map of a table of shape {table.shape}; expected 3 × 2 finite numbers at least")
        centre = table.mean(axis=0)
        if not np.abs(table - centre).max() > 1e-12:
            raise UserError("map of a table whose rows are all equal; expected items that differ")
        if method == "umap":
            return cls(method, centre, anchors=table, places=_umap(table, seed))
        _, singular, right = np.linalg.svd(table - centre, full_matrices=False)
        axes = right[:2].T  # (D, 2)
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])  # a sign is chance: the largest is positive
        return cls(method, centre, axes=axes, held=float((singular[:2] ** 2).sum() / (singular**2).sum()))

    def place(self, table: np.ndarray) -> np.ndarray:
        """Where rows ``(N, D)`` lie: ``(N, 2)``. The map stays as it is.

        Raises:
            UserError: rows of another width than the map was fitted on.
        """
        table = np.asarray(table, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(self.centre):
            raise UserError(f"map: table of shape {table.shape}; expected (N, {len(self.centre)}), the map's own space")
        if self.axes is not None:
            # einsum sums each row in the same order, however many rows there are; a matrix product need not
            return np.einsum("nd,dk->nk", table - self.centre, self.axes)
        assert self.anchors is not None
        assert self.places is not None
        return np.array([_between(row, self.anchors, self.places) for row in table]).reshape(-1, 2)


def _between(row: np.ndarray, anchors: np.ndarray, places: np.ndarray) -> np.ndarray:
    close = anchors @ row - (anchors**2).sum(axis=1) / 2  # one product a row: other rows cannot change its rounding
    near = np.argsort(-close, kind="stable")[:_ANCHORS]
    distance = ((anchors[near] - row) ** 2).sum(axis=1)
    if not distance.min():
        return np.asarray(places[near[distance.argmin()]])
    weight = distance.min() / distance
    return np.asarray((weight / weight.sum()) @ places[near])


def _umap(table: np.ndarray, seed: int) -> np.ndarray:
    with warnings.catch_warnings():  # it says at once which of its options cannot be had here
        warnings.simplefilter("ignore", ImportWarning)
        from umap import UMAP

    neighbours = min(15, len(table) - 1)
    start = "spectral" if len(table) > 16 else "random"  # its spectral start needs more rows than dimensions
    model = UMAP(n_neighbors=neighbours, init=start, random_state=seed, n_jobs=1)  # one thread: seeded runs are equal
    return np.asarray(model.fit_transform(table.astype(np.float32)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Atlas:
    """One fixed map for tables of several spaces by name, rows counted by their direction: neighbours are by cosine.

    ``spaces`` says in which space each table lies, ``overlays`` bring each space to the reference's, unless it is that.
    Map and overlays are fitted on the tables given to :meth:`fit`, clean data, and then stay.
    """

    reference: str
    map: FixedMap
    overlays: Mapping[str, Overlay]
    spaces: Mapping[str, str]

    @classmethod
    def fit(
        cls,
        tables: Mapping[str, np.ndarray],
        reference: str = "raw",
        *,
        method: Method = "pca",
        seed: int = 0,
        same: Mapping[str, str] = SAME_SPACE,
    ) -> Atlas:
        """The atlas of clean tables ``(I, D)``, by name; D may differ, the items may not.

        ``same`` names tables whose axes are those of another one, which then share one overlay.

        Raises:
            UserError: no table of the reference's name, tables of different length, or one that cannot be mapped.
        """
        if reference not in tables:
            raise UserError(f"map: no table {reference!r}; {nearest(reference, tables)}")
        rows = {name: _directions(table) for name, table in tables.items()}
        spaces = {name: same[name] if same.get(name) in tables else name for name in tables}
        fixed = FixedMap.fit(rows[reference], method, seed)
        others = [space for space in dict.fromkeys(spaces.values()) if space != spaces[reference]]
        return cls(reference, fixed, {name: Overlay.fit(rows[name], rows[reference]) for name in others}, spaces)

    def place(self, tables: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Places of all rows of tables by name: columns panel (the name), item (row number), x, y.

        Raises:
            UserError: a name that the atlas was not fitted with, or a table of another width.
        """
        frames = []
        for name, table in tables.items():
            xy = self.map.place(self.in_reference(name, table))
            frames.append(pd.DataFrame({"panel": name, "item": np.arange(len(xy)), "x": xy[:, 0], "y": xy[:, 1]}))
        return pd.concat(frames, ignore_index=True)

    def in_reference(self, name: str, table: np.ndarray) -> np.ndarray:
        """The directions of a table's rows, in the reference space."""
        if name not in self.spaces:
            raise UserError(f"map: no table {name!r}; {nearest(name, self.spaces)}")
        space, rows = self.spaces[name], _directions(table)
        if space not in self.overlays:
            return rows
        overlay = self.overlays[space]
        if rows.shape[1] != len(overlay.centre):
            raise UserError(f"map: {name!r} has {rows.shape[1]} columns; expected {len(overlay.centre)}")
        return overlay(rows)


def _directions(table: np.ndarray) -> np.ndarray:
    return unit_rows(np.asarray(table, dtype=np.float64))
