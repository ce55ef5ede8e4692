"""What finished models recover of known noise, over seeds and experiments: :mod:`nbkit.evaluation.recovery` of runs.

``P`` training pairs, ``I`` items, ``D`` width, ``n`` units (users or items), ``S`` seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import torch

from nbkit import config, repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.data.sampling import TripleSampler
from nbkit.errors import UserError
from nbkit.evaluation.recovery import Values, recovery_values, summary
from nbkit.models.base import Recommender
from nbkit.runs import RunFolder
from nbkit.studies.embeddings import by_modality
from nbkit.studies.experiment import Experiment, load_model
from nbkit.studies.store import flatten

DRAWS = 10  # of an unobserved item for every pair: a credibility is their mean


def recovery(
    runs: Sequence[RunFolder],
    generator: np.random.Generator,
    dataset: MultimodalDataset | None = None,
    *,
    device: str | torch.device = "cpu",
    level: float = 0.95,
    resamples: int = 2_000,
) -> pd.DataFrame:
    """The recovery table of each experiment among the runs, and how experiments differ; one run is one of one seed.

    Runs with the same settings but the seed are one experiment; its numbers are means over seeds, their intervals cover
    units and, from two seeds on, seeds (:func:`nbkit.evaluation.stats.mean_interval`; nothing corrects for the number
    of rows). Experiments named "b - a" are what a later one's tables have above an earlier one's, paired by seed and
    unit. Columns: experiment, seeds, then those of :func:`nbkit.evaluation.recovery.summary`.

    Raises:
        UserError: no run, an unfinished one, runs on different data, a seed twice, experiments of different seeds,
            data without truth, or a model that denoises nothing that can be measured.
    """
    found = experiments(runs)
    dataset = Experiment.from_dict(runs[0].read_json("settings.json")).load_data() if dataset is None else dataset
    measured: dict[str, Values] = {}
    for name, by_seed in found.items():
        each = [_values(run, dataset, device) for run in by_seed.values()]
        measured[name] = {
            key: {table: np.stack([values[key][table] for values in each]) for table in of}
            for key, of in each[0].items()
        }
    differences = {f"{b} - {a}": _difference(measured[a], measured[b]) for a, b in combinations(measured, 2)}
    seeds = len(next(iter(found.values())))
    frames = []
    for name, of in (measured | differences).items():
        if not of:  # experiments that have no table in common
            continue
        frame = summary(of, generator, level=level, resamples=resamples)
        frame.insert(0, "experiment", name)
        frame.insert(1, "seeds", seeds)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def experiments(runs: Sequence[RunFolder]) -> dict[str, dict[int, RunFolder]]:
    """Runs by experiment, in order of appearance, then by seed; named by model and the settings in which it varies.

    Raises:
        UserError: as :func:`recovery`.
    """
    if not runs:
        raise UserError("no run given; expected at least one finished run")
    table = pd.DataFrame([_described(run) for run in runs]).fillna("unset")
    foreign = table["fingerprint"] != table["fingerprint"][0]
    if foreign.any():
        raise UserError(
            f"runs {runs[0].id} and {runs[int(foreign.argmax())].id} were trained on different data; "
            "expected one data set, its noise included"
        )
    settings = table.drop(columns=["model", "seed", "fingerprint"])
    found: dict[str, dict[int, RunFolder]] = {}
    for row, run in enumerate(runs):
        same_model = settings[table["model"] == table["model"][row]]
        varies = same_model.columns[same_model.nunique() > 1]
        name = " ".join([table["model"][row], *(f"{key.rpartition('.')[2]}={settings[key][row]}" for key in varies)])
        seed = int(table["seed"][row])
        if other := found.setdefault(name, {}).get(seed):
            raise UserError(f"runs {other.id} and {run.id} are both {name}, seed {seed}; expected each seed once")
        found[name][seed] = run
    found = {name: dict(sorted(by_seed.items())) for name, by_seed in found.items()}
    first = next(iter(found))
    for name, by_seed in found.items():
        if list(by_seed) != list(found[first]):
            own, others = (", ".join(map(str, some)) for some in (by_seed, found[first]))
            raise UserError(f"experiment {name!r} has seeds {own}; expected those of {first!r}: {others}")
    return found


def _described(run: RunFolder) -> dict[str, str]:
    """What decides a run's numbers, as text; where its data lay does not."""
    settings, trained = run.read_json("settings.json"), run.read_json("environment.json")["dataset"]
    texts = {key: config.canonical_json(value).strip('"') for key, value in flatten(settings).items() if key != "data"}
    return texts | {"code": trained["code"], "fingerprint": trained["data"]}


def _values(run: RunFolder, dataset: MultimodalDataset, device: str | torch.device) -> Values:
    model = load_model(run, dataset).to(device)
    denoised, credibility = offered(model, dataset)
    if not denoised and credibility is None:
        raise UserError(
            f"run {run.id}: model {model.name} exports no features named TABLE_MODALITY and has no credibility; "
            "expected a model that denoises, such as jbm_diff"
        )
    # The same folds for every run: no difference between runs comes from them.
    return recovery_values(dataset, denoised, repro.numpy_generator(0, "recovery/folds"), credibility=credibility)


@torch.inference_mode()
def offered(
    model: Recommender, dataset: MultimodalDataset
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray | None]:
    """What a model says about noise: item features, and a credibility of training pairs if it has one.

    Features are what it exports as ``<table>_<modality>``, ``(I, D)``, by table and modality. The credibility ``(P,)``
    of ``data.train.pairs()`` is the mean of ``model.credibility(users, positives, negatives)`` over 10 fixed draws
    of negatives.
    """
    denoised = by_modality(model.export(), dataset)
    judge = getattr(model, "credibility", None)
    if judge is None:
        return denoised, None
    pairs = torch.from_numpy(dataset.train.pairs())
    sampler = TripleSampler(pairs, dataset.num_users, dataset.num_items)
    where = next(model.parameters()).device
    total = torch.zeros(len(pairs))
    for draw in range(DRAWS):
        negatives = sampler.negatives(pairs[:, 0], repro.generator(draw, "credibility"))
        total += judge(*(x.to(where) for x in (*pairs.T, negatives))).float().cpu()
    return denoised, (total / DRAWS).numpy()


def _difference(a: Values, b: Values) -> Values:
    """What b's own tables have above a's, where both have the table; raw features and their cosines are the data's."""
    both = {
        key: {
            table: b[key][table] - values
            for table, values in of.items()
            if table in b.get(key, {}) and table.split()[0] not in ("raw", "cosine")
        }
        for key, of in a.items()
    }
    return {key: of for key, of in both.items() if of}
