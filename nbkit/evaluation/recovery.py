"""Denoising measured directly, where the noise is known: planted in the built-in shop or injected.

``P`` training pairs, ``I`` items, ``D`` width, ``n`` units, ``S`` seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError
from nbkit.evaluation.denoising import (
    linear_cka,
    neighbour_purity,
    noise_auc,
    noise_average_precision,
    probe_r2,
    profile_cosine,
)
from nbkit.evaluation.stats import mean_interval

Values = dict[tuple[str, str], dict[str, np.ndarray]]  # (measure, modality) -> table -> one value a unit (n,) or (S, n)


def recovery_table(
    data: MultimodalDataset,
    denoised: Mapping[str, Mapping[str, np.ndarray]],
    generator: np.random.Generator,
    *,
    credibility: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    k: int = 10,
    folds: int = 5,
    level: float = 0.95,
    resamples: int = 2_000,
) -> pd.DataFrame:
    """Everything that the truth of a data set says about a denoiser, one row a number.

    Arguments and errors: as :func:`recovery_values`. Columns: as :func:`summary`.
    """
    values = recovery_values(data, denoised, generator, credibility=credibility, ids=ids, k=k, folds=folds)
    return summary(values, generator, level=level, resamples=resamples)


def recovery_values(
    data: MultimodalDataset,
    denoised: Mapping[str, Mapping[str, np.ndarray]],
    generator: np.random.Generator,
    *,
    credibility: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    k: int = 10,
    folds: int = 5,
) -> Values:
    """What :func:`recovery_table` is a summary of: values of users or items, whose mean is the measure.

    Tables of a modality are ``raw`` (the data set's features), then those of ``denoised``, by name and modality.
    Measures, where the truth for them is known: ``relevant`` and ``nuisance`` R² and purity, ``CKA`` with the raw, the
    ids and the clean features, and of ``credibility`` (beside the cosine of each modality) ``noise AUC`` and
    ``noise AP``. Units are the items, or the users who trained, by row number; the generator deals items to folds.

    Shapes: ``denoised[table][modality]`` ``(I, D)``; ``credibility`` ``(P,)``, low for noise, in the order of
    ``data.train.pairs()``; ``ids`` ``(I, D)``.

    Raises:
        UserError: a data set without truth, an unknown modality, a table that is not one finite row an item, a
            credibility that is not one number a training pair, k or folds that the items are too few for.
    """
    truth = data.truth
    if truth is None or not (
        len(truth.noisy_pairs) or truth.clean_features or truth.relevant is not None or truth.nuisance is not None
    ):
        raise UserError(f"data set {data.name!r} has no truth; expected planted or injected noise")
    for name, largest in (("k", data.num_items - 1), ("folds", data.num_items)):
        value, least = {"k": (k, 1), "folds": (folds, 2)}[name]
        if not least <= value <= largest:
            raise UserError(f"recovery: {name} = {value}; expected {least} … {largest} for {data.num_items} items")
    for name, tables in denoised.items():
        for modality, table in tables.items():
            if modality not in data.features:
                raise UserError(f"recovery: {name!r} has modality {modality!r}; expected {', '.join(data.modalities)}")
            _check_table(f"{name} {modality}", table, data.num_items)
    if ids is not None:
        _check_table("ids", ids, data.num_items)

    measured: Values = {}
    fold = generator.permutation(data.num_items) % folds
    for modality in data.modalities:
        tables = {"raw": data.features[modality]}
        tables |= {name: of[modality] for name, of in denoised.items() if modality in of}
        for measure, values in _of_features(truth, modality, tables, ids, k, fold).items():
            measured[measure, modality] = values
    if len(truth.noisy_pairs):
        for measure, values in _of_pairs(data, truth, credibility).items():
            measured[measure, "all"] = values
    return measured


def summary(
    values: Values, generator: np.random.Generator, *, level: float = 0.95, resamples: int = 2_000
) -> pd.DataFrame:
    """Means with bootstrap intervals over units, and over seeds where values are ``(S, n)``.

    Columns: measure, modality, table, value, low, high, n (units). Rows "b - a" are the paired difference of a later
    table from an earlier one.
    """
    rows = []
    for (measure, modality), of in values.items():
        paired = {f"{later} - {earlier}": of[later] - of[earlier] for earlier, later in combinations(of, 2)}
        for table, value in (of | paired).items():
            interval = mean_interval(value, generator, level=level, resamples=resamples)
            rows.append(
                {"measure": measure, "modality": modality, "table": table, "value": interval.mean}
                | {"low": interval.low, "high": interval.high, "n": interval.n}
            )
    return pd.DataFrame(rows, columns=["measure", "modality", "table", "value", "low", "high", "n"])


def _of_features(
    truth: Truth, modality: str, tables: dict[str, np.ndarray], ids: np.ndarray | None, k: int, folds: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    measured = {}
    for kind, labels in (("relevant", truth.relevant), ("nuisance", truth.nuisance)):
        if labels is not None:
            measured[f"{kind} R²"] = {name: probe_r2(table, labels, folds) for name, table in tables.items()}
            measured[f"{kind} purity@{k}"] = {name: neighbour_purity(t, labels, k) for name, t in tables.items()}
    if len(tables) > 1:
        measured["CKA with raw"] = {n: linear_cka(t, tables["raw"]) for n, t in tables.items() if n != "raw"}
    for what, other in (("ids", ids), ("clean", truth.clean_features.get(modality))):
        if other is not None:
            measured[f"CKA with {what}"] = {name: linear_cka(table, other) for name, table in tables.items()}
    return measured


def _of_pairs(
    data: MultimodalDataset, truth: Truth, credibility: np.ndarray | None
) -> dict[str, dict[str, np.ndarray]]:
    pairs = data.train.pairs()
    scores = {f"cosine {m}": profile_cosine(pairs, data.features[m]) for m in data.modalities}
    if credibility is not None:
        if credibility.shape != (len(pairs),):
            raise UserError(f"recovery: credibility has shape {credibility.shape}; expected ({len(pairs)},)")
        scores["credibility"] = credibility
    noisy = np.isin(pairs @ [data.num_items, 1], truth.noisy_pairs @ [data.num_items, 1])
    return {
        name: {table: measure(score, noisy, pairs[:, 0]) for table, score in scores.items()}
        for name, measure in (("noise AUC", noise_auc), ("noise AP", noise_average_precision))
    }


def _check_table(name: str, table: np.ndarray, num_items: int) -> None:
    if table.ndim != 2 or len(table) != num_items:
        raise UserError(f"recovery: table {name!r} has shape {table.shape}; expected ({num_items}, D): one row an item")
    if not np.isfinite(table).all():
        row = int(np.argmin(np.isfinite(table).all(axis=1)))
        raise UserError(f"recovery: table {name!r} is not finite in row {row}; expected finite numbers")
