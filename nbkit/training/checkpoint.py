"""All that a killed fit needs to go on as if nothing had happened, in one file without a pickle."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from nbkit.errors import UserError
from nbkit.paths import write_atomic


@dataclass
class FitState:
    """Where a fit stands between two epochs; ``best`` holds the weights of the best validation so far."""

    epoch: int = 0
    best_epoch: int = 0
    best_score: float | None = None
    stale: int = 0  # evaluations since the best one
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)


def snapshot(model: torch.nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def save_weights(path: Path, weights: dict[str, Tensor]) -> None:
    """Weights as safetensors, whole or not at all."""
    write_atomic(path, save({name: value.cpu().contiguous() for name, value in weights.items()}))


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Put saved weights into a model.

    Raises:
        UserError: the file is missing, damaged, or belongs to a model of other shapes.
    """
    try:
        model.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"weights {str(path)!r} are missing; expected a finished run") from None
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"weights {str(path)!r} do not fit this model: {str(error)[:200]}") from None


def save_checkpoint(
    path: Path,
    state: FitState,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    """Weights, optimiser, generator, best weights and history as one safetensors file, replaced atomically."""
    tensors: dict[str, Tensor] = {"generator": generator.get_state()}
    tensors |= {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    document = save(
        {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
        metadata={"state": json.dumps(asdict_without_tensors(state)), "groups": json.dumps(_groups(optimizer))},
    )
    write_atomic(path, document)


def asdict_without_tensors(state: FitState) -> dict[str, Any]:
    """The state as JSON data."""
    return asdict(FitState(state.epoch, state.best_epoch, state.best_score, state.stale, state.history))


def _groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [{"lr": group["lr"]} for group in optimizer.param_groups]


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> FitState:
    """Put everything back where :func:`save_checkpoint` found it, and give the state to go on from.

    Raises:
        UserError: the file is damaged or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as archive:
            notes = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (not a dict)
        state = FitState(**json.loads(notes["state"]))
        model.load_state_dict(_below(tensors, "model/"))
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "optimizer/").items():
            index, slot = name.split("/", 1)
            slots.setdefault(int(index), {})[slot] = value
        groups = optimizer.state_dict()["param_groups"]
        for group, saved in zip(groups, json.loads(notes["groups"]), strict=True):
            group.update(saved)
        optimizer.load_state_dict({"state": slots, "param_groups": groups})
        generator.set_state(tensors["generator"])
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError, OSError) as error:
        raise UserError(
            f"checkpoint {str(path)!r} cannot be resumed ({str(error)[:120]}); delete it to start this run again"
        ) from None
    device = next(model.parameters()).device
    state.best = {name: value.to(device) for name, value in _below(tensors, "best/").items()}
    return state


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
