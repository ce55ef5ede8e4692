"""Models taken apart: which runs that takes, and their scores. A *variant* is a model without some of its parts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nbkit.errors import UserError, nearest
from nbkit.evaluation.final import METRICS
from nbkit.models.base import model_class
from nbkit.runs import RunFolder
from nbkit.studies.gathering import Scored, scores_by_seed
from nbkit.studies.published import ablations
from nbkit.studies.study import Names, Settings, Study, ablation

CLEAN = "clean"


@dataclass(frozen=True)
class Fast:
    """What a fast look takes of a model that would fill a minute alone: some parts, a small model, no noise."""

    parts: tuple[str, ...]
    settings: Settings = field(default_factory=dict)
    training: Settings = field(default_factory=dict)
    noise: bool = True


FAST = {
    "mgcn": Fast(("multi_view",), noise=False),
    "jbm_diff": Fast(("diffusion", "condition", "credibility")),
    "m3bsr": Fast(
        ("modality", "behavior"),
        {"dim": 16, "length": 5},
        {"epochs": 4, "lr": 0.01, "batch_size": 256},
        noise=False,
    ),
}


class Variant(NamedTuple):
    """A model under a noise (in words) without some of its parts, in the order in which it declares them."""

    model: str
    noise: str = CLEAN
    without: tuple[str, ...] = ()

    @property
    def whole(self) -> Variant:
        return self._replace(without=())

    @property
    def kept(self) -> str:
        """The parts it has, as :func:`nbkit.studies.published.ablations` names them."""
        return "+".join(part for part in model_class(self.model).parts if part not in self.without) or "none"


def taken_apart(
    models: Sequence[str],
    data: Names,
    *,
    preset: str = "fast",
    noise: Names = (),
    model_preset: str | None = None,
    settings: Settings | None = None,
    training: Settings | None = None,
    name: str = "ablation",
    **rest: Any,
) -> Study:
    """Each model whole and without each of its parts on clean data and, where noise is given, under it.

    Of a model whose combinations of parts a paper prints, every combination is there on clean data. The preset
    ``paper`` takes all parts of all models as they are, ``fast`` cuts down those in ``FAST``. ``model_preset`` is for
    the models that have it, ``settings`` are by model, ``training`` and the rest as :func:`nbkit.studies.grid`'s.

    Raises:
        UserError: as :func:`nbkit.studies.ablation`; an unknown preset.
    """
    if preset not in ("fast", "paper"):
        raise UserError(f"preset = {preset!r}; {nearest(preset, ('fast', 'paper'))}")
    if not models:
        raise UserError("no model to take apart; expected at least one that declares parts")
    printed = set(ablations()["model"])
    studies = []
    for model in models:
        less = FAST.get(model) if preset == "fast" else None
        own = {
            "parts": less.parts if less else None,
            "preset": model_preset if model_preset in model_class(model).presets else None,
            "settings": {**(less.settings if less else {}), **(settings or {}).get(model, {})},
            "training": {**(training or {}), **(less.training if less else {})},
            "name": name,
            **rest,
        }
        studies.append(ablation(model, data, combinations=model in printed, **own))
        if noise and (less is None or less.noise):
            studies.append(ablation(model, data, noise=noise, **own))
    return reduce(Study.__add__, studies)


def variants(runs: Iterable[RunFolder]) -> list[tuple[Variant, int, RunFolder]]:
    """What each run is, with its seed. A part that is out in all runs of a model is none of theirs.

    A part within another that is out, too (reversal within credibility), is not named beside it.
    """
    settings = [(run, run.read_json("settings.json")) for run in runs]
    always: dict[str, set[str]] = {}
    for _, each in settings:
        out = _out(each["model"], each["model_settings"])
        always[each["model"]] = always.get(each["model"], out) & out
    found = []
    for run, each in settings:
        model, noise = each["model"], " + ".join(f"{n['operator']}:{n['rate']:g}" for n in each["noise"])
        without = left_out(model, each["model_settings"], but=always[model])
        found.append((Variant(model, noise or CLEAN, without), int(each["seed"]), run))
    return found


def left_out(model: str, settings: Mapping[str, Any], *, but: Collection[str] = ()) -> tuple[str, ...]:
    """The parts that these settings take out of a model, ``but`` those; of a part within another the other alone."""
    parts = model_class(model).parts
    out = _out(model, settings).difference(but)
    return tuple(p for p in parts if p in out and not any(parts[p].items() < parts[q].items() for q in out))


def _out(model: str, settings: Mapping[str, Any]) -> set[str]:
    switches = model_class(model).parts.items()
    return {part for part, off in switches if off.items() <= settings.items()}


def variant_scores(
    runs: Iterable[RunFolder], metric: str = "recall@20", *, split: str = "test", masking: str = "train"
) -> dict[Variant, np.ndarray]:
    """Per-user scores ``(S, U)`` of each variant, seeds in order.

    Raises:
        UserError: a run that is not finished or has no such scores, a variant twice, without its whole model or with
            other seeds, models of one condition on different data, or other held-out users than elsewhere.
    """
    given = (
        Scored(variant, variant.noise, seed, f"{described(variant)}, seed {seed}", run)
        for variant, seed, run in variants(runs)
    )
    found = scores_by_seed(given, metric, split=split, masking=masking)
    for variant, by_seed in found.items():
        wanted = sorted(found.get(variant.whole, ()))
        if sorted(by_seed) != wanted:
            has = f"{described(variant)} has seeds {sorted(by_seed)}"
            raise UserError(f"{has}; expected those of the whole model: {wanted or 'it was not run'}")
    return {variant: np.stack([by_seed[seed] for seed in sorted(by_seed)]) for variant, by_seed in found.items()}


def described(variant: Variant) -> str:
    """A variant in words.

    >>> described(Variant("diffcl", "drop_edges:0.2", ("diff", "h")))
    'diffcl without diff, h under drop_edges:0.2'
    """
    without = f" without {', '.join(variant.without)}" if variant.without else ""
    return f"{variant.model}{without}" + (f" under {variant.noise}" if variant.noise != CLEAN else "")


def part_costs(runs: Iterable[RunFolder]) -> pd.DataFrame:
    """What parts cost on clean data: model, without, seconds an epoch, epochs, and ``saved``, the share of the whole
    model's epoch that leaving them out saves (below 0: it takes longer)."""
    rows = [
        {"model": variant.model, "without": "+".join(variant.without)} | run.read_json(METRICS)["fit"]
        for variant, _, run in variants(runs)
        if variant.noise == CLEAN
    ]
    table = pd.DataFrame(rows)
    table["epoch_seconds"] = table["train_seconds"] / table["epochs"].clip(lower=1)
    means = table.groupby(["model", "without"], sort=False)[["epoch_seconds", "epochs"]].mean().reset_index()
    whole = means[means["without"] == ""].set_index("model")["epoch_seconds"]
    return means.assign(saved=1 - means["epoch_seconds"] / means["model"].map(whole))
