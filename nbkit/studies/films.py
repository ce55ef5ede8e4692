"""Denoising as a film: where every item is at each step of a trained model's reverse process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from nbkit import repro
from nbkit.data.dataset import MultimodalDataset, TrainingView
from nbkit.data.sequences import NOW
from nbkit.diffusion.process import GaussianDiffusion, Trajectory
from nbkit.errors import UserError, nearest
from nbkit.evaluation.denoising import unit_rows
from nbkit.evaluation.groups import popularity_groups
from nbkit.models.base import Recommender

PEOPLE = 200  # of a sequential model: whose histories are denoised, in the order of the ids


@dataclass(frozen=True, eq=False)
class Film:
    """K + 1 frames of P points, from noise at the first to x_0 at the last.

    Shapes: ``steps`` K + 1 numbers, falling to 0; ``states`` ``(K + 1, P, D)``, x_t; ``predicted`` ``(K + 1, P, D)``,
    x̂_0 at each step, and x_0 at the last; ``clean`` ``(P, D)``, what was noised; ``items`` ``(P,)``, of which item a
    point is; ``snr`` ``(K + 1,)``, infinite at the last.
    """

    model: str
    modality: str
    steps: tuple[int, ...]
    states: np.ndarray
    predicted: np.ndarray
    clean: np.ndarray
    items: np.ndarray
    snr: np.ndarray

    @property
    def frames(self) -> int:
        """K + 1."""
        return len(self.steps)


class _Shot(NamedTuple):
    """What a model tells: its trajectory, its process, the rows that were noised, and of which item each row is."""

    way: Trajectory
    process: GaussianDiffusion
    clean: Tensor
    items: Tensor


def film(model: Recommender, data: TrainingView, modality: str = "", *, seed: int = 0) -> Film:
    """The reverse process of a model that diffuses features, all steps, of ``modality`` (empty: the data's first).

    JBM-Diff and DiffCL lead all items back, M3BSR the events of ``PEOPLE`` users' histories, each a point.

    Raises:
        UserError: a model that diffuses no features, or a modality that it does not diffuse.
    """
    if model.name not in _SHOTS:
        raise UserError(f"model {model.name} diffuses no features of items; {nearest(model.name, _SHOTS)}")
    name = modality or data.modalities[0]
    with torch.inference_mode():
        shot = _SHOTS[model.name](model, data, name, repro.generator(seed, "film"))
        states, predicted = shot.way.states.float(), shot.way.predicted.float()
        predicted = torch.cat([predicted, states[-1:]])
    return Film(
        model.name,
        name,
        shot.way.steps,
        states=states.cpu().numpy(),
        predicted=predicted.cpu().numpy(),
        clean=shot.clean.float().cpu().numpy(),
        items=shot.items.cpu().numpy(),
        snr=shot.process.snr.cpu().numpy()[list(shot.way.steps)],
    )


def _jbm_diff(model: Any, data: TrainingView, modality: str, generator: torch.Generator) -> _Shot:
    way = model.trajectory(modality, generator)
    view = model.modality[model.names.index(modality)]
    return _Shot(way, view.process, view.projected(), torch.arange(data.num_items))


def _diffcl(model: Any, data: TrainingView, modality: str, generator: torch.Generator) -> _Shot:
    way = model.trajectory(modality, generator)
    items = slice(data.num_users, None)  # users come before items, and are no points here
    way = Trajectory(way.steps, way.states[:, items], way.predicted[:, items])
    return _Shot(way, model.diffusion, model.encoded()[1][modality][items], torch.arange(data.num_items))


def _m3bsr(model: Any, data: TrainingView, modality: str, generator: torch.Generator) -> _Shot:
    people = torch.arange(min(PEOPLE, data.num_users))
    history = model.histories(data, data.train).before(people, torch.full_like(people, NOW))
    way = model.trajectory(modality, history, generator)
    stream = history["shallow"]
    clean = model.embedded(*model.lookup(history), None)["shallow", modality]
    way = Trajectory(way.steps, way.states[:, stream.mask], way.predicted[:, stream.mask])
    return _Shot(way, model.of_modality[modality].process, clean[stream.mask], stream.items[stream.mask])


_SHOTS: Mapping[str, Callable[[Any, TrainingView, str, torch.Generator], _Shot]] = {
    "jbm_diff": _jbm_diff,
    "diffcl": _diffcl,
    "m3bsr": _m3bsr,
}


def item_labels(dataset: MultimodalDataset) -> dict[str, np.ndarray]:
    """What items may be coloured and judged by, ``(I,)`` each: category, planted attributes, noise, popularity."""
    found: dict[str, np.ndarray] = {}
    table = dataset.item_table
    if table is not None and "category" in table:
        found["category"] = table["category"].astype(str).to_numpy()
    if dataset.truth is not None:
        for kind, planted in (("matters", dataset.truth.relevant), ("beside the point", dataset.truth.nuisance)):
            if planted is not None:
                found |= {f"{name} ({kind})": planted[name].astype(str).to_numpy() for name in planted.columns}
        for modality, touched in dataset.truth.noisy_rows.items():
            found[f"noise in {modality}"] = np.where(touched, "touched", "untouched")
    counts = np.bincount(dataset.train.pairs()[:, 1], minlength=dataset.num_items)
    return {**found, "popularity": np.asarray(popularity_groups(counts)).astype(str)}


def purity(
    film: Film, labels: Mapping[str, np.ndarray], *, k: int = 10, most: int = 300, seed: int = 0
) -> pd.DataFrame:
    """Share of a point's ``k`` nearest by cosine that have its label, at each frame, over ``most`` points drawn once.

    Points of the same item do not count as neighbours. Columns: frame, t, table (``x_t`` or ``x̂_0``), label, purity,
    chance (what unrelated neighbours would have).

    Raises:
        UserError: k that the points are too few for.
    """
    points = len(film.items)
    if not 1 <= k < points:
        raise UserError(f"k = {k}; expected 1 … {points - 1}, for {points} points")
    asked = np.sort(repro.numpy_generator(seed, "purity").permutation(points)[:most])
    own = film.items[asked][:, None] == film.items[None, :]
    values = {name: pd.factorize(of[film.items])[0] for name, of in labels.items()}
    same = {name: code[asked][:, None] == code[None, :] for name, code in values.items()}
    chance = {name: float(alike[~own].mean()) for name, alike in same.items()}
    rows = []
    for table, frames in (("x_t", film.states), ("x̂_0", film.predicted)):
        for frame, x in enumerate(frames):
            unit = torch.from_numpy(unit_rows(x.astype(np.float32)))
            close = (unit[asked] @ unit.T).masked_fill_(torch.from_numpy(own), -2.0)
            near = close.topk(k, dim=1).indices.numpy()
            for name, alike in same.items():
                share = float(np.take_along_axis(alike, near, axis=1).mean())
                rows.append((frame, film.steps[frame], table, name, share, chance[name]))
    return pd.DataFrame(rows, columns=["frame", "t", "table", "label", "purity", "chance"])
