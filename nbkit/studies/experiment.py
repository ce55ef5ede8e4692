"""One experiment: data, noise, model, settings and seed in; a run folder out, computed once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch

from nbkit import config, repro
from nbkit.config import Range, Seed
from nbkit.data import catalog, corrupt
from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import TrainingDivergedError, UserError, nearest
from nbkit.evaluation import final
from nbkit.models.base import Recommender, build_model, model_class
from nbkit.paths import runs_dir
from nbkit.runs import RunFolder, run_id
from nbkit.training.callbacks import Callback
from nbkit.training.checkpoint import load_weights, save_weights, snapshot
from nbkit.training.curves import cut_short
from nbkit.training.loop import FitResult, TrainSettings, fit, pick_device
from nbkit.training.memory import PeakMemory

# What decides a run's numbers besides its settings: a change in the syntax of any of these gives new run ids.
# Whatever of these rooms a model imports counts for it, and these modules count for every model.
_PARTS = ("nbkit.layers", "nbkit.graphs", "nbkit.neighbours", "nbkit.diffusion", "nbkit.models")
_CODE = (
    "nbkit.data.sampling",
    "nbkit.data.sequences",
    "nbkit.training.loop",
    "nbkit.evaluation.ranking",
    "nbkit.evaluation.metrics",
)


@dataclass(frozen=True)
class Noise:
    """One noise operator applied to the data before training; see ``nbkit.data.corrupt``."""

    operator: str
    rate: float
    seed: Seed = 0

    @classmethod
    def parse(cls, text: str, *, seed: int = 0, where: str = "noise") -> Noise:
        """A noise of ``operator:rate`` or ``operator:rate:seed``; ``seed`` is for the first form.

        Raises:
            UserError: another form, an unknown operator, a rate or seed that is no number in range.
        """
        operator, *numbers = text.split(":")
        if len(numbers) not in (1, 2):
            raise UserError(f"{where}: {text!r}; expected OPERATOR:RATE or OPERATOR:RATE:SEED")
        if operator not in corrupt.operators():
            raise UserError(f"{where}: unknown operator {operator!r}; {nearest(operator, corrupt.operators())}")
        known: dict[str, config.Setting] = config.settings_of(cls)  # type: ignore[arg-type]
        names = zip(("rate", "seed"), numbers, strict=False)
        given = {name: known[name].parse(number, where) for name, number in names}
        return cls(operator, **{"seed": seed, **given})

    def __str__(self) -> str:
        return f"{self.operator}:{self.rate:g}"


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run, checked when it is made."""

    model: str
    data: Annotated[str, "boutique:SIZE, or the path of a data folder"] = "boutique:small"
    seed: Seed = 0
    noise: tuple[Noise, ...] = ()
    model_settings: Annotated[Mapping[str, Any], "keyword settings of the model"] = field(default_factory=dict)
    training: TrainSettings = field(default_factory=TrainSettings)
    ks: Annotated[tuple[int, ...], Range(1, 1000), "cut-offs K"] = (5, 10, 20, 50)

    def __post_init__(self) -> None:
        complete = config.check(model_class(self.model), self.model_settings, where=f"model {self.model}")
        object.__setattr__(self, "model_settings", complete)
        _, _, k = self.training.metric.partition("@")
        if not k.isdigit() or int(k) not in self.ks:
            raise UserError(f"metric = {self.training.metric!r}; expected NAME@K with K among {list(self.ks)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Experiment:
        """An experiment from plain data, such as a run's ``settings.json``."""
        return config.build(cls, values, where="experiment")

    @property
    def title(self) -> str:
        """What it is called in a line of progress: ``lightgcn seed 0``, with its noise behind it."""
        return " ".join([self.model, "seed", str(self.seed), *map(str, self.noise)])

    def load_data(self) -> MultimodalDataset:
        """The data set with this experiment's noise in it."""
        return self.damage(catalog.load(self.data))

    def damage(self, dataset: MultimodalDataset) -> MultimodalDataset:
        """A data set with this experiment's noise put into it."""
        for noise in self.noise:
            dataset, _ = corrupt.corrupt(dataset, noise.operator, noise.rate, noise.seed)
        return dataset

    def code_version(self) -> str:
        """The version of the code that computes this experiment."""
        return repro.code_version(*repro.modules_behind(model_class(self.model).__module__, _PARTS), *_CODE)

    def run_id(self, dataset: MultimodalDataset | str) -> str:
        """The identity of this experiment on this data, or data of that fingerprint; where it lies does not count."""
        settings = {name: value for name, value in config.canonical(self).items() if name != "data"}
        fingerprint = dataset if isinstance(dataset, str) else dataset.fingerprint
        return run_id(settings, fingerprint, self.code_version())

    def build(self, dataset: MultimodalDataset) -> Recommender:
        """The model, freshly initialised from this experiment's seed."""
        return build_model(self.model, dataset.sealed(), self.model_settings, repro.generator(self.seed, "weights"))


def run_experiment(
    experiment: Experiment,
    dataset: MultimodalDataset | None = None,
    *,
    root: Path | None = None,
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    test: bool = False,
) -> RunFolder:
    """Train, validate and keep one experiment; a finished one is not computed again, an interrupted one goes on.

    ``dataset`` saves loading it again (it must be this experiment's data, noise included); ``test`` opens the test
    split afterwards.

    Raises:
        RunBusyError: another process is computing this run.
        TrainingDivergedError: a loss became NaN; the run is kept as failed, with its history.
        UserError: bad settings, bad data, or a folder that cannot be written.
    """
    dataset = experiment.load_data() if dataset is None else dataset
    run = RunFolder((runs_dir() if root is None else Path(root)) / experiment.run_id(dataset))
    if run.status != "done":
        with run.hold():
            if run.status != "done":
                result = _train(experiment, dataset, run, device, callbacks)
                if result.status == "stopped":
                    return run
    if test and "test" not in run.read_json(final.METRICS):  # an opening that was interrupted is gone on with
        with run.hold():
            model, where = load_model(run, dataset), pick_device(device)
            final.final_test(run, dataset, model.to(where), ks=experiment.ks, device=where)
    return run


def _train(
    experiment: Experiment,
    dataset: MultimodalDataset,
    run: RunFolder,
    device: str,
    callbacks: Sequence[Callback],
) -> FitResult:
    begin = time.perf_counter()
    view, where = dataset.sealed(), pick_device(device)
    memory = PeakMemory(where)
    model = experiment.build(dataset)
    memory.forget()  # what was needed to find neighbours, or not needed since they were kept, is not the model's
    run.write_json("settings.json", asdict(experiment))
    identity = {
        "data": dataset.fingerprint,
        "name": dataset.name,
        "caveat": dataset.caveat,
        "code": experiment.code_version(),
    }
    run.write_json("environment.json", {**repro.environment(), "device": str(where), "dataset": identity})
    evaluator = final.validation_evaluator(view, ks=experiment.ks, device=where)
    k = int(experiment.training.metric.partition("@")[2])
    selection = final.validation_evaluator(view, ks=[k], device=where)  # while it trains, one K is enough
    checkpoint = run / "checkpoint.safetensors"
    try:
        result = fit(
            model,
            view,
            experiment.training,
            seed=experiment.seed,
            validate=selection,
            device=device,
            callbacks=callbacks,
            checkpoint=checkpoint,
        )
    except TrainingDivergedError as error:
        run.write_table("history.parquet", pd.DataFrame(getattr(error, "history", [])))
        run.fail(str(error))
        raise
    run.write_table("history.parquet", pd.DataFrame(result.history))
    if result.status == "stopped":
        return result
    peak = memory.bytes()
    ranking = final.ranking_tables(view, evaluator, model, "valid", "train")
    run.write_table(final.PER_USER, ranking.users)
    run.write_table(final.PLACES, ranking.places)
    with torch.inference_mode():
        run.write_arrays(
            "embeddings.npz", {name: value.float().cpu().numpy() for name, value in model.export().items()}
        )
    save_weights(run / "model.safetensors", snapshot(model))
    fitted = {
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "train_seconds": sum(row["seconds"] for row in result.history),
        "wall_seconds": time.perf_counter() - begin,
        "parameters": sum(p.numel() for p in model.parameters()),
        "peak_mb": None if peak is None else peak / 2**20,  # of the session that finished it
    }
    run.write_json(final.METRICS, {"fit": fitted, "valid": {"train": final.mean_metrics(ranking.users)}})
    run.finish()
    checkpoint.unlink(missing_ok=True)
    return result


def was_cut_short(run: RunFolder) -> bool:
    """Whether patience ended a finished run while its validation was rising again (:func:`cut_short`)."""
    training = run.read_json("settings.json")["training"]
    history = run.read_table("history.parquet")
    scores = history[f"valid_{training['metric']}"].dropna()
    return cut_short(scores.to_list(), epochs_left=len(history) < training["epochs"])


def load_model(run: RunFolder, dataset: MultimodalDataset | None = None) -> Recommender:
    """The model of a finished run with its best weights, in evaluation mode.

    Raises:
        UserError: the run is not finished, or the data is not what the run was trained on.
    """
    if run.status != "done":
        raise UserError(f"run {run.id} is {run.status}; expected a finished run")
    experiment = Experiment.from_dict(run.read_json("settings.json"))
    dataset = experiment.load_data() if dataset is None else dataset
    trained_on = run.read_json("environment.json")["dataset"]
    if dataset.fingerprint != trained_on["data"]:
        raise UserError(
            f"run {run.id} was trained on {trained_on['name']!r} with another content than {dataset.name!r} has now"
        )
    model = experiment.build(dataset)
    load_weights(model, run / "model.safetensors")
    return model.eval()
