"""Standings: finished runs on the same data as one table, who is certainly above whom, and whether seeds agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from nbkit import config
from nbkit.evaluation import stats
from nbkit.models.base import model_class
from nbkit.runs import RunFolder
from nbkit.studies.compare import means, scores
from nbkit.studies.experiment import was_cut_short
from nbkit.training.loop import TrainSettings

RISING = "↑"  # behind the epochs of a run that patience ended while its validation was rising again


@dataclass(frozen=True)
class Entry:
    """A model with its settings, over seeds: what one row of the standings stands for.

    ``settings`` and ``training`` name what departs from the defaults.
    """

    model: str
    settings: str
    training: str
    runs: dict[int, RunFolder] = field(default_factory=dict, compare=False)


def entries(runs: Sequence[RunFolder]) -> dict[str, Entry]:
    """Runs that differ in their seed only, together, under a name: the model's, with settings where it has several.

    Raises:
        UserError: a run of a model that is not known.
    """
    found: dict[Entry, Entry] = {}
    for run in runs:
        said = run.read_json("settings.json")
        usual = config.check(model_class(said["model"]), {}, where="defaults"), vars(TrainSettings())
        texts = [
            config.assignments({n: v for n, v in given.items() if n in defaults and v != defaults[n]})
            for given, defaults in zip((said["model_settings"], said["training"]), usual, strict=True)
        ]
        entry = Entry(said["model"], texts[0], texts[1])
        found.setdefault(entry, entry).runs[said["seed"]] = run
    several = pd.Series([entry.model for entry in found]).value_counts()
    return {
        entry.model
        if several[entry.model] == 1
        else f"{entry.model} ({f'{entry.settings} {entry.training}'.strip() or 'defaults'})": entry
        for entry in found
    }


def named_scores(named: dict[str, Entry], metric: str, *, split: str, masking: str) -> pd.DataFrame:
    """Per-user scores of all entries, by their names: model, seed, user, value.

    Raises:
        UserError: as :func:`nbkit.studies.compare.scores`.
    """
    names = {run.id: name for name, entry in named.items() for run in entry.runs.values()}
    runs = [run for entry in named.values() for run in entry.runs.values()]
    long = scores(runs, metric, split=split, masking=masking)
    return long.assign(model=long["run"].map(names)).drop(columns="run")


def pairs(long: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Every two entries compared per user over the seeds that both have, Holm-corrected over all of these pairs.

    Columns as :func:`nbkit.evaluation.stats.compare_all`'s, and ``ahead``: in how many of its ``seeds`` the first one's
    mean is above the second's. Two entries without a common seed are no pair.
    """
    by_name = dict(list(long.groupby("model", sort=False)))
    rows = []
    for one, other in itertools.combinations(by_name, 2):
        common = sorted(set(by_name[one]["seed"]) & set(by_name[other]["seed"]))
        if common:
            both = pd.concat([part[part["seed"].isin(common)] for part in (by_name[one], by_name[other])])
            by_seed = both.groupby(["model", "seed"])["value"].mean().unstack()
            first, second = by_seed.loc[[one, other]].to_numpy()
            ahead = int((first > second).sum())
            rows.append(stats.compare_all(both, None, generator).assign(ahead=ahead))
    if not rows:
        return pd.DataFrame(columns=["model", "other", "p", "p_holm", "verdict", "difference", "seeds", "ahead"])
    return stats.judged(pd.concat(rows, ignore_index=True))


def standings(
    runs: Sequence[RunFolder],
    generator: np.random.Generator,
    metric: str = "recall@20",
    *,
    split: str = "test",
    masking: str = "train",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The entries, best first, and their :func:`pairs`.

    Columns: model, settings, training, seeds, valid (mean validation score), mean, low, high (95 %, bootstrap over
    users, seeds averaged), seed_std, above (the entries it is certainly above), epochs (with ``RISING``), runs.

    Raises:
        UserError: as :func:`nbkit.studies.compare.scores`.
    """
    named = entries(runs)
    long = named_scores(named, metric, split=split, masking=masking)
    compared = pairs(long, generator)
    ordered = means(long, generator).sort_values("mean", ascending=False, ignore_index=True)
    place = {name: n for n, name in enumerate(ordered["model"])}
    rows = []
    for row in ordered.to_dict("records"):
        name, entry = row["model"], named[row["model"]]
        of = [entry.runs[seed] for seed in sorted(entry.runs)]
        told = [run.read_json("metrics.json") for run in of]
        better = compared[(compared["model"] == name) & (compared["verdict"] == "better")]["other"]
        worse = compared[(compared["other"] == name) & (compared["verdict"] == "worse")]["model"]
        rows.append(
            {
                "model": entry.model,
                "settings": entry.settings,
                "training": entry.training,
                "seeds": ",".join(map(str, sorted(entry.runs))),
                "valid": float(np.mean([each["valid"]["train"][metric] for each in told])),
                **{key: row[key] for key in ("mean", "low", "high", "seed_std")},
                "above": ", ".join(sorted([*better, *worse], key=lambda other: place[other])),
                "epochs": ", ".join(
                    f"{told[n]['fit']['epochs']}{RISING * was_cut_short(run)}" for n, run in enumerate(of)
                ),
                "runs": ", ".join(run.id for run in of),
            }
        )
    return pd.DataFrame(rows), compared


def verdict(compared: pd.DataFrame) -> str:
    """What the pairs say about the order, in a sentence or two: how many are decided, and whether seeds agree.

    A pair is *turned* when one model is ahead with some seeds and the other with the others; it contradicts the
    intervals if it is decided nevertheless.
    """
    decided = compared["verdict"].isin(["better", "worse"])
    told = f"{decided.sum()} of {len(compared)} pairs are decided (paired per user, Holm-corrected)."
    several = compared[compared["seeds"] > 1]
    if several.empty:
        return f"{told} No pair has two seeds: whether seeds agree cannot be said."
    turned = (several["ahead"] > 0) & (several["ahead"] < several["seeds"])
    contradicted = int((turned & decided[several.index]).sum())
    return (
        f"{told} Of {len(several)} pairs with two seeds or more, {int((~turned).sum())} have the same order with every "
        f"seed; of the {int(turned.sum())} others, {contradicted} are decided all the same."
    )
