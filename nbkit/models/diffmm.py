"""DiffMM: what a user took, denoised once a modality, gives a modal graph; the graphs' views are contrasted."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Range, Weight
from nbkit.diffusion.process import Trajectory
from nbkit.diffusion.schedules import linear_variance
from nbkit.graphs import SparseGraph, user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.interaction_diffusion import InteractionDiffusion, with_first_beta
from nbkit.models.layers import ProjectedFeatures, info_nce, node_table, product_bpr

ANCHORS = 512  # contrasted rows whose similarities to all are held at a time
README = "authors' README; the epoch there is chosen on test"


class DiffMM(CollaborativeRecommender):
    """A diffusion model of users' interactions a modality, rebuilt modal graphs, contrast of their views.

    Diffusion   x_0 ∈ {0,1}ᴵ, a user's training items;  x̂ = f_m(drop x_t, t);
                L_m = w_t mean (x̂ - x_0)² + signal · mean (x̂ X_m - x_0 Q)²,  w_t = SNR_{t-1} - SNR_t, and 1 at t = 1.
    Modal graph A_m: each user with the ``top`` items of x̃, where x̃ is x_0 led back over all steps, no noise drawn,
                x ← E q(x_{t-1} | x_t, x̂).
    Encoder     X_m = act(W_m F_m);  w = softmax over modalities;  J = Σ_m w_m Â [P; norm X_m];
                E⁰ = J + Â [J_U; Q] + modal · Σ_m w_m A_m [P; Q];  E = Σ_{l=0..L} Âˡ E⁰ + residual · norm E⁰;  s = dot.
    Views       V_m = Σ_{l=0..L} Âˡ A_m [P; norm X_m], contrasted with one another or each with E.
    L = BPR + reg (‖P‖² + ‖Q‖²) + contrast · Σ InfoNCE_τ(users) + InfoNCE_τ(positive items) + Σ_m L_m.

    Â and A_m are normalised with self-loops. L_m moves f_m alone: each step takes so many users at random that each is
    seen about once an epoch. The graphs are rebuilt as an epoch starts and saved with the weights; the first epoch has
    no trained f_m and its A_m are the self-loops alone, while the authors train f_m for an epoch before it.

    Shapes: ``nodes`` [P; Q] ``(U + I, D)``, users first; ``edges`` ``(M, U, top)`` item numbers, -1 for none yet.
    Source: Jiang et al., ACM MM 2024, and the authors' code: the reverse process starts at the clean x_0, not at noise,
    the schedule (T = 5, s = .1) is nearly noiseless, β_1 is set to 1e-4. There BPR is divided by the
    configured batch size, here by the actual one, and evaluation keeps the edges of A_m that dropout left, here all.
    """

    edges: Tensor
    fusion: Tensor

    name = "diffmm"
    paper = Paper(
        "DiffMM: Multi-Modal Diffusion Model for Recommendation", "MM 2024", "https://arxiv.org/abs/2406.11781"
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset(README, {"reg": 1e-5, "contrast": 0.1, "signal": 0.01}, {"batch_size": 1024}),
        "sports": Preset(
            README,
            {
                "reg": 1e-6,
                "contrast": 0.01,
                "temperature": 0.1,
                "residual": 0.1,
                "signal": 0.5,
                "projection": "linear",
            },
            {"batch_size": 1024},
        ),
        "tiktok": Preset(
            README,
            {
                "reg": 1e-4,
                "contrast": 0.01,
                "signal": 0.1,
                "projection": "linear",
                "contrast_with": "main",
                "edge_dropout": 0.5,
            },
            {"batch_size": 1024},
        ),
    }
    grid = Grid("the authors' README", {"reg": (1e-4, 1e-5, 1e-6), "contrast": (0.1, 0.01), "signal": (0.01, 0.1, 0.5)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {"msi": {"signal": 0.0}, "cl": {"contrast": 0.0}}

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 1,
        modal: Annotated[Weight, "weight of the modal graphs' hop in E⁰"] = 0.2,
        residual: Annotated[Weight, "weight of norm E⁰ in E"] = 0.5,
        projection: Annotated[Literal["leaky", "linear"], "of features: LeakyReLU(W F), or W F + b"] = "leaky",
        reg: Weight = 1e-5,
        contrast: Annotated[Weight, "weight of the contrast; 0 leaves it out"] = 0.1,
        temperature: Annotated[float, Range(0.01, 10), "τ of the contrast"] = 0.5,
        contrast_with: Annotated[Literal["views", "main"], "views: with one another; main: each with E"] = "views",
        contrast_over: Annotated[Literal["all", "batch"], "which nodes a view is told apart from"] = "all",
        edge_dropout: Annotated[Dropout, "share of modal edges left out in training"] = 0.0,
        top: Annotated[int, Range(1, 1000), "items a user keeps in a modal graph"] = 1,
        hidden: Annotated[int, Range(1, 8192), "width of the denoiser's inner layer"] = 1000,
        input_dropout: Annotated[Dropout, "share of x_t the denoiser is not shown"] = 0.5,
        signal: Annotated[Weight, "weight of the modality-aware signal injection"] = 0.01,
        steps: Annotated[int, Range(1, 10_000), "diffusion steps T"] = 5,
        noise_scale: Annotated[float, Range(0, 1), "s of the noise schedule"] = 0.1,
        gamma_min: Annotated[float, Range(0, 1), "least noise variance, over s"] = 1e-4,
        gamma_max: Annotated[float, Range(0, 1), "largest noise variance, over s"] = 0.02,
        first_beta: Annotated[float, Range(0, 0.5), "β_1; 0 leaves the schedule's own"] = 1e-4,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_users, self.num_items, self.layers = inputs.num_users, inputs.num_items, layers
        self.modal_weight, self.residual, self.leaky, self.reg = modal, residual, projection == "leaky", reg
        self.contrast, self.temperature, self.contrast_with = contrast, temperature, contrast_with
        self.contrast_over, self.edge_dropout = contrast_over, edge_dropout
        self.signal, self.num_pairs = signal, len(inputs.pairs)
        self.graph = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items, self_loops=True)
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.content = nn.ModuleDict(
            {
                m: ProjectedFeatures(f, dim, generator, trained=False, bias=not self.leaky)
                for m, f in inputs.features.items()
            }
        )
        start = torch.zeros(len(self.content))
        self.fusion = nn.Parameter(start) if len(start) > 1 else nn.Buffer(start)  # of a single one the softmax is 1
        line = linear_variance(steps, scale=noise_scale, gamma_min=gamma_min, gamma_max=gamma_max)
        # Without modal graphs there is nothing to rebuild, and no denoiser.
        self.rebuilds = tuple(inputs.features) if modal or contrast else ()
        self.diffusion = InteractionDiffusion(
            inputs.pairs,
            inputs.num_users,
            inputs.num_items,
            self.rebuilds,
            with_first_beta(line, first_beta),
            hidden=hidden,
            input_dropout=input_dropout,
            generator=generator,
        )
        shape = (len(self.rebuilds), inputs.num_users, min(top, inputs.num_items))
        self.register_buffer("edges", torch.full(shape, -1))
        self.register_load_state_dict_post_hook(lambda model, _: model._link())
        self._link()

    def _link(self) -> None:
        """The modal graphs that the edges mean."""
        users = torch.arange(self.num_users, device=self.edges.device).repeat_interleave(self.edges.shape[2])
        self.modal = self.sampled = nn.ModuleDict()
        for m, items in zip(self.rebuilds, self.edges.flatten(1), strict=True):
            pairs = torch.stack([users, items], dim=1)[items >= 0]
            self.modal[m] = user_item_graph(pairs, self.num_users, self.num_items, self_loops=True)

    @torch.no_grad()
    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Rebuild the modal graphs from what the denoisers know, and draw the edges of this epoch."""
        if epoch:
            for edges, m in zip(self.edges, self.rebuilds, strict=True):
                edges.copy_(self.diffusion.rebuilt(m, edges.shape[1]))
        self._link()
        if self.edge_dropout:
            kept = {m: _thinned(graph, self.edge_dropout, generator) for m, graph in self.modal.items()}
            self.sampled = nn.ModuleDict(kept)

    def projected(self) -> dict[str, Tensor]:
        """X_m of each modality, ``(I, D)``."""
        tables = {m: content() for m, content in self.content.items()}
        return {m: F.leaky_relu(x, 0.2) for m, x in tables.items()} if self.leaky else tables

    def fusion_weights(self) -> Tensor:
        """w of each modality in the order of their names, together 1: ``(M,)``."""
        return self.fusion.softmax(0)

    def encoded(self, projected: Mapping[str, Tensor], modal: nn.ModuleDict) -> tuple[Tensor, dict[str, Tensor]]:
        """E over these modal graphs, ``(U + I, D)``, and [P; norm X_m] of each modality."""
        users, items = self.nodes.tensor_split([self.num_users])
        unit = {m: F.normalize(x, dim=1) for m, x in projected.items()}
        weights = dict(zip(unit, self.fusion_weights(), strict=True))
        # The weights sum to 1 and P is the same in all modalities: one table is propagated instead of M.
        mixed = torch.stack([weights[m] * x for m, x in unit.items()]).sum(0)
        joint = self.graph(torch.cat([users, mixed]))
        base = joint + self.graph(torch.cat([joint[: self.num_users], items]))
        if self.modal_weight:
            hops = [weights[m] * graph(self.nodes) for m, graph in modal.items()]
            base = base + self.modal_weight * torch.stack(hops).sum(0)
        main = self.graph.propagate(base, self.layers, combine="sum") + self.residual * F.normalize(base, dim=1)
        return main, {m: torch.cat([users, x]) for m, x in unit.items()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        projected = self.projected()
        main, tables = self.encoded(projected, self.sampled)
        rows = torch.cat([batch.users, batch.positives + self.num_users, batch.negatives + self.num_users])
        user, positive, negative = main.index_select(0, rows).chunk(3)
        parts = {"bpr": product_bpr(user, positive, negative)}
        if self.reg:
            parts["reg"] = self.reg * self.nodes.square().sum()
        if self.contrast:
            parts |= self._contrast(main, tables, batch)
        # So many users a step that each is seen about once an epoch.
        share, items = len(batch.users) / self.num_pairs, self.nodes[self.num_users :]
        for m, (bound, injected) in self.diffusion.losses(share, projected, items, batch.generator).items():
            parts[f"denoise_{m}"] = bound
            if self.signal:
                parts[f"signal_{m}"] = self.signal * injected
        return parts

    def _contrast(self, main: Tensor, tables: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        views = [self.graph.propagate(self.sampled[m](x), self.layers, combine="sum") for m, x in tables.items()]
        pairs = [(main, view) for view in views] if self.contrast_with == "main" else itertools.combinations(views, 2)
        losses = []
        for pair in pairs:
            split = (table.tensor_split([self.num_users]) for table in pair)
            for nodes, first, second in zip((batch.users, batch.positives), *split, strict=True):
                own = nodes if self.contrast_over == "all" else nodes.unique()
                first = first.index_select(0, own)
                if self.contrast_over == "batch":
                    losses.append(info_nce(first, second.index_select(0, own), self.temperature))
                else:
                    losses.append(info_nce(first, second, self.temperature, own=own, chunk=ANCHORS))
        return {"contrast": self.contrast * torch.stack(losses).sum()} if losses else {}

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.encoded(self.projected(), self.modal)[0].tensor_split([self.num_users])
        return users, items

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` ``(I, D)``, ``fusion`` ``(M,)`` and ``edges`` ``(M, U, top)``, -1 for none."""
        tables = {f"projected_{m}": x for m, x in self.projected().items()}
        return {**super().export(), **tables, "fusion": self.fusion_weights(), "edges": self.edges}

    def trajectory(self, modality: str, users: Tensor) -> Trajectory:
        """What the users ``(B,)`` took, led back over all steps: states ``(T + 1, B, I)`` and predicted x_0.

        The highest entries of its last state are what the modal graph is rebuilt from.

        Raises:
            UserError: a modality that has no denoiser.
        """
        return self.diffusion.trajectory(modality, users)


def _thinned(graph: nn.Module, share: float, generator: torch.Generator) -> SparseGraph:
    """A graph with a share of its entries left out, each by itself, and the others made larger to match."""
    assert isinstance(graph, SparseGraph)
    indptr, columns, values = graph.matrix
    rows = torch.arange(graph.shape[0], device=values.device).repeat_interleave(indptr.long().diff())
    kept = torch.rand(values.shape, generator=generator, device=values.device) >= share
    return SparseGraph(rows[kept], columns[kept].long(), values[kept] / (1 - share), graph.shape)
