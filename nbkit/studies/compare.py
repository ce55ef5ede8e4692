"""Finished runs side by side: per-user scores of models over seeds, their means with intervals, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from nbkit.errors import UserError, nearest
from nbkit.evaluation.final import PER_USER, PLACES
from nbkit.evaluation.groups import Labels, recall_by_item_group
from nbkit.evaluation.stats import mean_interval
from nbkit.runs import RunFolder
from nbkit.studies import published
from nbkit.studies.store import RunStore


def scores(
    runs: Sequence[RunFolder], metric: str = "recall@20", *, split: str = "test", masking: str = "train"
) -> pd.DataFrame:
    """Per-user scores of runs as one long table: model, seed, user, value, and the run.

    Raises:
        UserError: no run, runs on different data, an unknown metric, or a test split that was not opened yet.
    """
    if not runs:
        raise UserError("no runs to compare; expected at least one finished run")
    names = pd.DataFrame([_identity(run) for run in runs])
    if names["fingerprint"].nunique() > 1:
        raise UserError(f"runs on different data cannot be compared user by user: {sorted(set(names['data']))}")
    store = RunStore(runs[0].path.parent)
    table = store.per_user([run.id for run in runs], split=split, masking=masking)
    metrics = [name for name in table.columns if "@" in name]
    if metric not in metrics:
        raise UserError(f"metric = {metric!r}; {nearest(metric, metrics)}")
    silent = set(names["run"]) - set(table["run"])
    if silent:
        raise UserError(f"run {min(silent)} has no {split} scores; open its test split first (nbkit evaluate)")
    long = names[["run", "model", "seed"]].merge(table[["run", "user", metric]], on="run")
    return long.rename(columns={metric: "value"})[["model", "seed", "user", "value", "run"]]


def held_out_scores(run: RunFolder, metric: str, split: str, masking: str) -> tuple[np.ndarray, np.ndarray]:
    """Users with their numbers of held-out pairs ``(U, 2)``, and their scores ``(U,)``, of one finished run.

    Raises:
        UserError: a run that is not finished, an unknown metric, or a test split that was not opened yet.
    """
    if run.status != "done":
        raise UserError(f"run {run.id} is {run.status}; expected a finished run")
    table = run.read_table(PER_USER)
    metrics = [name for name in table.columns if "@" in name]
    if metric not in metrics:
        raise UserError(f"metric = {metric!r}; {nearest(metric, metrics)}")
    table = table[(table["split"] == split) & (table["masking"] == masking)].sort_values("user")
    if table.empty:
        raise UserError(f"run {run.id} has no scores with split {split!r} and masking {masking!r}; open its test split")
    return table[["user", "relevant"]].to_numpy(), table[metric].to_numpy(np.float64)


def _identity(run: RunFolder) -> dict[str, object]:
    settings, data = run.read_json("settings.json"), run.read_json("environment.json")["dataset"]
    return {
        "run": run.id,
        "model": settings["model"],
        "seed": settings["seed"],
        "data": data["name"],
        "fingerprint": data["data"],
    }


def means(long: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Mean of each model with its bootstrap interval over users, seeds averaged first: model, mean, low, high, seeds.

    ``seed_std`` is the standard deviation of the seeds' means (nan for one seed).
    """
    rows = []
    for model, part in long.groupby("model", sort=False):
        interval = mean_interval(part.groupby("user")["value"].mean().to_numpy(), generator)
        by_seed = part.groupby("seed")["value"].mean()
        spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else float("nan")
        rows.append({"model": model, **vars(interval), "seeds": len(by_seed), "seed_std": spread})
    return pd.DataFrame(rows).rename(columns={"n": "users"})


def quality(
    tables: Mapping[str, pd.DataFrame],
    metrics: Sequence[str],
    generator: np.random.Generator,
    *,
    bound: str | None = None,
) -> pd.DataFrame:
    """Means with intervals of several metrics: columns model, metric, mean, low, high; one per-user table a model.

    The model named ``bound``, if it is among them, becomes a column ``bound`` instead of rows of its own.
    """
    rows = [
        {"model": model, "metric": metric, **vars(mean_interval(table[metric].to_numpy(), generator))}
        for model, table in tables.items()
        for metric in metrics
        if model != bound
    ]
    frame = pd.DataFrame(rows)
    if bound is not None and bound in tables:
        frame["bound"] = frame["metric"].map({metric: tables[bound][metric].mean() for metric in metrics})
    return frame


def main_table(runs: Sequence[RunFolder], metric: str, generator: np.random.Generator) -> pd.DataFrame:
    """The table of a paper, best first: model, paper, mean, low, high, train+valid, seeds, seed_std, source.

    ``paper`` is what is printed elsewhere for this data (nan where nothing is), ``mean`` and its interval ours with
    training items masked, ``train+valid`` ours with validation items masked too.

    Raises:
        UserError: as :func:`scores`.
    """
    ours = means(scores(runs, metric), generator)
    both = scores(runs, metric, masking="train+valid").groupby("model")["value"].mean()
    table = ours.assign(**{"train+valid": ours["model"].map(both)})
    table = published.beside(table, str(_identity(runs[0])["data"]), metric)
    columns = ["model", "paper", "mean", "low", "high", "train+valid", "seeds", "seed_std", "source"]
    return table.sort_values("mean", ascending=False)[columns].reset_index(drop=True)


def item_groups(
    runs: Sequence[RunFolder],
    labels: Labels,
    k: int,
    generator: np.random.Generator,
    *,
    split: str = "test",
    masking: str = "train",
) -> pd.DataFrame:
    """Recall@K of each model in each group of items, seeds averaged: model, group, mean, low, high, n (users).

    ``labels`` are the items' groups (:func:`nbkit.evaluation.groups.popularity_groups`).

    Raises:
        UserError: as :func:`scores`.
    """
    scores(runs, f"recall@{k}", split=split, masking=masking)  # refuses what cannot be compared
    parts: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        if not (run / PLACES).exists():
            raise UserError(f"run {run.id} was made before ranks of pairs were kept; expected a run with {PLACES}")
        places, identity = run.read_table(PLACES), _identity(run)
        wanted = places[(places["split"] == split) & (places["masking"] == masking)]
        parts.setdefault(str(identity["model"]), []).append(wanted.assign(seed=str(identity["seed"])))
    rows = [
        recall_by_item_group(pd.concat(tables), labels, k, generator).assign(model=model)
        for model, tables in parts.items()
    ]
    table = pd.concat(rows, ignore_index=True).rename(columns={"recall": "mean", "users": "n"})
    return table[["model", "group", "mean", "low", "high", "n", "contribution"]]


def costs(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """Mean cost of each model over its runs: seconds of training and of an epoch, epochs, parameters, peak MB."""
    rows = []
    for run in runs:
        fitted = run.read_json("metrics.json")["fit"]
        seconds = fitted["train_seconds"]
        rows.append(
            {
                "model": _identity(run)["model"],
                "seconds": seconds,
                "epoch_seconds": seconds / max(1, fitted["epochs"]),
                "epochs": fitted["epochs"],
                "parameters": fitted["parameters"],
                "peak_mb": float("nan") if fitted.get("peak_mb") is None else fitted["peak_mb"],
            }
        )
    return pd.DataFrame(rows).groupby("model", sort=False).mean().reset_index()
