"""DiffCL: two views of each modality made by a diffusion model, contrasted; identities as the measure of modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Range, Weight
from nbkit.diffusion.denoisers import MLPDenoiser
from nbkit.diffusion.process import GaussianDiffusion, Step, Trajectory, standard_normal
from nbkit.diffusion.schedules import linear_variance
from nbkit.errors import UserError, nearest
from nbkit.graphs import SparseGraph, neighbour_graph, thinned, user_item_graph
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.layers import FeatureTable, embedding, info_nce, linear, node_table, product_bpr
from nbkit.neighbours import alike

FIGURES = "near the best of Figures 3-5 of the paper as described to us; not tried on these data"


class DiffCL(CollaborativeRecommender):
    """A user-item graph for the identities and one for each modality; diffusion views, item graphs, alignment.

    Graph encoder   E_m = Σ_{l=0..L} Âˡ norm[P_m; MLP_m(f_m)];  E_id = Σ_{l=0..L} Âˡ [P; Q].
    Views           Eᵏ = f_m(√ᾱ_t E_m + √(1-ᾱ_t) ε, t), k = 1, 2, each with its own t and ε;
                    L_cl = λ_cl Σ_m InfoNCE_τ(users of E¹, E²) + InfoNCE_τ(items of E¹, E²);
                    L_θ = Σ_m Σ_k ‖Eᵏ - E_m‖²/D moves f_m alone, its input detached; L_cl moves f_m and E_m.
    Enhancement     items of E_m += Ŝ_m^l (items of E_m), Ŝ_m the mean over the K nearest in the raw features.
    Fusion          E_vt = μ E_v + (1-μ) E_t, μ trained from ½; of M modalities the last weighs 1 minus the others.
    Alignment       L_align = λ_align Σ_m |mean E_id - mean E_m| + |std E_id - std E_m|.
    Score           s_ui = e_vt,u · e_vt,i + e_id,u · e_id,i;  L = BPR + L_cl + L_θ + L_align + λ_E Σ_m mean(E_m²).

    Shapes: E ``(U + I, D)``, users first; scored vectors ``[E_vt; E_id]`` of width 2D.
    Source: Song et al., TNNLS 2025. No code of it is public, and it names no loss, network or constants of the
    diffusion: those are a reconstruction after DiffRec and MENTOR, and so are means where it writes sums. MENTOR also
    norms the rows of [P; Q]; on Amazon Baby (one seed) that cost .005 of validation Recall@20 and is left out. Leaving
    edges out (``edge_dropout``, of training alone) is FREEDOM's and not in the paper.
    A weight of 0 leaves its part out, exactly; ``parts`` names what turns off each part of its Table III.
    """

    pairs: Tensor
    name = "diffcl"
    paper = Paper(
        "DiffCL: A Diffusion-Based Contrastive Learning Framework with Semantic Alignment "
        "for Multimodal Recommendations",
        "TNNLS 2025",
        "https://arxiv.org/abs/2501.01066",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset("validation, seed 0", {"contrast": 0.02, "align": 0.1, "reg": 0.1}, {"lr": 5e-4}),
        "sports": Preset(FIGURES, {"contrast": 0.1, "align": 0.5, "reg": 0.9}),
        "video": Preset(FIGURES, {"contrast": 0.5, "align": 1.0, "reg": 1.0}),
    }
    grid = Grid("ours", {"contrast": (0.01, 0.02, 0.1), "align": (0.1, 0.5), "reg": (0.01, 0.1)}, {"lr": (1e-3, 5e-4)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "diff": {"contrast": 0.0},
        "align": {"align": 0.0},
        "h": {"item_layers": 0},
    }

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        hidden: Annotated[int, Range(1, 8192), "width of the feature encoder's inner layer"] = 256,
        layers: Layers = 2,
        edge_dropout: Annotated[Dropout, "share of user-item edges left out of each epoch's graph"] = 0.0,
        item_layers: Annotated[Layers, "hops on the item graphs; 0 leaves them out"] = 1,
        neighbours: Annotated[int, Range(1, 1000), "K of the item graphs, the item itself counted"] = 10,
        contrast: Annotated[Weight, "λ_cl; 0 leaves the diffusion out"] = 0.02,
        temperature: Annotated[float, Range(0.01, 10), "τ of the contrast"] = 0.4,
        contrast_over: Annotated[Literal["batch", "all"], "rows contrasted with one another"] = "batch",
        views: Annotated[Literal["denoised", "noisy"], "noisy: the states x_t themselves, as a control"] = "denoised",
        steps: Annotated[int, Range(1, 10_000), "diffusion steps T"] = 5,
        noise_scale: Annotated[float, Range(0, 1), "s of the noise schedule"] = 0.1,
        gamma_min: Annotated[float, Range(0, 1), "least noise variance, over s"] = 1e-4,
        gamma_max: Annotated[float, Range(0, 1), "largest noise variance, over s"] = 0.02,
        align: Annotated[Weight, "λ_align"] = 0.1,
        align_by: Annotated[Literal["table", "dimension"], "what one Gaussian is fitted to"] = "table",
        reg: Annotated[Weight, "λ_E"] = 0.1,
        train_features: Annotated[bool, "train the raw features, as MMRec does"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.num_users, self.num_items = inputs.num_users, inputs.num_items
        self.register_buffer("pairs", inputs.pairs, persistent=False)
        self.layers, self.item_layers, self.edge_dropout = layers, item_layers, edge_dropout
        self.contrast, self.temperature, self.contrast_over = contrast, temperature, contrast_over
        self.align, self.align_dims, self.reg = align, {"table": (0, 1), "dimension": (0,)}[align_by], reg
        self.graph = self.sampled = user_item_graph(inputs.pairs, inputs.num_users, inputs.num_items)
        self.nodes = node_table(inputs.num_users, inputs.num_items, dim, generator)
        self.users, self.content = nn.ParameterDict(), nn.ModuleDict()
        self.item_graphs, self.denoisers = nn.ModuleDict(), nn.ModuleDict()
        for m, features in inputs.features.items():
            self.users[m] = embedding(inputs.num_users, dim, generator)
            inner, outer = linear(features.shape[1], hidden, generator), linear(hidden, dim, generator)
            self.content[m] = nn.Sequential(inner, nn.LeakyReLU(), outer)
            if item_layers:
                self.item_graphs[m] = neighbour_graph(alike(features, neighbours)[0])
            if contrast and views == "denoised":
                self.denoisers[m] = MLPDenoiser(dim, residual=False, generator=generator)
        self.features = nn.ModuleDict({m: FeatureTable(f, trained=train_features) for m, f in inputs.features.items()})
        self.fusion = nn.Parameter(torch.full((len(self.users) - 1,), 1 / len(self.users)))
        schedule = linear_variance(steps, scale=noise_scale, gamma_min=gamma_min, gamma_max=gamma_max)
        self.diffusion = GaussianDiffusion(schedule)

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draw the edges of this epoch."""
        if self.edge_dropout:
            kept = thinned(self.pairs, self.edge_dropout, generator)
            self.sampled = user_item_graph(kept, self.num_users, self.num_items)

    def encoded(self, graph: SparseGraph | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """E_id, and E_m of each modality: ``(U + I, D)``; on all edges unless a graph is given."""
        graph = graph or self.graph
        modal = {m: torch.cat([users, self.content[m](self.features[m]())]) for m, users in self.users.items()}
        tables = {m: F.normalize(x, dim=1) for m, x in modal.items()}
        encoded = {m: graph.propagate(x, self.layers, combine="sum") for m, x in tables.items()}
        return graph.propagate(self.nodes, self.layers, combine="sum"), encoded

    def enhanced(self, encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """E_m with what the items' neighbours hold added to the items."""
        modal = dict(encoded)
        for m, graph in self.item_graphs.items():
            users, items = modal[m].tensor_split([self.num_users])
            near = items
            for _ in range(self.item_layers):
                near = graph(near)
            modal[m] = torch.cat([users, items + near])
        return modal

    def fusion_weights(self) -> Tensor:
        """μ of each modality in the order of their names, together 1: ``(M,)``."""
        return torch.cat([self.fusion, 1 - self.fusion.sum(0, keepdim=True)])

    def _vectors(self, identity: Tensor, modal: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        fused = torch.stack([mu * x for mu, x in zip(self.fusion_weights(), modal.values(), strict=True)]).sum(0)
        users, items = torch.cat([fused, identity], dim=1).tensor_split([self.num_users])
        return users, items

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        identity, encoded = self.encoded(self.sampled)
        modal = self.enhanced(encoded)
        users, items = self._vectors(identity, modal)
        user = users.index_select(0, batch.users)
        positive, negative = items.index_select(0, torch.cat([batch.positives, batch.negatives])).chunk(2)
        parts = {"bpr": product_bpr(user, positive, negative)}
        if self.contrast:
            parts |= self._contrast(encoded, batch)
        if self.align:
            parts |= {f"align_{m}": self.align * self._gap(identity, x) for m, x in modal.items()}
        if self.reg:
            parts["reg"] = self.reg * torch.stack([x.square().mean() for x in modal.values()]).sum()
        return parts

    def _contrast(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """L_cl and L_θ of each modality over the distinct users and items of the batch, or over all of them."""
        users, items = batch.users.unique(), batch.positives.unique() + self.num_users
        if self.contrast_over == "all":
            users, items = torch.arange(len(self.nodes), device=users.device).tensor_split([self.num_users])
        parts = {}
        for m, table in encoded.items():
            x0 = table.index_select(0, torch.cat([users, items]))
            views, errors = [], []
            for _ in range(2):
                t = self.diffusion.draw_steps(batch.generator)
                view = self.diffusion.q_sample(x0, t, standard_normal(x0, batch.generator))
                if m in self.denoisers:
                    errors.append(F.mse_loss(self.denoisers[m](view.detach(), t), x0.detach()))
                    view = self.denoisers[m](view, t)
                views.append(view.tensor_split([len(users)]))
            losses = [info_nce(first, second, self.temperature) for first, second in zip(*views, strict=True)]
            parts[f"contrast_{m}"] = self.contrast * torch.stack(losses).sum()
            if errors:
                parts[f"denoise_{m}"] = torch.stack(errors).sum()
        return parts

    def _gap(self, identity: Tensor, modal: Tensor) -> Tensor:
        """|difference of means| + |difference of standard deviations|, a mean over the Gaussians compared."""
        gaps = [(f(identity, self.align_dims) - f(modal, self.align_dims)).abs() for f in (torch.mean, torch.std)]
        return torch.stack(gaps).sum(0).mean()

    def embeddings(self) -> tuple[Tensor, Tensor]:
        identity, encoded = self.encoded()
        return self._vectors(identity, self.enhanced(encoded))

    def export(self) -> dict[str, Tensor]:
        """Adds ``modal_<modality>`` ``(I, D)``, the items of E_m, and ``fusion`` ``(M,)``."""
        modal = self.enhanced(self.encoded()[1])
        tables = {f"modal_{m}": x[self.num_users :] for m, x in modal.items()}
        return {**super().export(), **tables, "fusion": self.fusion_weights()}

    @torch.no_grad()
    def trajectory(self, modality: str, generator: torch.Generator, *, eta: float = 0.0) -> Trajectory:
        """E_m noised to x_T and led back to x_0 over all steps: states ``(T + 1, U + I, D)`` and predicted x_0.

        Raises:
            UserError: a modality that has no denoiser.
        """
        if modality not in self.denoisers:
            raise UserError(f"diffcl: no diffusion of {modality!r}; {nearest(modality, self.denoisers)}")
        x0, record = self.encoded()[1][modality], list[Step]()
        steps = self.diffusion.subset(self.diffusion.steps)
        x = self.diffusion.q_sample(x0, steps[0], standard_normal(x0, generator))
        self.diffusion.reverse(self.denoisers[modality], x, steps, eta=eta, generator=generator, record=record)
        return Trajectory.of(steps, x, record)
