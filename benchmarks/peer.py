"""Other people's code as the other side of a comparison: a checkout is driven as it stands, not one file edited.

What keeps a checkout from running on current versions (missing imports, names that NumPy and SciPy dropped,
hard ``.cuda()``) is put right in memory, in the process that loads it. None of its code is here.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import measure
from nbkit.errors import UserError

PROOF_SEED = 0  # of all draws that a loss makes while both sides are compared


class _Absent(types.ModuleType):
    """Stands for a module that is not installed: any name can be imported from it, none does anything."""

    __path__: Any = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__init__": lambda self, *args, **kwargs: None})


class _AbsentFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules named in ``roots``, and what is below them, as empty ones."""

    def __init__(self, roots: set[str]) -> None:
        self.roots = roots

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] not in self.roots:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        return None


def _scatter_add(source: torch.Tensor, index: torch.Tensor, dim: int = 0, dim_size: int | None = None) -> torch.Tensor:
    """Sums of ``source`` by ``index`` along the only axis: what graph code needs of torch_scatter."""
    out = source.new_zeros(int(index.max()) + 1 if dim_size is None else dim_size)
    return out.scatter_add_(dim, index, source)


def adapt(roots: Collection[str]) -> list[str]:
    """Let current libraries answer to the names that older code uses, and ``roots`` be empty modules where absent.

    Returns what was put right.
    """
    done = []
    absent = {root for root in roots if importlib.util.find_spec(root) is None}
    if absent:
        sys.meta_path.append(_AbsentFinder(absent))
        done += [f"{root}: empty module" for root in sorted(absent)]
    if "torch_scatter" in absent:
        module = importlib.import_module("torch_scatter")
        module.scatter_add = _scatter_add  # type: ignore[attr-defined]
    for name, kind in (("float", float), ("int", int), ("bool", bool)):
        if name not in vars(np):
            setattr(np, name, kind)
            done.append(f"numpy.{name}")
    from scipy import sparse

    if not hasattr(sparse.dok_matrix, "_update"):
        sparse.dok_matrix._update = lambda self, entries: self._dict.update(entries)
        done.append("scipy.sparse.dok_matrix._update")
    if not hasattr(sparse.coo_matrix, "A"):
        sparse.coo_matrix.A = property(lambda self: self.toarray())
        done.append("scipy.sparse.coo_matrix.A")
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
        torch.nn.Module.cuda = lambda self, *args, **kwargs: self  # type: ignore[method-assign]
        done.append(".cuda() without a GPU")
    return done


def source_folder(option: str, checkout: str, proof: str, name: str) -> Path:
    """The checkout's folder, where the code of that name is looked for.

    Raises:
        UserError: it has no file ``proof``.
    """
    source = Path(checkout).resolve()
    if not (source / proof).is_file():
        raise UserError(f"{option} {checkout!r}: no {proof} there; expected a checkout of {name}")
    return source


class Peer(ABC):
    """What every code base answers: an epoch of its own, and weights, loss and gradients for the proof."""

    def __init__(self, optimizer: torch.optim.Optimizer, device: str) -> None:
        self.device, self.optimiser_steps = device, 0
        optimizer.register_step_post_hook(self._count_step)

    def _count_step(self, *_: Any) -> None:
        self.optimiser_steps += 1

    @abstractmethod
    def train(self) -> float:
        """One epoch as the code base runs it, without evaluation: mean loss of a step."""

    @abstractmethod
    def named(self) -> Mapping[str, torch.nn.Parameter]:
        """Every trainable array by its name there."""

    @abstractmethod
    def backward(self, triples: np.ndarray) -> float:
        """Loss of one batch of ``(3, B)`` users, positives and negatives, its gradients left with the arrays."""

    def constants(self) -> Mapping[str, torch.Tensor]:
        """Tensors that are not trained and yet keep their random start; none by default."""
        return {}

    def epoch(self) -> dict[str, float]:
        """One epoch: optimiser steps taken and mean loss of a step."""
        before = self.optimiser_steps
        loss = self.train()
        return {"steps": self.optimiser_steps - before, "loss": loss}

    def weights(self) -> dict[str, np.ndarray]:
        """Every trainable array, and the constants."""
        arrays = {**self.named(), **self.constants()}
        return {name: value.detach().cpu().numpy().copy() for name, value in arrays.items()}

    def loss_and_gradients(self, triples: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        """Loss of one batch with the weights as they are, and its gradient for every array that receives one."""
        for array in self.named().values():
            array.grad = None
        loss = self.backward(triples)
        return loss, {n: p.grad.cpu().numpy().copy() for n, p in self.named().items() if p.grad is not None}

    def forget_peak(self) -> int:
        """Let the peak of memory begin anew, at the bytes that this returns."""
        return measure.forget_peak(self.device)

    def peak_memory(self) -> int:
        """Most bytes held since then."""
        return measure.peak_memory(self.device)
