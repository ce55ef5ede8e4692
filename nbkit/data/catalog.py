"""One name for every data set: what ships with the package, and any folder or file that a reader knows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pkgutil
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from nbkit import config, repro
from nbkit.data import readers
from nbkit.data.dataset import MultimodalDataset
from nbkit.data.readers import check as checks
from nbkit.data.readers import files
from nbkit.data.readers.check import Finding
from nbkit.errors import UserError, nearest
from nbkit.paths import cache_dir

if TYPE_CHECKING:
    from nbkit.data.synthetic import Oracle

__all__ = ["Builtin", "Finding", "builtin", "check", "describe", "load", "perfect_knowledge"]

# What decides the content of a cached boutique, besides its settings.
_CACHE_CODE = (
    "nbkit.data.splits",
    "nbkit.data.dataset",
    "nbkit.data.readers.parquet",
    "nbkit.data.readers.writer",
)


@dataclass(frozen=True)
class Builtin:
    """A data set that ships: what to call it, and its size."""

    spec: str
    users: int
    items: int


def builtin() -> list[Builtin]:
    """The data sets that need no files, the smallest first."""
    from nbkit.data.synthetic import SIZES

    return [Builtin(f"boutique:{size}", s.users, s.items) for size, s in SIZES.items()]


def load(spec: str | Path, **options: Any) -> MultimodalDataset:
    """The data set of a name such as ``boutique:small``, or of a folder or file whose layout is recognised.

    Settings may stand behind a question mark: ``boutique:tiny?seed=3``, ``data/baby?modalities=image,text``,
    ``ratings.csv?split=temporal&core_user=5``; keyword options mean the same and win.

    Raises:
        UserError: an unknown name, folder or option (with the nearest), or data that the reader refuses.
    """
    name, _, query = str(spec).partition("?")
    if os.path.exists(spec):  # a folder may have a question mark in its name
        name, query = str(spec), ""
    family, _, size = name.partition(":")
    if family == "boutique":
        return _boutique(size or "small", query, options)
    path = Path(name).expanduser()
    if not os.path.exists(path):
        raise UserError(f"unknown data set {name!r}; {_what_exists(path)}")
    given = _parse(query, {"layout": config.Setting("layout", str, None, None, "")}, str(path), strict=False)
    layout = options.pop("layout", None) or given.get("layout") or readers.detect(path)
    known = config.settings_of(readers.reader(layout))
    rest = "&".join(text for text in query.split("&") if not text.startswith("layout="))
    return readers.read(path, layout, **{**_parse(rest, known, f"{layout} data set {name}"), **options})


def check(data: MultimodalDataset | str | Path) -> list[Finding]:
    """What may be wrong with a data set, or with the one of a name or path: the worst first.

    Raises:
        UserError: data that cannot be read at all.
    """
    return checks.check(data if isinstance(data, MultimodalDataset) else load(data))


def describe(dataset: MultimodalDataset) -> pd.DataFrame:
    """One row: sizes, distinct pairs a split, density, features, kind of time, behaviours, degrees, noise.

    ``user_…`` and ``item_…`` are quantiles of the training degree; ``density`` is of the pairs of all splits.
    """
    pairs = checks.pair_counts(dataset)
    train = dataset.train.pairs()
    row: dict[str, Any] = {
        "name": dataset.name,
        "users": dataset.num_users,
        "items": dataset.num_items,
        **pairs,
    }
    row["density"] = sum(pairs.values()) / (dataset.num_users * dataset.num_items)
    row["modalities"] = ", ".join(f"{m} {dataset.features[m].shape[1]}" for m in dataset.modalities)
    row["clock"] = dataset.clock or ""
    row["behaviors"] = ", ".join(dataset.behaviors)
    for label, column, size in (("user", 0, dataset.num_users), ("item", 1, dataset.num_items)):
        degree = np.bincount(train[:, column], minlength=size)
        for quantile, word in ((0, "min"), (0.5, "median"), (0.9, "p90"), (1, "max")):
            row[f"{label}_{word}"] = int(np.quantile(degree, quantile, method="lower"))
    row["noisy_pairs"] = 0 if dataset.truth is None else len(dataset.truth.noisy_pairs)
    row["caveat"] = dataset.caveat
    row["fingerprint"] = dataset.fingerprint[:12]
    return pd.DataFrame([row])


def _parse(query: str, known: Mapping[str, config.Setting], where: str, strict: bool = True) -> dict[str, Any]:
    """Settings behind a question mark: ``name=value`` joined by ``&``; lists as ``a,b``."""
    values = {}
    for text in filter(None, query.split("&")):
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{where}: {text!r}; expected name=value")
        if name in known:
            if "tuple" in known[name].type_name and not value.startswith("["):
                value = json.dumps(value.split(","))
            values[name] = known[name].parse(value, where)
        elif strict:
            raise UserError(f"{where}: unknown setting {name!r}; {nearest(name, known)}")
    return values


def _what_exists(path: Path) -> str:
    """The nearest built-in name, or the nearest neighbour of a path."""
    if path.parent == Path() or not os.path.isdir(path.parent):
        return nearest(str(path), [b.spec for b in builtin()]) + ", or the path of a folder or file"
    names = sorted(p.name for p in path.parent.iterdir() if p.is_dir() or p.suffix in readers.SUFFIXES)
    return nearest(path.name, names[:20]) + f" in {str(path.parent)!r}"


def perfect_knowledge(spec: str | Path) -> Oracle | None:
    """The ranker that knows all that was planted in a built-in data set; None where nobody knows the truth.

    Raises:
        UserError: an unknown size or setting.
    """
    from nbkit.data import synthetic

    name, _, query = str(spec).partition("?")
    family, _, size = name.partition(":")
    if family != "boutique":
        return None
    seed, given = _boutique_settings(size or "small", query, {})
    return synthetic.perfect_knowledge(size or "small", seed, **given)


def _boutique_settings(size: str, query: str, options: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Seed and overrides of a boutique, checked."""
    from nbkit.data import synthetic

    where = f"boutique:{size}"
    if size not in synthetic.SIZES:
        raise UserError(f"unknown data set {where!r}; {nearest(where, [b.spec for b in builtin()])}")
    known = {**config.settings_of(synthetic.BoutiqueSettings), **config.settings_of(synthetic.boutique)}
    for name in options:
        if name not in known:
            raise UserError(f"{where}: unknown setting {name!r}; {nearest(name, known)}")
    given = {n: known[n].check(v, where) for n, v in {**_parse(query, known, where), **options}.items()}
    return given.pop("seed", 0), given


def _boutique(size: str, query: str, options: dict[str, Any]) -> MultimodalDataset:
    """A boutique out of the cache, or made and put there; a damaged copy is made again."""
    from nbkit.data import synthetic

    seed, given = _boutique_settings(size, query, options)
    modules = [f"nbkit.data.synthetic.{m.name}" for m in pkgutil.iter_modules(synthetic.__path__)]
    identity = {
        "settings": {**asdict(synthetic.SIZES[size]), **given, "size": size, "seed": seed},
        "code": repro.code_version(*modules, *_CACHE_CODE),
        "libraries": [f"{d.name} {d.version}" for n in ("numpy", "resvg-py") for d in metadata.distributions(name=n)],
    }
    key = hashlib.sha256(config.canonical_json(identity).encode()).hexdigest()[:16]
    folder = cache_dir() / "data" / f"boutique-{size}-{key}"
    kept = _kept(folder)
    if kept is not None:
        return kept
    shutil.rmtree(folder, ignore_errors=True)
    made = synthetic.boutique(size, seed=seed, **given)
    # A cache that cannot be written is done without; one that another process has just filled is as good.
    with contextlib.suppress(UserError):
        readers.write_parquet(made, folder)
    return made


def _kept(folder: Path) -> MultimodalDataset | None:
    """The data set of a cache folder, if it is there and just as it was written."""
    try:
        kept = readers.read_parquet(folder)
        written = files.load_json(folder / "dataset.json")["fingerprint"]
    except (UserError, KeyError):
        return None
    return kept if kept.fingerprint == written else None
