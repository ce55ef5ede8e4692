"""Why a user is recommended what: a run's list, what of the history it resembles, and what the score rests on."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd
import torch

from nbkit import repro
from nbkit.data.dataset import MultimodalDataset
from nbkit.data.sequences import Past
from nbkit.errors import UserError
from nbkit.evaluation.denoising import unit_rows
from nbkit.evaluation.ranking import PairTable, rank, scorer
from nbkit.models.base import Recommender, Score
from nbkit.runs import RunFolder
from nbkit.studies.embeddings import weights_on
from nbkit.studies.experiment import load_model
from nbkit.studies.recovery import offered

IDS = "ids and clicks"  # what is left of a score when the features of all modalities are shuffled


class Inspection:
    """One finished run, asked about single users. Held-out items are those of validation: test stays sealed."""

    def __init__(self, run: RunFolder, dataset: MultimodalDataset) -> None:
        self.run, self.dataset = run, dataset
        self.model = load_model(run, dataset)
        self.name = str(run.read_json("settings.json")["model"])
        self._seen = PairTable(dataset.train.pairs(), dataset.num_users)
        self._held = PairTable(dataset.valid.pairs(), dataset.num_users)

    def history(self, user: int) -> np.ndarray:
        """Items of the user's training clicks, in the order of the data."""
        self._check(user)
        return self._seen.entries(torch.tensor([user]))[1].numpy()

    def held_out(self, user: int) -> np.ndarray:
        """Items of validation."""
        self._check(user)
        return self._held.entries(torch.tensor([user]))[1].numpy()

    @torch.inference_mode()
    def listed(self, user: int, k: int = 10) -> pd.DataFrame:
        """The best ``k`` items that the user has not clicked in training: rank from 1, item, score, hit."""
        self._check(user)
        ((_, items, scores),) = rank(
            self._score, torch.tensor([user]), min(k, self.dataset.num_items), [self._seen], self.dataset.num_items
        )
        found = items[0].numpy() >= 0
        table = pd.DataFrame({"item": items[0].numpy()[found], "score": scores[0].numpy()[found]})
        table.insert(0, "rank", np.arange(1, len(table) + 1))
        return table.assign(hit=table["item"].isin(self.held_out(user)))

    def because(self, user: int, item: int, n: int = 3) -> pd.DataFrame:
        """The ``n`` items of the history that are nearest to the item, by cosine of what the model ranks by."""
        history = np.unique(self.history(user))
        cosines = self._unit[history] @ self._unit[item]
        order = np.argsort(-cosines, kind="stable")[:n]
        return pd.DataFrame({"item": history[order], "cosine": cosines[order]})

    def credibility(self, user: int) -> np.ndarray | None:
        """How far the model believes each click of :meth:`history`, about 1 in the mean; None if it believes all."""
        if self._belief is None:
            return None
        mine = self.dataset.train.pairs()[:, 0] == user
        return np.asarray(self._belief[mine])

    def score_parts(self, user: int, item: int, *, shuffles: int = 3, seed: int = 0) -> pd.DataFrame:
        """What a score rests on: columns part, value; the first is the score itself.

        A modality's value is what the score loses when that modality's rows are shuffled among items, the trained
        weights kept, mean of ``shuffles`` draws; ``IDS`` is the score when all are. Modalities interact, so parts need
        not sum up to the score. Source: permutation importance, Breiman, Machine Learning 2001, section 10.
        """
        self._check(user)
        full = self._score_of(self.model, user, item)

        def without(*modalities: str) -> float:
            models = [self._shuffled(modalities, seed + n) for n in range(shuffles)]
            return float(np.mean([self._score_of(model, user, item) for model in models]))

        modal = [(modality, full - without(modality)) for modality in self.dataset.modalities]
        rows = [("score", full), *modal, (IDS, without(*self.dataset.modalities))]
        return pd.DataFrame(rows, columns=["part", "value"])

    @cached_property
    def _score(self) -> Score:
        return scorer(self.model, Past(self.dataset, self.dataset.train))

    @cached_property
    def _unit(self) -> np.ndarray:
        with torch.inference_mode():
            return unit_rows(self.model.export()["item"].float().numpy())

    @cached_property
    def _belief(self) -> np.ndarray | None:
        return offered(self.model, self.dataset)[1]

    def _shuffled(self, modalities: tuple[str, ...], seed: int) -> Recommender:
        """The run's weights on data whose features of these modalities belong to other items; built once."""
        key = (modalities, seed)
        if key not in self._models:
            order = repro.numpy_generator(seed, "shuffled features").permutation(self.dataset.num_items)
            features = {m: x[order] if m in modalities else x for m, x in self.dataset.features.items()}
            self._models[key] = weights_on(self.run, self.dataset.replace(features=features))
        return self._models[key]

    @cached_property
    def _models(self) -> dict[tuple[tuple[str, ...], int], Recommender]:
        return {}

    def _score_of(self, model: Recommender, user: int, item: int) -> float:
        return float(scorer(model, Past(self.dataset, self.dataset.train))(torch.tensor([user]))[0, item])

    def _check(self, user: int) -> None:
        if not 0 <= user < self.dataset.num_users:
            raise UserError(f"user = {user}; expected a row from 0 to {self.dataset.num_users - 1}")
