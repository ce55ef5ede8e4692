"""Rankers that learn nothing, to hold learned ones against: popularity, item cosine, content profile."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from nbkit.data.dataset import TrainingView
from nbkit.evaluation.ranking import Score


def train_matrix(view: TrainingView) -> sp.csr_matrix:
    """Training pairs as a 0/1 matrix ``(U, I)``."""
    pairs = view.train.pairs()
    shape = (view.num_users, view.num_items)
    return sp.csr_matrix((np.ones(len(pairs), dtype=np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)


def popularity(view: TrainingView) -> Score:
    """The same list for everybody: items by number of training users."""
    counts = torch.from_numpy(np.bincount(view.train.pairs()[:, 1], minlength=view.num_items)).float()
    return lambda users: counts.expand(len(users), -1).clone()


def item_cosine(view: TrainingView) -> Score:
    """Sum over the user's training items of the cosine between item columns. Source: Sarwar et al., WWW 2001."""
    matrix = train_matrix(view)
    norms = np.sqrt(np.asarray(matrix.sum(0)).ravel()).clip(min=1e-12)
    unit = matrix @ sp.diags_array(1 / norms, dtype=np.float32)
    unit = sp.csr_matrix(unit)

    def score(users: Tensor) -> Tensor:
        # (B, I) through the users' histories: memory stays B × I, the I × I matrix is never built.
        history = sp.csr_matrix(matrix[users.numpy()] @ sp.diags_array(1 / norms, dtype=np.float32))
        return torch.from_numpy(((history @ matrix.T) @ unit).toarray())

    return score


def content_profile(view: TrainingView, modality: str) -> Score:
    """Sum over the user's training items of the cosine between raw features of one modality."""
    unit = F.normalize(torch.tensor(view.features[modality]), dim=1)
    profile = torch.from_numpy(train_matrix(view) @ unit.numpy())
    return lambda users: profile[users] @ unit.T
