"""What finished models find of the noise that was injected into their data: :mod:`nbkit.evaluation.denoising` of runs.

Planted noise, as in the built-in shop, is left out of the question: injected pairs are told from genuine ones alone.
``P`` training pairs, ``n`` units (users or items), ``S`` seeds.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from nbkit.data.corrupt import corrupt
from nbkit.data.dataset import MultimodalDataset, Truth
from nbkit.errors import UserError
from nbkit.evaluation.denoising import linear_cka, noise_auc, noise_average_precision, profile_cosine
from nbkit.evaluation.recovery import Values, summary
from nbkit.runs import RunFolder
from nbkit.studies.datasets import Datasets
from nbkit.studies.experiment import Experiment, load_model
from nbkit.studies.recovery import offered

COLUMNS = ["model", "operator", "rate", "seeds", "measure", "modality", "table", "value", "low", "high", "n"]


def injected_recovery(
    runs: Iterable[RunFolder],
    generator: np.random.Generator,
    *,
    datasets: Datasets | None = None,
    device: str | torch.device = "cpu",
    level: float = 0.95,
    resamples: int = 2_000,
) -> pd.DataFrame:
    """One row a number: model, operator, rate, seeds, then the columns of :func:`nbkit.evaluation.recovery.summary`.

    Of injected training pairs: ``noise AUC`` and ``noise AP`` of the model's credibility, beside the cosine of each
    item with the user's others; by chance .5, and the share of injected pairs. Of injected content: ``CKA with clean``
    of raw and exported features, in each touched modality. A table that loses what is beside the point in clean
    features agrees less with them, too: of ``denoised - projected`` only a value above 0 says something, namely that
    damage is undone.

    Means over seeds, whose noise differs; intervals over units and seeds. Runs on clean data, of models that offer
    neither, or under noise that leaves nothing to find (dropped pairs) have no row: the table may be empty.

    Raises:
        UserError: a run that is not finished, one with several noises, or seeds twice.
    """
    datasets = datasets or Datasets()
    found: dict[tuple[str, str, float], dict[int, Values]] = {}
    for run in runs:
        experiment = Experiment.from_dict(run.read_json("settings.json"))
        if not experiment.noise:
            continue
        if len(experiment.noise) > 1:
            raise UserError(f"run {run.id} has {len(experiment.noise)} kinds of noise; expected one, or clean data")
        noise = experiment.noise[0]
        by_seed = found.setdefault((experiment.model, noise.operator, noise.rate), {})
        if experiment.seed in by_seed:
            raise UserError(f"two runs are {experiment.title}; expected each condition once")
        clean = datasets.clean(experiment.data)
        dataset, own = corrupt(clean, noise.operator, noise.rate, noise.seed)
        by_seed[experiment.seed] = _values(run, dataset, own, clean.truth, device)
    frames = []
    for (model, operator, rate), by_seed in found.items():
        first, *_ = by_seed.values()
        stacked = {
            key: {table: np.stack([values[key][table] for values in by_seed.values()]) for table in of}
            for key, of in first.items()
        }
        frame = summary(stacked, generator, level=level, resamples=resamples)
        head = {"model": model, "operator": operator, "rate": rate, "seeds": len(by_seed)}
        frames.append(pd.concat([pd.DataFrame(head, index=frame.index), frame], axis=1)[COLUMNS])
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS)


def _values(
    run: RunFolder, dataset: MultimodalDataset, own: Truth, planted: Truth | None, device: str | torch.device
) -> Values:
    model = load_model(run, dataset).to(device)
    denoised, credibility = offered(model, dataset)
    found: Values = {}
    if credibility is not None and len(own.noisy_pairs):
        pairs = dataset.train.pairs()
        scores = {f"cosine {m}": profile_cosine(pairs, x) for m, x in dataset.features.items()}
        scores["credibility"] = credibility
        noisy = _among(pairs, own.noisy_pairs)
        judged = ~_among(pairs, (planted or Truth()).noisy_pairs)
        for name, measure in (("noise AUC", noise_auc), ("noise AP", noise_average_precision)):
            found[name, "all"] = {
                table: _of_all_users(measure(score[judged], noisy[judged], pairs[judged, 0]), pairs, judged)
                for table, score in scores.items()
            }
    for modality, clean in own.clean_features.items():
        tables = {name: of[modality] for name, of in denoised.items() if modality in of}
        if tables:
            tables = {"raw": dataset.features[modality], **tables}
            found["CKA with clean", modality] = {name: linear_cka(table, clean) for name, table in tables.items()}
    return found


def _among(pairs: np.ndarray, some: np.ndarray) -> np.ndarray:
    width = int(max(pairs[:, 1].max(), some[:, 1].max(initial=0))) + 1
    return np.isin(pairs @ [width, 1], some @ [width, 1])


def _of_all_users(values: np.ndarray, pairs: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """Pseudo-values of users with a judged pair as those of all who trained: who has none does not move the measure.

    So that seeds, whose noise is not the same, have the same units.
    """
    everyone = np.unique(pairs[:, 0])
    some = np.isin(everyone, pairs[judged, 0])
    spread = np.full(len(everyone), values.mean())
    spread[some] += (values - values.mean()) * len(everyone) / len(values)
    return spread
