"""JBM-Diff, a reconstruction: modalities denoised under behaviour, pairs believed as far as modalities agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Layers, Range, Rate, Weight
from nbkit.diffusion.denoisers import Conditioning
from nbkit.diffusion.process import GaussianDiffusion, Trajectory
from nbkit.diffusion.schedules import linear_variance
from nbkit.errors import UserError, nearest
from nbkit.graphs import SparseGraph, neighbour_graph, thinned, user_item_graph
from nbkit.layers import standardised
from nbkit.models.base import Batch, CollaborativeRecommender, Grid, Inputs, Paper, Preset
from nbkit.models.chains import Chains
from nbkit.models.credibility import Teacher, leave_one_out
from nbkit.models.denoised_modality import DenoisedModality, Features, Views
from nbkit.models.layers import info_nce, linear_cka, node_table, norm_penalty
from nbkit.models.multi_view import Carry, Concatenated, MultiView
from nbkit.neighbours import alike

Positive = Annotated[float, Range(1e-4, 1e4)]


class JBMDiff(CollaborativeRecommender):
    """A reconstruction in the spirit of JBM-Diff's abstract; no number of the paper can be claimed for it.

    The paper's public text says: for each modality a graph diffusion conditioned on collaborative features removes
    what has nothing to do with preference; multi-view propagation and fusion align both; the partial order of pairs by
    modal preference gives each pair a credibility, for a weighted BPR and for augmentation. None of its equations is
    public. Ours are therefore all of these:

    Z = mean_l Âˡ [P; Q];  x_m = LN₀(W_m f_m + b_m);  x̂_m = f_m(√ᾱ_{T'} x_m, T', c),  c = LN₀(sg Z_I), as a gate;
    x̃_m = (1-η_m) x_m + η_m x̂_m;  H_m = Ŝ_m (Q ⊙ σ(W_m' x̃_m + b_m'));  Y_m = ½ (1 + Â) [R̄ H_m; H_m];
    E = Z + μ Fusion(Y, Z);
    L = -mean[w⁺ log σ(s_ui - s_uj) + ρ w⁻ log σ(s_uj - s_ui) + w° log σ(s_uj* - s_uk)]
    + λ_d Σ ‖f_m(x_t, t, c) - sg x_m‖² + λ_g Σ w⁺ BPR(y_u; x̂_m) + λ_a InfoNCE(side, Z) + λ_r ‖E‖².
    y_u is the mean of x̂_m over the user's other items; w⁺, w⁻, w° (``credibility``) and j* (``chains``) are judged by a
    teacher, the tables Z and [R̄ x̂; x̂] averaged over epochs. Judging by x̂ and not by H keeps every trace of an item
    through its neighbours out of the profile that judges it, and finds noise better. Identities carried over the item
    graphs, gated by features, are MGCN's; features alone (``carry``) rank far worse. Leaving edges out of training
    (``edge_dropout``) is FREEDOM's. Features stay frozen; the diffusion loss trains the denoiser alone.

    Shapes: ``nodes`` ``(U + I, D)``, users first. Source: the abstract of Pan & Wei,
    2026; parts after DA-MRS (KDD 2024), DiffRec (SIGIR 2023), classifier-free guidance (Ho & Salimans, 2022).
    """

    name = "jbm_diff"
    paper = Paper(
        "Joint Behavior-guided and Modality-coherence Conditional Graph Diffusion Denoising (reconstruction)",
        "arXiv 2026",
        "https://arxiv.org/abs/2604.03654",
    )
    presets: ClassVar[Mapping[str, Preset]] = {
        "baby": Preset("validation, seed 0, of six", {"reg": 3e-3, "side_weight": 3.0, "edge_dropout": 0.5}),
    }
    grid = Grid("ours", {"reg": (1e-3, 3e-3, 0.01), "side_weight": (1.0, 3.0, 6.0), "edge_dropout": (0.0, 0.5)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "diffusion": {"eta": 0.0},
        "condition": {"conditioning": "none"},
        "graph_step": {"graph_step": False},
        "guidance": {"guidance_weight": 0.0},
        "views": {"multi_view": False},
        "align": {"align_weight": 0.0},
        "credibility": {"weighting": False, "reversal": 0.0, "chain": 0.0},
        "weighting": {"weighting": False},
        "reversal": {"reversal": 0.0},
        "chains": {"chain": 0.0},
    }
    pairs: Tensor
    tally: Tensor

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        layers: Layers = 2,
        edge_dropout: Annotated[Dropout, "share of edges left out of each epoch's graph of Z"] = 0.0,
        neighbours: Annotated[int, Range(1, 1000), "k of each item graph, the item itself counted"] = 10,
        eta: Annotated[float, Range(0, 0.99), "share η of the denoised feature at first; 0 leaves diffusion out"] = 0.5,
        conditioning: Annotated[Conditioning, "how the collaborative condition enters the denoiser"] = "gate",
        graph_step: Annotated[bool, "let the denoiser see an item's neighbours"] = True,
        steps: Annotated[int, Range(1, 1000), "diffusion steps T"] = 10,
        noise_scale: Annotated[float, Range(1e-4, 1), "s of the noise variance; literature: 0.1"] = 1.0,
        noise_min: Annotated[float, Range(1e-6, 0.999), "γ_min of the noise variance; literature: 1e-4"] = 0.01,
        noise_max: Annotated[float, Range(1e-6, 0.999), "γ_max of the noise variance; literature: 0.02"] = 0.5,
        condition_dropout: Annotated[Rate, "share of items without condition in the diffusion loss"] = 0.1,
        guidance_scale: Annotated[float, Range(0, 20), "ω of classifier-free guidance"] = 0.0,
        reverse_steps: Annotated[int, Range(1, 1000), "DDIM steps of the denoised feature"] = 1,
        min_snr: Annotated[bool, "weigh the diffusion loss by min(SNR, 5) / 5"] = False,
        multi_view: Annotated[bool, "propagated and fused views; else one projection of all features"] = True,
        carry: Annotated[Carry, "what views propagate: identities gated by features, or features alone"] = "ids",
        side_weight: Annotated[Weight, "μ: how much the side counts beside Z"] = 1.0,
        weighting: Annotated[bool, "weigh pairs by their credibility; else by 1"] = True,
        judge_by: Annotated[
            Literal["denoised", "mixed", "propagated"], "profiles of x̂, of x̃, or of H after the item graph"
        ] = "denoised",
        leave_one_out: Annotated[bool, "judge an item by the user's other items alone"] = True,
        spread: Annotated[float, Range(0, 20), "b: how much disagreement of modalities lowers belief"] = 2.0,
        margin: Annotated[float, Range(0, 0.5), "δ: how far below ½ an order must lie to be reversed"] = 0.1,
        reversal: Annotated[Weight, "ρ: weight of reversed pairs"] = 0.1,
        chain: Annotated[Weight, "weight of chains through unobserved likes"] = 0.3,
        chain_share: Annotated[float, Range(0.001, 10), "most chain items, as a share of a user's pairs"] = 0.1,
        chain_modal_top: Annotated[Rate, "chain items rank within this share by every modality"] = 0.01,
        chain_behaviour_top: Annotated[Rate, "chain items rank within this share by behaviour"] = 0.05,
        chain_every: Annotated[int, Range(1), "epochs between two searches for chain items"] = 5,
        warmup: Annotated[int, Range(0), "epochs before pairs are weighed, reversed or chained"] = 10,
        ema: Annotated[float, Range(0, 0.999), "share of the teacher that stays each epoch"] = 0.5,
        diffusion_weight: Weight = 0.1,
        guidance_weight: Weight = 0.5,
        align_weight: Weight = 0.01,
        temperature: Annotated[Positive, "τ of the alignment's contrast"] = 0.2,
        reg: Annotated[Weight, "weight of half the squared norms of the batch's vectors"] = 0.01,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.layers, self.edge_dropout, self.side_weight = layers, edge_dropout, side_weight
        self.num_users, self.names = inputs.num_users, sorted(inputs.features)
        self.weighting, self.reversal, self.chain, self.chain_every = weighting, reversal, chain, chain_every
        self.condition_dropout, self.min_snr, self.temperature = condition_dropout, min_snr, temperature
        self.diffusion_weight, self.guidance_weight, self.align_weight = diffusion_weight, guidance_weight, align_weight
        self.reg, self.warmup, self.epoch, self.judge_by = reg, warmup, 0, judge_by
        size, views = (inputs.num_users, inputs.num_items), len(self.names)
        self.register_buffer("pairs", inputs.pairs, persistent=False)
        self.nodes = node_table(*size, dim, generator)
        self.graph = self.sampled = user_item_graph(inputs.pairs, *size)
        users, items = inputs.pairs.unbind(1)
        counts = torch.bincount(users, minlength=size[0])
        self.history = SparseGraph(users, items, 1 / counts[users], size)  # R̄: the mean over a user's items
        near = [alike(inputs.features[m], neighbours)[0] for m in self.names]
        item_graphs = [neighbour_graph(n) for n in near]

        process = GaussianDiffusion(linear_variance(steps, scale=noise_scale, gamma_min=noise_min, gamma_max=noise_max))
        how: dict[str, Any] = {"eta": eta, "conditioning": conditioning, "generator": generator}
        how |= {"guidance_scale": guidance_scale, "reverse_steps": reverse_steps}
        self.modality = nn.ModuleList(
            DenoisedModality(inputs.features[m], near_by if graph_step else None, process, dim, **how)
            for m, near_by in zip(self.names, item_graphs, strict=True)
        )
        if multi_view:
            self.side: MultiView | Concatenated = MultiView(
                self.graph, self.history, item_graphs, dim, generator, carry=carry
            )
        else:
            self.side = Concatenated(self.history, views, dim, generator)
        self.teacher = Teacher(
            counts, sum(size), views, dim, ema=ema, leave_one_out=leave_one_out, spread=spread, margin=margin
        )
        if chain:
            tops = {"modal_top": chain_modal_top, "behaviour_top": chain_behaviour_top}
            self.chains = Chains(inputs.pairs, torch.cat(near, dim=1), size[0], share=chain_share, **tops)
        self.register_buffer("tally", torch.zeros(3), persistent=False)  # batches; sums of mean belief, of reversals

    def features(self, z: Tensor) -> Features:
        """Every modality under Z, in training and evaluation alike: nothing is drawn."""
        clean, denoised, mixed = zip(*(view(self.condition(z)) for view in self.modality), strict=True)
        carried = self.side.items(mixed, self.nodes[self.num_users :])
        return Features(list(clean), list(denoised), list(mixed), carried)

    def views(self) -> Views:
        """Everything of all nodes from the weights."""
        z = self.graph.propagate(self.nodes, self.layers)
        features = self.features(z)
        side = self.side_weight * self.side(features.carried, z)
        judged = {"denoised": features.denoised, "mixed": features.mixed, "propagated": features.carried}[self.judge_by]
        return Views(z, features.clean, features.denoised, judged, side, z + side)

    def condition(self, z: Tensor) -> Tensor:
        """c ``(I, D)``: no gradient, so that the condition is never bent towards what is easy to denoise."""
        return standardised(z[self.num_users :].detach())

    def _diffused(self, of: Features | Views) -> list[tuple[str, DenoisedModality, Tensor, Tensor]]:
        """Name, module, x and x̂ of every modality that has a denoiser."""
        views = (cast(DenoisedModality, view) for view in self.modality)
        rows = zip(self.names, views, of.clean, of.denoised, strict=True)
        return [row for row in rows if row[1].denoiser is not None]

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Draw the epoch's edges, let the teacher follow, and search for chain items when it is time."""
        if self.edge_dropout:
            self.sampled = user_item_graph(thinned(self.pairs, self.edge_dropout, generator), *self.history.shape)
        self.epoch = epoch
        self.tally.zero_()
        with torch.no_grad():
            views = self.views()
            tables = [torch.cat([self.history(table), table]) for table in views.judged]
        self.teacher.follow(views.z, tables, first=epoch == 0)
        if self.chain and epoch >= self.warmup and (epoch - self.warmup) % self.chain_every == 0:
            behaviour, *modal = self.teacher.users_and_items()
            unit = [(F.normalize(u, dim=1), F.normalize(i, dim=1)) for u, i in modal]
            self.chains.search(unit, behaviour, generator)

    def credibility(self, users: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """w⁺ of observed pairs, each against an unobserved item: ``(B,)``, mean about 1, low for suspected noise."""
        return self.teacher.judge(users, positives, negatives).weight

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        z = self.sampled.propagate(self.nodes, self.layers)
        features = self.features(z)
        users, items, given = batch.users, [batch.positives, batch.negatives], None
        if self.chain and self.epoch >= self.warmup:
            between, given = self.chains.draw(users, batch.generator)
            items.append(between)
        # Views are fused for the distinct nodes of the batch alone.
        nodes, place = torch.unique(torch.cat([users, *(i + self.num_users for i in items)]), return_inverse=True)
        side = self.side_weight * self.side(features.carried, z, nodes)
        behaviour = z.index_select(0, nodes)
        user, positive, negative, *rest = (side + behaviour).index_select(0, place).chunk(1 + len(items))
        weight, parts = self._ranking(batch, (user * (positive - negative)).sum(1))
        if self.chain:
            parts["chain"] = positive.new_zeros(())
            if given is not None:
                given = given & (items[2] != batch.negatives)
                believed = self.teacher.judge(users, items[2], batch.negatives, observed=False).consistency
                above = (user * (rest[0] - negative)).sum(1)
                parts["chain"] = self.chain * (given * believed * F.softplus(-above)).mean()
        for name, view, x, x_hat in self._diffused(features):
            if self.diffusion_weight:
                error = view.loss(x, self.condition(z), self.condition_dropout, batch.generator, min_snr=self.min_snr)
                parts[f"diffusion_{name}"] = self.diffusion_weight * error
            if self.guidance_weight:
                parts[f"guidance_{name}"] = self.guidance_weight * self._guidance(x_hat, batch, weight)
        if self.align_weight:
            both = [torch.unique(some) for some in place.split(len(users))[:2]]  # users, and observed items
            pairs = [(side.index_select(0, rows), behaviour.index_select(0, rows)) for rows in both]
            parts["align"] = self.align_weight * torch.stack([info_nce(a, b, self.temperature) for a, b in pairs]).sum()
        parts["reg"] = self.reg * norm_penalty(user, positive, negative, squared=True)
        return parts

    def _ranking(self, batch: Batch, margin: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """w⁺, and BPR of believed pairs and of reversed ones; ``margin`` is how far i scores above j."""
        weight, reversal = torch.ones_like(margin), torch.zeros_like(margin)
        if self.epoch >= self.warmup:
            order = self.teacher.judge(batch.users, batch.positives, batch.negatives)
            weight, reversal = order.weight if self.weighting else weight, order.reversal
            self.tally += torch.stack([margin.new_ones(()), order.belief.mean(), (reversal > 0).float().mean()])
        parts = {"bpr": (weight * F.softplus(-margin)).mean()}
        if self.reversal:
            parts["reversal"] = self.reversal * (reversal * F.softplus(margin)).mean()
        return weight, parts

    def _guidance(self, x_hat: Tensor, batch: Batch, weight: Tensor) -> Tensor:
        """BPR of x̂ by the mean of the user's other items, each pair as far as believed; one item alone: a constant."""
        user = F.embedding(batch.users, self.history(x_hat))
        positive, negative = F.embedding(torch.cat([batch.positives, batch.negatives]), x_hat).chunk(2)
        if self.teacher.leave_one_out:
            user = leave_one_out(user, positive, self.teacher.counts[batch.users])
        return (weight * F.softplus((user * (negative - positive)).sum(1))).mean()

    def embeddings(self) -> tuple[Tensor, Tensor]:
        users, items = self.views().vectors.tensor_split([self.num_users])
        return users, items

    @torch.no_grad()
    def trajectory(self, modality: str, generator: torch.Generator) -> Trajectory:
        """The denoising of one modality of all items from x_T to x_0, for a viewer.

        Raises:
            UserError: an unknown modality, or a model without diffusion (``eta`` = 0).
        """
        if modality not in self.names:
            raise UserError(f"unknown modality {modality!r}; {nearest(modality, self.names)}")
        view = cast(DenoisedModality, self.modality[self.names.index(modality)])
        if view.denoiser is None:
            raise UserError("jbm_diff: eta = 0 leaves diffusion out; expected a model with eta above 0")
        return view.trajectory(self.condition(self.graph.propagate(self.nodes, self.layers)), generator)

    def export(self) -> dict[str, Tensor]:
        """Adds ``projected_<modality>`` x and ``denoised_<modality>`` x̂, both ``(I, D)``."""
        views, tables = self.views(), super().export()
        for name, x, x_hat in zip(self.names, views.clean, views.denoised, strict=True):
            tables |= {f"projected_{name}": x, f"denoised_{name}": x_hat}
        return tables

    @torch.no_grad()
    def diagnostics(self) -> dict[str, float]:
        """Belief and share of reversed pairs after warm-up; η and CKA of x̂ with x and with the ids by modality."""
        views, found = self.views(), {}
        for name, view, x, x_hat in self._diffused(views):
            found[f"eta_{name}"] = torch.sigmoid(view.mixing)
            found[f"cka_raw_{name}"] = linear_cka(x_hat, x)
            found[f"cka_ids_{name}"] = linear_cka(x_hat, views.z[self.num_users :])
        batches, belief, turned = self.tally
        if batches:
            found |= {"belief": belief / batches, "reversed": turned / batches}
        return {name: float(value) for name, value in found.items()}
