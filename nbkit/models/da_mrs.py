"""DA-MRS: item graphs that all modalities agree on, two alignments, pairs believed as far as views confirm them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Layers, Range, Weight
from nbkit.graphs import SparseGraph, edge_graph, neighbour_graph, user_item_graph
from nbkit.models.alignment import neighbour_discrimination, preference_divergence
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import node_table
from nbkit.neighbours import agreeing, alike, together

SETTINGS, TRAINING = {"alpha": 1.5, "beta": 1.5}, {"batch_size": 4096}


class DAMRS(CollaborativeRecommender):
    """LightGCN with item views over denoised graphs, both aligned, and a BPR that believes what the views confirm.

    Views       h_v = Ŝ_v Q, Ŝ_v = D^-½ S_v D^-½ of 0/1 edges: for a modality each item's k nearest among those at
                least as alike as the mean pair in every modality; for behaviour those that share most users (at least
                ``least_shared``) and the item itself. Features are for these graphs alone.
    Score       Z = mean_{l=0..L} Âˡ [P; Q];  h̄ = mean_v h_v;  s_ui = z_u · (z_i + h̄_i).
    Belief      p_v = σ(z_u · h_v,i/‖h_v,i‖);  w⁺ = (mean_v p_v)^α exp(-β var_v p_v);
                w⁻ = max_v p_v - n̄ where mean_v p_v < n̄, else 0; n̄ the mean of σ(z_u · h_v,j/‖h_v,j‖) over batch and
                views. Neither has a gradient.
    L = -mean [w⁺ log σ(s_ui - s_uj) + w⁻ log σ(s_uj - s_ui)] + λ_U divergence of users' preferences by z_i and by h̄_i
    + λ_I neighbour discrimination of the views (``alignment``), over the distinct users and items of the batch.
    A weight of 0 leaves its part out, exactly; ``parts`` turns off what the authors' ablation logs do.

    Shapes: ``nodes`` ``(U + I, D)``, users first; V = M + 1 views ``(I, D)``. Source: Xv et al., KDD 2024, on LightGCN;
    equations, α = 1 and β = 2 as in the authors' code (w⁻ by one n̄ a batch). The first losses of their logs show
    α = 1.5 for the full model on Baby and Clothing, and no weights at all on Sports.
    """

    name = "da_mrs"
    paper = Paper(
        "Improving Multi-modal Recommender Systems by Denoising and Aligning Multi-modal Content and User Feedback",
        "KDD 2024",
        "https://arxiv.org/abs/2406.12501",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset("its authors' logs", SETTINGS, TRAINING),
        "sports": Preset("as on Baby; its authors' log of Sports is one without weights", SETTINGS, TRAINING),
        "clothing": Preset("its authors' logs", SETTINGS, TRAINING),
    }
    grid = Grid(
        "ours", {"layers": (2, 3), "align_users": (0.1, 1.0, 3.0), "align_items": (1e-3, 1e-2)}, {"lr": (1e-3, 5e-4)}
    )
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "denoised": {"agreement": False, "least_shared": 1},
        "align_users": {"align_users": 0.0},
        "align_items": {"align_items": 0.0},
        "credibility": {"weighting": False},
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 2,
        neighbours: Annotated[int, Range(1, 1000), "k of each modality's item graph, the item itself counted"] = 10,
        agreement: Annotated[bool, "neighbours must be alike in every modality; else in the graph's own"] = True,
        behaviour_neighbours: Annotated[int, Range(1, 1000), "most items of the behaviour graph beside the item"] = 2,
        least_shared: Annotated[int, Range(1), "fewest users that neighbours by behaviour share"] = 2,
        align_users: Annotated[Weight, "λ_U: preferences by behaviour and by item views made alike"] = 1.0,
        align_items: Annotated[Weight, "λ_I: neighbours told apart within each item view"] = 1e-3,
        relations: Annotated[int, Range(1, 1000), "neighbours of each grade that λ_I draws near"] = 10,
        anchors: Annotated[int, Range(0), "most items a step that λ_I starts from, drawn; 0: all of the batch"] = 0,
        temperature: Annotated[float, Range(0.05, 10), "τ of λ_I's contrast"] = 0.2,
        weighting: Annotated[bool, "weigh pairs by their credibility and reverse doubted ones; else plain BPR"] = True,
        alpha: Annotated[float, Range(0, 10), "α: exponent of the mean belief in w⁺"] = 1.0,
        beta: Annotated[float, Range(0, 100), "β: how much disagreement of views lowers w⁺"] = 2.0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.num_users, self.weighting = layers, inputs.num_users, weighting
        self.alpha, self.beta = alpha, beta
        self.align_users, self.align_items = align_users, align_items
        self.relations, self.anchors, self.temperature = relations, anchors, temperature
        self.names = sorted(inputs.features)
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        modal = self._modal_graphs([inputs.features[m] for m in self.names], neighbours, agreement)
        users, items = inputs.pairs.unbind(1)
        rows, columns, _ = together(items, users, inputs.num_items, behaviour_neighbours, least=least_shared)
        own = torch.arange(inputs.num_items)
        rows, columns = torch.cat([own, rows]), torch.cat([own, columns])
        behaviour = edge_graph(rows, columns, torch.ones(len(rows)), inputs.num_items)
        self.item_graphs = nn.ModuleList([*modal, behaviour])

    @staticmethod
    def _modal_graphs(features: list[Tensor], k: int, agreement: bool) -> list[SparseGraph]:
        if not agreement:
            return [neighbour_graph(alike(f, k)[0]) for f in features]
        rows, columns = agreeing(features, k)
        return [edge_graph(rows, c, torch.ones(len(rows)), len(features[0])) for c in columns]

    def views(self) -> Tensor:
        """h of each modality in the order of their names, then of behaviour: ``(V, I, D)``."""
        return torch.stack([graph(self.nodes[self.num_users :]) for graph in self.item_graphs])

    def _belief(self, user: Tensor, views: Tensor, positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
        """w⁺ and w⁻, ``(B,)`` each, of users' vectors ``(B, D)`` and items."""
        unit = F.normalize(views, dim=2)
        p, n = (torch.sigmoid((user * unit[:, items]).sum(2)) for items in (positives, negatives))  # (V, B)
        mean, usual = p.mean(0), n.mean()
        weight = mean**self.alpha * torch.exp(-self.beta * p.var(0))
        return weight, (p.amax(0) - usual).clamp(min=0) * (mean < usual)

    @torch.no_grad()
    def credibility(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """w⁺ of observed pairs, ``(B,)`` within 0 … 1, low for suspected noise; the negatives have no part in it."""
        user = self.graph.propagate_rows(self.nodes, self.layers, users)[0]
        return self._belief(user, self.views(), positives, negatives)[0]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        users, user_place = torch.unique(batch.users, return_inverse=True)
        items, item_place = torch.unique(torch.cat([batch.positives, batch.negatives]), return_inverse=True)
        rows = torch.cat([users, items + self.num_users])
        z, _ = self.graph.propagate_rows(self.nodes, self.layers, rows)
        z_user, z_item = z.tensor_split([len(users)])
        views = self.views()
        content = views.mean(0).index_select(0, items)
        user = z_user.index_select(0, user_place)
        positive, negative = (z_item + content).index_select(0, item_place).chunk(2)
        gap = (user * (positive - negative)).sum(1)
        parts = {}
        if self.weighting:
            believed, doubted = self._belief(user.detach(), views.detach(), batch.positives, batch.negatives)
            parts["bpr"] = (believed * F.softplus(-gap)).mean()
            parts["reversal"] = (doubted * F.softplus(gap)).mean()
        else:
            parts["bpr"] = F.softplus(-gap).mean()
        if self.align_users:
            parts["align_users"] = self.align_users * preference_divergence(z_user, z_item, content)
        if self.align_items:
            if 0 < self.anchors < len(items):  # the same loss in expectation, at a cost that is a share of it
                drawn = torch.randperm(len(items), generator=batch.generator, device=items.device)
                items = items[drawn[: self.anchors]]
            apart = neighbour_discrimination(views, items, k=self.relations, temperature=self.temperature)
            parts["align_items"] = self.align_items * apart
        return parts

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.graph.propagate(self.nodes, self.layers).tensor_split([self.num_users])
        return users, items + self.views().mean(0)

    def export(self) -> dict[str, Tensor]:
        """Adds ``view_<modality>`` and ``view_behaviour``, h ``(I, D)``."""
        names = [f"view_{name}" for name in (*self.names, "behaviour")]
        return {**super().export(), **dict(zip(names, self.views(), strict=True))}
