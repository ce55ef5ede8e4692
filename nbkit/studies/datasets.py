"""Data sets of experiments: loaded and damaged once, and known by fingerprint without doing either again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pkgutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nbkit import config, repro
from nbkit.data import catalog, corrupt
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError
from nbkit.paths import cache_dir, writable_folder, write_atomic
from nbkit.studies.experiment import Experiment


def data_key(experiment: Experiment) -> str:
    """Equal for experiments that train on the same data, noise included."""
    return config.canonical_json([experiment.data, experiment.noise])


class Datasets:
    """The data of experiments; keeps the last clean and the last damaged data set, so order decides what it costs.

    ``given`` are data sets that are loaded already, by the name in :attr:`Experiment.data`.
    """

    def __init__(self, given: Mapping[str, MultimodalDataset] | None = None) -> None:
        self._given = dict(given or {})
        self._clean: dict[str, MultimodalDataset] = {}
        self._noisy: dict[str, MultimodalDataset] = {}
        self._fingerprints: dict[str, str] | None = None

    def clean(self, spec: str) -> MultimodalDataset:
        """The data set of a name, before any noise."""
        if spec in self._given:
            return self._given[spec]
        if spec not in self._clean:
            self._noisy.clear()
            self._clean.clear()  # before the next one is read: two would not always fit
            self._clean[spec] = catalog.load(spec)
        return self._clean[spec]

    def load(self, experiment: Experiment) -> MultimodalDataset:
        """The data set with the experiment's noise in it."""
        dataset, key = self.clean(experiment.data), data_key(experiment)
        if not experiment.noise:
            return dataset
        if key not in self._noisy:
            self._noisy.clear()
            self._noisy[key] = experiment.damage(dataset)
        return self._noisy[key]

    def fingerprint(self, experiment: Experiment) -> str:
        """The fingerprint of :meth:`load`; known noise is looked up in the cache folder instead of made."""
        clean = self.clean(experiment.data).fingerprint
        if not experiment.noise:
            return clean
        if self._fingerprints is None:
            self._fingerprints = _kept()
        identity = [clean, experiment.noise, _code(), np.__version__]
        key = hashlib.sha256(config.canonical_json(identity).encode()).hexdigest()[:32]
        if key not in self._fingerprints:
            self._fingerprints[key] = self.load(experiment).fingerprint
            _keep(self._fingerprints)
        return self._fingerprints[key]


def _code() -> str:
    """The version of the code that damages data."""
    parts = [f"{corrupt.__name__}.{module.name}" for module in pkgutil.iter_modules(corrupt.__path__)]
    return repro.code_version(corrupt.__name__, *parts, "nbkit.data.dataset")


def _file() -> Path:
    return cache_dir() / "fingerprints.json"


def _kept() -> dict[str, str]:
    """What is known; nothing where the file is missing or damaged, for it can be made again."""
    try:
        known = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in known.items()} if isinstance(known, dict) else {}


def _keep(known: Mapping[str, str]) -> None:
    """Add to the file; a cache that cannot be written is done without."""
    with contextlib.suppress(UserError):
        writable_folder(cache_dir(), "cache folder")
        write_atomic(_file(), json.dumps({**_kept(), **known}, indent=0, sort_keys=True) + "\n")
