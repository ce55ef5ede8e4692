"""The contract of every recommender: what it may see, what it must answer."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from nbkit import config
from nbkit.data.dataset import TrainingView
from nbkit.data.sampling import Batch
from nbkit.errors import UserError, nearest


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
    "Inputs",
    "Paper",
    "Recommender",
    "build_model",
    "model_class",
    "registry",
]


class Recommender(nn.Module, ABC):
    """A model under the house contract.

    A subclass in a file of its own is found by name; its settings are the annotated keyword-only arguments of its
    constructor ``__init__(self, inputs, *, ..., generator)``. It knows no files and no devices.
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    modalities: ClassVar[Literal["none", "any"]] = "any"  # "any": one or more feature tables are needed

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Named, weighted loss parts of a batch, each a scalar; the training loop alone sums them."""

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Redraw what lasts one epoch (a sampled graph); nothing by default."""

    @abstractmethod
    def score(self, users: Tensor) -> Tensor:
        """Scores of all items for the given users, ``(B,) -> (B, I)``, in evaluation mode."""

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

    def score(self, users: Tensor) -> Tensor:
        """Scores ``(B, I)``; call :meth:`embeddings` once instead when many batches are scored."""
        user_vectors, item_vectors = self.embeddings()
        return user_vectors[users] @ item_vectors.T

    def export(self) -> dict[str, Tensor]:
        """``user`` ``(U, D)`` and ``item`` ``(I, D)``."""
        user_vectors, item_vectors = self.embeddings()
        return {"user": user_vectors, "item": item_vectors}


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
        UserError: unknown model or setting, or a data set without the features that the model needs.
    """
    cls = model_class(name)
    values = config.check(cls, settings, where=f"model {name}")
    if cls.modalities != "none" and not view.features:
        raise UserError(
            f"model {name} needs item features; data set {view.name!r} has none (expected e.g. image.npy, text.npy)"
        )
    return cls(Inputs.from_view(view), **values, generator=generator)
