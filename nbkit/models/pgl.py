"""PGL: no item identities; projected features propagated over a principal subgraph and a frozen item graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.linalg import svds
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Range, Weight
from nbkit.graphs import SparseGraph, normalised_values, thinned, user_item_graph
from nbkit.layers import dropout as dropped
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.item_graphs import ImageWeight, Neighbours, Source, frozen_item_graph
from nbkit.models.layers import ProjectedFeatures, embedding, info_nce, product_bpr

ENDS = 0.25  # share of the components kept at either end of the spectrum
LEAST = 1e-3  # entries of the reconstruction below it are no edges
ROWS = 1024  # users whose reconstructed rows are held at a time: bounds memory, whatever their number
LOGS = "authors' logs, which train the raw features"

Spectrum = Literal["ends", "product"]


class PGL(CollaborativeRecommender):
    """LightGCN over a part of the user-item graph in training, over all of it in evaluation; items are their features.

    x_i,m = norm(W_m f_i,m + b_m), and one p_u,m a modality;  Z_m = mean_l Âˡ [P_m; X_m];  e_i,m = z_i,m + (S X_m)_i;
    z, e = the modalities side by side;  s_ui = z_u · e_i;
    L = BPR + contrast · ½ (InfoNCE_τ(δ z_u, δ' z_u) + InfoNCE_τ(δ e_i, δ' e_i)), δ, δ' two dropouts, i the positives.

    Â in training, ``subgraph``: ``local`` keeps a share of the edges, drawn each epoch without replacement with
    probability ∝ 1/√(d_u d_i), and normalises what is left; ``global`` is :func:`spectral_subgraph`, drawn nowhere.

    Shapes: each modality ``(U + I, D)``, users first; scored vectors ``M · D`` wide; item graph ``(I, I)``.
    Source: Yu et al., AAAI 2025, and the authors' code, which trains the raw features (``train_features``) and lets lr
    fall by .96 in 50 epochs, little in its runs of 90 to 220; MMRec's port of it has the contrast's weight at 0.
    """

    pairs: Tensor

    name = "pgl"
    paper = Paper(
        "Mind Individual Information! Principal Graph Learning for Multimedia Recommendation",
        "AAAI 2025",
        "https://doi.org/10.1609/aaai.v39i12.33429",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset(LOGS, {"dropout": 0.2, "contrast": 0.05}, {"lr_decay": 0.96}),
        "sports": Preset(LOGS, {"dropout": 0.05, "contrast": 0.1}, {"lr_decay": 0.96}),
        "clothing": Preset(LOGS, {"dropout": 0.1, "contrast": 0.5}, {"lr_decay": 0.96}),
    }
    grid = Grid("the authors' logs, widened", {"dropout": (0.05, 0.1, 0.2), "contrast": (0.01, 0.05, 0.1, 0.5)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 2,
        subgraph: Annotated[Literal["local", "global"], "what is propagated over in training"] = "local",
        edge_dropout: Annotated[Dropout, "local: share of edges left out each epoch"] = 0.7,
        rank: Annotated[int, Range(1, 4096), "global: singular vectors of the user-item matrix"] = 32,
        spectrum: Annotated[Spectrum, "global: ends as in the paper, product as in its code"] = "ends",
        neighbours: Neighbours = 10,
        image_weight: ImageWeight = 0.1,
        item_graph: Source = "features",
        contrast: Annotated[Weight, "weight of the contrast of two dropouts; 0 leaves it out"] = 0.05,
        temperature: Annotated[float, Range(0.01, 10), "τ of the contrast"] = 0.2,
        dropout: Annotated[Dropout, "share of entries left out of each contrasted view"] = 0.2,
        train_features: Annotated[bool, "train the raw features, as the authors do"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_users, self.num_items, self.layers = inputs.num_users, inputs.num_items, layers
        self.edge_dropout = edge_dropout if subgraph == "local" else 0.0
        self.contrast, self.temperature, self.dropout = contrast, temperature, dropout
        self.register_buffer("pairs", inputs.pairs, persistent=False)
        self.graph = self.sampled = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        if subgraph == "global":
            self.sampled = spectral_subgraph(inputs.pairs, inputs.num_users, inputs.num_items, rank, spectrum)
        self.item_graph = frozen_item_graph(inputs, neighbours, image_weight, item_graph)
        self.users, self.content = nn.ParameterDict(), nn.ModuleDict()
        for m, features in inputs.features.items():
            self.users[m] = embedding(inputs.num_users, dim, generator)
            self.content[m] = ProjectedFeatures(features, dim, generator, trained=train_features)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draw the edges of this epoch."""
        if self.edge_dropout:
            kept = thinned(self.pairs, self.edge_dropout, generator)
            self.sampled = user_item_graph(kept, self.num_users, self.num_items)

    def tables(self) -> list[Tensor]:
        """[P_m; X_m] of each modality in the order of their names, ``(U + I, D)``."""
        return [torch.cat([users, F.normalize(self.content[m](), dim=1)]) for m, users in self.users.items()]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        rows = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        # One modality at a time: a bag of narrow rows is cheaper than one of wide rows.
        propagated = [
            self.sampled.propagate_rows(table, self.layers, rows, hop=self.item_graph)[0] for table in self.tables()
        ]
        user, positive, negative = torch.cat(propagated, dim=1).chunk(3)
        parts = {"bpr": product_bpr(user, positive, negative)}
        if self.contrast:
            losses = []
            for vectors in (user, positive):
                first, second = (dropped(vectors, self.dropout, batch.generator) for _ in range(2))
                losses.append(info_nce(first, second, self.temperature))
            parts["contrast"] = self.contrast * torch.stack(losses).mean()
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = [], []
        for table in self.tables():
            z_users, z_items = self.graph.propagate(table, self.layers).tensor_split([self.num_users])
            users.append(z_users)
            items.append(z_items + self.item_graph(table[self.num_users :]))
        return torch.cat(users, dim=1), torch.cat(items, dim=1)

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` ``(I, D)``, the items' projected features."""
        return {**super().export(), **{f"projected_{m}": content() for m, content in self.content.items()}}


def spectral_subgraph(pairs: Tensor, num_users: int, num_items: int, rank: int, spectrum: Spectrum) -> SparseGraph:
    """The user-item graph rebuilt from some of its largest singular vectors, small entries left out: ``(N, N)``.

    R̂ = Σ_k w_k u_k v_kᵀ of the normalised R, largest σ first, |entries| under 10⁻³ dropped. ``ends``, the paper's: of
    ``rank`` components the first and the last quarter, w_k = σ_k. ``product``, the authors' code: the first quarter,
    w_k = σ_k σ_l, l the component at its place in the last quarter. Every singular value of R occurs twice in the
    adjacency of all nodes, so their 64 components are 32 here. Rows are rebuilt a chunk at a time.
    Source: Yu et al., AAAI 2025, global-aware extraction; the text of it is known to us from others' implementations.
    """
    users, items = pairs.unbind(1)
    weights = normalised_values(users, items, (num_users, num_items))
    matrix = csr_array((weights.double().numpy(), (users.numpy(), items.numpy())), shape=(num_users, num_items))
    size = min(matrix.shape)
    if rank < size:
        u, sigma, v = svds(matrix, rank, v0=np.ones(size))  # the start is given: no draw
    else:
        u, sigma, v = np.linalg.svd(matrix.toarray(), full_matrices=False)
    order = np.argsort(-sigma)
    u, sigma, v = u[:, order], sigma[order], v[order]
    quarter = max(1, int(ENDS * len(sigma)))
    if spectrum == "product":
        chosen, weight = np.arange(quarter), sigma[:quarter] * sigma[-quarter:]
    else:
        chosen = np.unique(np.r_[:quarter, len(sigma) - quarter : len(sigma)])
        weight = sigma[chosen]
    found = []
    for start in range(0, num_users, ROWS):
        block = (u[start : start + ROWS, chosen] * weight) @ v[chosen]
        user, item = np.nonzero(np.abs(block) >= LEAST)
        found.append((user + start, item + num_users, block[user, item]))
    rows, columns, values = (torch.from_numpy(np.concatenate(part)) for part in zip(*found, strict=True))
    both = torch.cat([rows, columns]), torch.cat([columns, rows]), values.repeat(2)
    return SparseGraph(*both, (num_users + num_items,) * 2, symmetric=True)
