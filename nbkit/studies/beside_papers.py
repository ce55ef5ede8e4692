"""Printed tables beside ours: levels on the paper's own data, on any other data directions alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from nbkit.data.catalog import describe
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.evaluation.stats import hierarchical_difference, holm, mean_interval
from nbkit.studies.paper_runs import Found, Tested, found
from nbkit.studies.papers import REGISTER, Exhibit
from nbkit.studies.published import OPTIMISM, ablations, reading, table_1, table_2

COLUMNS = ["exhibit", "row", "printed_for", "paper", "ours", "low", "high", "difference", "seeds", "label"]


def printed(each: Exhibit, metric: str) -> pd.DataFrame:
    """What an exhibit prints of a metric: columns row, printed_for, paper."""
    if each.kind == "models":
        table = table_2().rename(columns={"model": "row"})
    elif each.kind == "parts":
        every = ablations()
        table = every[every["model"] == each.paper].rename(columns={"kept": "row"})
    else:
        raise UserError(f"{each.title} prints no numbers of {metric}; expected a table of results")
    table = table[table["metric"] == metric].rename(columns={"data": "printed_for"})
    return table[["row", "printed_for", "paper"]].reset_index(drop=True)


def beside(
    each: Exhibit, runs: Sequence[Tested], metric: str, generator: np.random.Generator, *, other: str = ""
) -> pd.DataFrame:
    """An exhibit's printed numbers with ours: the ``COLUMNS`` exhibit, row, printed_for, paper, ours and so on.

    Ours are of the data set that a number is printed for where there are runs of it, else of ``other``, and then the
    difference is nan: the level of a score belongs to its data. ``label`` is the data with its caveat. Intervals are
    over users and, from two seeds on, seeds; the printed number is taken as it is.
    """
    known, numbers = printed(each, metric), {}
    for data in (*dict.fromkeys(known["printed_for"]), other):
        there = found(each, runs, data)
        if there is not None:
            label = f"{data}, {there.label}" if there.label else data
            for name, scores in there.scores(metric).items():
                numbers[data, name] = (mean_interval(scores, generator), len(scores), label)
    rows = []
    for row in known.to_dict("records"):
        own = row["printed_for"]
        data = own if any(of == own for of, _ in numbers) else other
        line: dict[Any, Any] = {"exhibit": each.title, **row, "label": "–"}
        if (data, row["row"]) in numbers:
            mean, seeds, label = numbers[data, row["row"]]
            line |= {"ours": mean.mean, "low": mean.low, "high": mean.high, "seeds": seeds, "label": label}
            line["difference"] = mean.mean - row["paper"] if data == own else np.nan
        rows.append(line)
    return pd.DataFrame(rows, columns=COLUMNS)


def sizes(datasets: Iterable[MultimodalDataset], *, other: str = "") -> pd.DataFrame:
    """DiffCL's Table I with the sizes of data sets at hand, in the columns of :func:`beside`."""
    at_hand = {str(row["name"]): (row, data) for data in datasets for row in describe(data).to_dict("records")}
    rows = []
    each = next(one for one in REGISTER if one.kind == "data")
    for line in table_1().to_dict("records"):
        name = line["data"] if line["data"] in at_hand else other
        for what in ("users", "items", "interactions"):
            row = {"exhibit": each.title, "row": what, "printed_for": line["data"], "paper": line[what], "label": "–"}
            if name in at_hand:
                known, data = at_hand[name]
                ours = known[what] if what in known else sum(known[split] for split in ("train", "valid", "test"))
                gap = ours - line[what] if name == line["data"] else np.nan
                label = f"{name}, {data.caveat}" if data.caveat else name
                row |= {"ours": ours, "low": ours, "high": ours, "difference": gap, "label": label}
            rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def directions(
    each: Exhibit,
    runs: Sequence[Tested],
    metric: str,
    generator: np.random.Generator,
    *,
    other: str = "",
    level: float = 0.95,
) -> pd.DataFrame:
    """Every row of an exhibit against its reference row, in print and here, as shares of the reference.

    Columns: exhibit, row, printed_for, data (ours), paper, ours, low, high, p_holm, reading
    (:func:`nbkit.studies.published.reading`). Ours are paired by user and seed, of the printed data set if there are
    runs of it, else of ``other``; Holm's adjustment is over the rows of one data set of ours. The reference's own level
    is taken as it is.
    """
    known = printed(each, metric)
    reference = known[known["row"] == each.reference].set_index("printed_for")["paper"]
    gaps: dict[str, dict[str, dict[str, float]]] = {}
    for data in (*reference.index, other):
        there = found(each, runs, data)
        if there is not None and each.reference in there.rows:
            gaps[data] = _paired(there, each.reference, metric, generator, level)
    rows = []
    for row in known.to_dict("records"):
        data = row["printed_for"] if row["printed_for"] in gaps else other
        ours = gaps.get(data, {}).get(row["row"])
        if ours is None:
            continue
        base = reference[row["printed_for"]]
        gap = row["paper"] - base
        word = reading(gap, ours["ours"], shown=ours["p_holm"] < 1 - level)
        rows.append(row | {"exhibit": each.title, "data": data, "paper": gap / base, **ours, "reading": word})
    columns = ["exhibit", "row", "printed_for", "data", "paper", "ours", "low", "high", "p_holm", "reading"]
    return pd.DataFrame(rows, columns=columns)


def _paired(
    there: Found, reference: str, metric: str, generator: np.random.Generator, level: float
) -> dict[str, dict[str, float]]:
    """Of each row that has the reference's seeds: its paired difference as shares of the reference, and Holm's p."""
    seeds = {row: [run.read_json("settings.json")["seed"] for run in runs] for row, runs in there.rows.items()}
    scores = {row: s for row, s in there.scores(metric).items() if seeds[row] == seeds[reference]}
    base = scores.pop(reference)
    found, p = {}, {}
    for row, values in scores.items():
        result, whole = hierarchical_difference(values, base, generator, level=level), base.mean()
        found[row] = {"ours": result.difference / whole, "low": result.low / whole, "high": result.high / whole}
        p[row] = result.p
    return {row: found[row] | {"p_holm": value} for row, value in holm(p).items()}


def outside(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows on the paper's own data whose printed number lies outside of our interval, widened by ``OPTIMISM``.

    Picking epochs on the test split, as those works do, is worth about that share of a score.
    """
    slack = OPTIMISM * rows["paper"]
    far = (rows["paper"] < rows["low"] - slack) | (rows["paper"] > rows["high"] + slack)
    return rows[rows["difference"].notna() & far]


def findings(rows: pd.DataFrame, signs: pd.DataFrame) -> list[str]:
    """What the tables show, one sentence each, from :func:`beside` and :func:`directions`."""
    said = []
    for title, part in rows.groupby("exhibit", sort=False):
        same = part[part["difference"].notna()]
        if same.empty:
            said.append(f"{title}: no run on the paper's data; no difference is given.")
            continue
        far = outside(same)
        said.append(
            f"{title}: {len(same)} of {len(part)} numbers have ours on the same data, {len(far)} of them outside."
        )
        for row in far.to_dict("records"):
            where = "below" if row["ours"] < row["paper"] else "above"
            ours = f"{row['ours']:.4g} ({row['low']:.4g} – {row['high']:.4g})"
            said.append(f"{title}, {row['row']} on {row['printed_for']}: ours {ours} lies {where} {row['paper']:.4g}.")
    for (name, data), part in signs.groupby(["exhibit", "data"], sort=False):
        counts = part["reading"].value_counts()
        words = ", ".join(f"{count} {word}" for word, count in zip(counts.index, counts, strict=True))
        said.append(f"{name}, directions on {data}: of {len(part)} printed gaps {words}.")
    return said
