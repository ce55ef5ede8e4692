"""The contract of every recommender: what it may see, what it must answer."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from nbkit import config
from nbkit.data.dataset import Interactions, TrainingView
from nbkit.data.sampling import Batch, Sampler, SequenceSampler, TripleSampler
from nbkit.data.sequences import Histories, History, Past, stream_rows
from nbkit.errors import UserError, nearest

Score = Callable[[Tensor], Tensor]  # users (B,) -> scores of all items (B, I)

ENCODED = 4096  # histories encoded at a time: their activations, unlike their scores, do not shrink with I


@dataclass(frozen=True)
class Paper:
    """Where a model comes from; shown in ``nbkit models``, the README and the model cards."""

    title: str
    venue: str
    link: str


@dataclass(frozen=True)
class Inputs:
    """What a model may build itself from: training pairs and item features, nothing held out.

    Shapes: ``pairs`` ``(P, 2)`` int64 distinct training (user, item); ``features[m]`` ``(I, D_m)`` float32;
    ``neighbours[m]`` ``(I, k)`` int64, published nearest items where the data set ships them.
    """

    num_users: int
    num_items: int
    pairs: Tensor
    features: Mapping[str, Tensor]
    neighbours: Mapping[str, Tensor]

    @classmethod
    def from_view(cls, view: TrainingView) -> Inputs:
        """The inputs that a training view allows."""
        return cls(
            num_users=view.num_users,
            num_items=view.num_items,
            pairs=torch.from_numpy(view.train.pairs()),
            features={m: torch.tensor(view.features[m]) for m in view.modalities},
            neighbours={m: torch.tensor(view.neighbours[m]) for m in sorted(view.neighbours)},
        )


__all__ = [
    "Batch",
    "CollaborativeRecommender",
    "Grid",
    "History",
    "Inputs",
    "Paper",
    "Past",
    "Preset",
    "Recommender",
    "Score",
    "SequentialRecommender",
    "build_model",
    "model_class",
    "registry",
]


@dataclass(frozen=True)
class Preset:
    """Settings of a model, and of its training, for one data set, and where they come from."""

    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """Values that a model is tuned over, its own settings and its training's, and where they come from."""

    source: str
    settings: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    training: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def points(self) -> list[Preset]:
        """Every combination of the values, the last name running fastest."""
        names = [*self.settings, *self.training]
        rows = itertools.product(*self.settings.values(), *self.training.values())
        pairs = [list(zip(names, row, strict=True)) for row in rows]
        cut = len(self.settings)
        return [Preset(self.source, dict(pair[:cut]), dict(pair[cut:])) for pair in pairs]


class Recommender(nn.Module, ABC):
    """A model under the house contract.

    A subclass in a file of its own is found by name; its settings are the annotated keyword-only arguments of its
    constructor ``__init__(self, inputs, *, ..., generator)``. It knows no files and no devices.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    modalities: ClassVar[Literal["none", "optional", "any"]] = "any"  # "any": one or more feature tables are needed
    presets: ClassVar[Mapping[str, Preset]] = {}  # by data set
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {}  # what an ablation turns off, and the settings that do it
    grid: ClassVar[Grid] = Grid("none declared")  # what tuning tries

    @classmethod
    def check(cls, data: TrainingView, settings: Mapping[str, Any]) -> None:
        """Refuse data that the model cannot be built from.

        Raises:
            UserError: what is missing.
        """
        if cls.modalities == "any" and not data.features:
            raise UserError(
                f"model {cls.name} needs item features; data set {data.name!r} has none "
                "(expected e.g. image.npy, text.npy)"
            )

    def sampler(self, data: TrainingView, device: torch.device | str = "cpu") -> Sampler:
        """What deals this model's training batches: triples by default."""
        return TripleSampler(torch.from_numpy(data.train.pairs()).to(device), data.num_users, data.num_items)

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted loss parts of a batch, each a scalar; the training loop alone sums them."""

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Redraw what lasts one epoch (a sampled graph); nothing by default."""

    @abstractmethod
    def scorer(self, past: Past | None = None) -> Score:
        """Scores of all items for users ``(B,) -> (B, I)``, with what lasts for all users computed once.

        ``past`` is what may be seen of the users; a model that reads no histories does without.
        """

    def diagnostics(self) -> dict[str, float]:
        """Numbers about the inside of the model, put into each epoch's row of the history; nothing by default.

        Asked for after the epoch's last step, in evaluation mode and without gradient.
        """
        return {}

    def export(self) -> dict[str, Tensor]:
        """Named arrays that a viewer may want kept with the run (embeddings, projected features)."""
        return {}


class CollaborativeRecommender(Recommender):
    """A recommender whose score is a dot product of a user and an item vector."""

    @abstractmethod
    def embeddings(self) -> tuple[Tensor, Tensor]:
        """User and item vectors, ``(U, D)`` and ``(I, D)``; the same path in training and evaluation."""

    def scorer(self, past: Past | None = None) -> Score:
        """Propagates once, however many users are scored."""
        user_vectors, item_vectors = self.embeddings()
        transposed = item_vectors.T
        return lambda users: user_vectors[users] @ transposed

    def score(self, users: Tensor) -> Tensor:
        """Scores ``(B, I)``; take :meth:`scorer` when many batches are scored."""
        return self.scorer()(users)

    def export(self) -> dict[str, Tensor]:
        """``user`` ``(U, D)`` and ``item`` ``(I, D)``."""
        user_vectors, item_vectors = self.embeddings()
        return {"user": user_vectors, "item": item_vectors}


class SequentialRecommender(Recommender):
    """A recommender whose score is a dot product of an encoded history and an item vector.

    Set by the constructor: ``streams`` of the histories it reads, ``length`` their most events L, ``deep`` the deep
    behaviour (:func:`nbkit.data.sequences.stream_rows`), ``predict`` the stream whose events are training targets.
    """

    streams: tuple[str, ...]
    length: int
    deep: str
    predict: str

    @classmethod
    def check(cls, data: TrainingView, settings: Mapping[str, Any]) -> None:
        super().check(data, settings)
        Histories(data, data.train.take(np.arange(0)), streams=(), deep=settings["deep"])

    @abstractmethod
    def encode(self, history: History, generator: torch.Generator | None = None) -> Tensor:
        """What a history asks for, streams of ``(B, L)`` -> ``(B, D)``; drops out only where a generator is given."""

    @abstractmethod
    def item_table(self) -> Tensor:
        """Item vectors ``(I, D)``."""

    def histories(self, data: TrainingView, events: Interactions, device: torch.device | str = "cpu") -> Histories:
        """The streams this model reads, of these events."""
        return Histories(data, events, streams=self.streams, deep=self.deep, length=self.length, device=device)

    def sampler(self, data: TrainingView, device: torch.device | str = "cpu") -> Sampler:
        """Every training event to predict, after its user's training events strictly before it."""
        targets = data.train.take(stream_rows(data, data.train, self.deep)[self.predict])
        triples = TripleSampler(torch.from_numpy(data.train.pairs()).to(device), data.num_users, data.num_items)
        return SequenceSampler(targets, self.histories(data, data.train, device), triples)

    def scorer(self, past: Past | None = None) -> Score:
        """Reads each user's history strictly before the moment that ``past`` gives."""
        if past is None:
            raise ValueError(f"model {self.name} ranks from histories; expected what may be seen of the users")
        items = self.item_table()
        histories = past.histories(self.streams, self.deep, self.length, items.device)
        moments = torch.from_numpy(past.moments).to(items.device)

        def score(users: Tensor) -> Tensor:
            parts = [self.encode(histories.before(some, moments[some])) for some in users.split(ENCODED)]
            return torch.cat(parts) @ items.T

        return score

    def export(self) -> dict[str, Tensor]:
        """``item`` ``(I, D)``."""
        return {"item": self.item_table()}


@cache
def registry() -> dict[str, type[Recommender]]:
    """Every model of this package by name, found by looking into each file of ``nbkit/models``."""
    package = importlib.import_module("nbkit.models")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"nbkit.models.{module.name}")

    def below(cls: Any) -> Iterator[type[Recommender]]:
        yield cls
        for child in cls.__subclasses__():
            yield from below(child)

    named = [cls for cls in below(Recommender) if "name" in vars(cls) and cls.__module__.startswith("nbkit.models.")]
    return {cls.name: cls for cls in named}


def model_class(name: str) -> type[Recommender]:
    """The model of that name; UserError with the nearest one otherwise."""
    try:
        return registry()[name]
    except KeyError:
        raise UserError(f"unknown model {name!r}; {nearest(name, registry())}") from None


def build_model(name: str, view: TrainingView, settings: Mapping[str, Any], generator: torch.Generator) -> Recommender:
    """A freshly initialised model for this data.

    Raises:
        UserError: unknown model or setting, or a data set without the features or times that the model needs.
    """
    cls = model_class(name)
    values = config.check(cls, settings, where=f"model {name}")
    cls.check(view, values)
    return cls(Inputs.from_view(view), **values, generator=generator)
