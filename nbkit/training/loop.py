"""The training loop: epochs, named loss parts, early stopping on validation, stop and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
from torch import Tensor

from nbkit import repro
from nbkit.config import Range
from nbkit.data.dataset import TrainingView
from nbkit.data.sampling import Batch, Sampler
from nbkit.errors import TrainingDivergedError, UserError, nearest
from nbkit.models.base import Recommender
from nbkit.training.callbacks import Callback
from nbkit.training.checkpoint import FitState, load_checkpoint, save_checkpoint, snapshot


@dataclass(frozen=True)
class TrainSettings:
    """How a model is fitted; the defaults are MMRec's, with selection on the unrounded validation metric."""

    epochs: Annotated[int, Range(1, 100_000), "most epochs"] = 1000
    batch_size: Annotated[int, Range(1), "training examples a step B"] = 2048
    lr: Annotated[float, Range(0, 10), "Adam's step size"] = 1e-3
    lr_decay: Annotated[float, Range(0, 1), "factor on lr every lr_decay_epochs"] = 1.0
    lr_decay_epochs: Annotated[int, Range(1), "epochs between two factors"] = 50
    weight_decay: Annotated[float, Range(0), "Adam's weight decay"] = 0.0
    clip_norm: Annotated[float, Range(0), "largest gradient norm; 0 leaves gradients alone"] = 0.0
    eval_every: Annotated[int, Range(1), "epochs between two validations"] = 1
    patience: Annotated[int, Range(0), "validations without a better one before stopping"] = 20
    metric: Annotated[str, "validation metric that selects the epoch"] = "recall@20"
    loss_scale: Annotated[Mapping[str, float], "factor on a named loss part; 0 drops it"] = field(default_factory=dict)


@dataclass(frozen=True)
class FitResult:
    """How a fit ended; the model holds the weights of the best epoch."""

    status: Literal["finished", "stopped"]
    history: list[dict[str, float]]
    best_epoch: int
    best_score: float | None


Validate = Callable[[Recommender], Mapping[str, float]]


def pick_device(name: str = "auto") -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        UserError: a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device {name!r}; expected auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name!r}; this machine has no CUDA device (expected auto or cpu)")
    return device


def make_optimizer(model: Recommender, settings: TrainSettings) -> torch.optim.Optimizer:
    """Adam over every parameter of the model, fused: one pass over memory a step."""
    return torch.optim.Adam(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def train_epoch(
    model: Recommender,
    batches: Iterator[Batch],
    optimizer: torch.optim.Optimizer,
    *,
    loss_scale: Mapping[str, float],
    clip_norm: float = 0.0,
    stepped: Callable[[int], None] = lambda step: None,
) -> dict[str, float]:
    """One pass over the batches: mean of each loss part, and ``loss``, their scaled sum.

    Losses stay on the device until the epoch is over, so that no step waits for a number.

    Raises:
        TrainingDivergedError: a part became NaN or infinite, named with the batch it happened in.
        UserError: ``loss_scale`` names a part that the model does not have.
    """
    model.train()
    names: list[str] = []
    values: list[Tensor] = []
    for step, batch in enumerate(batches):
        parts = model.losses(batch)
        if not names:
            names = list(parts)
            for name in loss_scale:
                if name not in parts:
                    raise UserError(f"loss_scale: unknown loss part {name!r}; {nearest(name, parts)}")
        kept = [
            parts[n] * s if (s := loss_scale.get(n, 1.0)) != 1.0 else parts[n] for n in names if loss_scale.get(n, 1.0)
        ]
        loss = torch.stack(kept).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        values.append(torch.stack([loss.detach(), *(parts[n].detach() for n in names)]))
        stepped(step)
    table = torch.stack(values).cpu()  # (steps, 1 + parts)
    if not torch.isfinite(table).all():
        bad = torch.nonzero(~torch.isfinite(table))
        step = int(bad[0, 0])
        column = next((c for c in bad[bad[:, 0] == step, 1].tolist() if c), 0)  # a part, where one is to blame
        raise TrainingDivergedError(
            f"loss part {['the sum', *names][column]!r} became {table[step, column]:g} in batch {step}; "
            "expected a finite number (a smaller lr or clip_norm helps)"
        )
    means = table.double().mean(0).tolist()
    return {"loss": means[0], **{f"loss_{name}": mean for name, mean in zip(names, means[1:], strict=True)}}


def fit(
    model: Recommender,
    data: TrainingView,
    settings: TrainSettings,
    *,
    seed: int,
    validate: Validate | None = None,
    sampler: Sampler | None = None,
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 1.0,
) -> FitResult:
    """Fit a model until validation stops improving; it ends holding the weights of its best epoch.

    With a ``checkpoint`` file the fit goes on from it when it exists; on the CPU the result then equals that of an
    uninterrupted fit bit for bit. It is written between epochs, at least ``checkpoint_seconds`` apart, so seldom that
    writing takes at most a twentieth of the time. Ctrl-C or ``Stop`` ends the fit with status ``stopped``.

    Raises:
        TrainingDivergedError: a loss part became NaN or infinite.
        UserError: the validation has no such metric, or a file cannot be written.
    """
    repro.tune_allocator()
    where = pick_device(device)
    model.to(where)
    if sampler is None:
        sampler = model.sampler(data.sealed(), where)
    optimizer = make_optimizer(model, settings)
    generator = repro.generator(seed, "training", where.type)
    state = FitState()
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint, model, optimizer, generator)
    status: Literal["finished", "stopped", "failed"] = "failed"
    for callback in callbacks:
        callback.started(state.epoch, settings.epochs, sampler.steps(settings.batch_size))
    try:
        saved, cost = time.monotonic(), 0.0
        while state.epoch < settings.epochs and state.stale <= settings.patience:
            row = _one_epoch(model, sampler, optimizer, generator, settings, state, validate, callbacks)
            state.history.append(row)
            for callback in callbacks:
                callback.epoch_ended(row)
            if checkpoint is not None and time.monotonic() - saved >= max(checkpoint_seconds, 20 * cost):
                begin = time.monotonic()
                save_checkpoint(checkpoint, state, model, optimizer, generator)
                saved = time.monotonic()
                cost = saved - begin if checkpoint_seconds else 0.0
        status = "finished"
    except KeyboardInterrupt:
        status = "stopped"
    except TrainingDivergedError as error:
        error.history = state.history  # type: ignore[attr-defined]
        raise
    finally:
        for callback in callbacks:
            callback.ended(status)
    if state.best:
        model.load_state_dict(state.best)
    model.eval()
    return FitResult(status, state.history, state.best_epoch, state.best_score)


def _one_epoch(
    model: Recommender,
    sampler: Sampler,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    settings: TrainSettings,
    state: FitState,
    validate: Validate | None,
    callbacks: Sequence[Callback],
) -> dict[str, float]:
    """Train one epoch, validate when it is due, and keep the best weights: the history's new line."""

    def stepped(step: int) -> None:
        for callback in callbacks:
            callback.stepped(step)

    lr = settings.lr * settings.lr_decay ** (state.epoch / settings.lr_decay_epochs)
    for group in optimizer.param_groups:
        group["lr"] = lr
    begin = time.perf_counter()
    model.start_epoch(state.epoch, generator)
    batches = sampler.epoch(settings.batch_size, generator)
    try:
        means = train_epoch(
            model,
            batches,
            optimizer,
            loss_scale=settings.loss_scale,
            clip_norm=settings.clip_norm,
            stepped=stepped,
        )
    except TrainingDivergedError as error:
        raise TrainingDivergedError(f"epoch {state.epoch + 1}: {error}") from None
    state.epoch += 1
    row = {"epoch": state.epoch, **means, "lr": lr, "seconds": time.perf_counter() - begin}
    model.eval()
    with torch.no_grad():
        row |= {f"diagnostic_{name}": value for name, value in model.diagnostics().items()}
    if validate is not None and (state.epoch % settings.eval_every == 0 or state.epoch == settings.epochs):
        begin = time.perf_counter()
        scores = validate(model)
        if settings.metric not in scores:
            raise UserError(f"metric = {settings.metric!r}; {nearest(settings.metric, scores)}")
        score = scores[settings.metric]
        if state.best_score is None or score > state.best_score:
            state.best_score, state.best_epoch, state.stale = score, state.epoch, 0
            state.best = snapshot(model)
        else:
            state.stale += 1
        row |= {f"valid_{name}": value for name, value in scores.items()}
        row["valid_seconds"] = time.perf_counter() - begin
    return row
