"""What a finished run makes of items: raw features, what the model exports of a modality, and what it ranks by."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from nbkit.data.dataset import MultimodalDataset
from nbkit.errors import UserError, nearest
from nbkit.models.base import Recommender
from nbkit.runs import RunFolder
from nbkit.studies.experiment import Experiment
from nbkit.training.checkpoint import load_weights


def by_modality(exported: Mapping[str, torch.Tensor], dataset: MultimodalDataset) -> dict[str, dict[str, np.ndarray]]:
    """Tables that a model exports as ``<table>_<modality>``, ``(I, D)``, by table and modality."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, table in exported.items():
        modality = max((m for m in dataset.modalities if name.endswith(f"_{m}")), key=len, default=None)
        if modality is not None:
            found.setdefault(name.removesuffix(f"_{modality}"), {})[modality] = table.float().cpu().numpy()
    return found


@torch.inference_mode()
def stages(model: Recommender, dataset: MultimodalDataset, modality: str) -> dict[str, np.ndarray]:
    """Item tables in the order in which they come about: ``raw``, the model's own of that modality, ``fused``.

    Shapes: ``raw`` ``(I, D_m)``, the others ``(I, D)``; ``fused`` is the item side of the ranking.

    Raises:
        UserError: a modality that the data has not.
    """
    if modality not in dataset.features:
        raise UserError(
            f"data set {dataset.name!r} has no modality {modality!r}; {nearest(modality, dataset.modalities)}"
        )
    exported = model.export()
    own = {name: of[modality] for name, of in by_modality(exported, dataset).items() if modality in of}
    return {"raw": dataset.features[modality], **own, "fused": exported["item"].float().cpu().numpy()}


def weights_on(run: RunFolder, dataset: MultimodalDataset) -> Recommender:
    """The model of a finished run, given data it was not trained on: its weights, the other's features and graphs.

    For what noise does to a model that has never met it; users and items must be those of the run. Features that were
    trained are weights: they come from the run, and damage to them is not seen.

    Raises:
        UserError: the run is not finished, or its weights do not fit the data.
    """
    if run.status != "done":
        raise UserError(f"run {run.id} is {run.status}; expected a finished run")
    model = Experiment.from_dict(run.read_json("settings.json")).build(dataset)
    load_weights(model, run / "model.safetensors")
    return model.eval()
