"""Recommendations of a trained model as a table that people can read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from nbkit.data.dataset import TrainingView
from nbkit.data.sequences import Past, joined
from nbkit.evaluation.ranking import PairTable, rank, scorer
from nbkit.models.base import Recommender


def recommendations(model: Recommender, data: TrainingView, users: Sequence[int] | None, k: int) -> pd.DataFrame:
    """Best ``k`` unseen items of users by row number (None: all), one row an item.

    Columns: user_id, rank from 1, item_id, title where items have one, score. Items of a user's training and
    validation interactions are no candidates, and the history that a sequential model reads; a user who has seen
    nearly all gets fewer rows.
    """
    where = next(model.parameters()).device
    chosen = torch.tensor(range(data.num_users) if users is None else list(users), device=where)
    seen = [PairTable(part.pairs(), data.num_users, where) for part in (data.train, data.valid)]
    score = scorer(model, Past(data, joined(data.train, data.valid)))
    with torch.inference_mode():
        parts = [[t.cpu().numpy() for t in part] for part in rank(score, chosen, k, seen, data.num_items)]
    rows, items, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    user, place = np.nonzero(items >= 0)
    item = items[user, place]
    table = {"user_id": data.user_ids[rows[user]], "rank": place + 1, "item_id": data.item_ids[item]}
    if data.item_table is not None and "title" in data.item_table:
        table["title"] = data.item_table["title"].to_numpy()[item]
    return pd.DataFrame({**table, "score": scores[user, place]})
