"""M3BSR-R, a reconstruction: shallow and deep histories in ids and modalities, denoised by conditional diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Range, Weight
from nbkit.data.sequences import RAREST, Deep, Length, Predict, alike
from nbkit.diffusion.denoisers import SequenceDenoiser
from nbkit.diffusion.process import GaussianDiffusion, Step, Trajectory, standard_normal
from nbkit.diffusion.schedules import linear_beta
from nbkit.errors import UserError, nearest
from nbkit.layers import dropout
from nbkit.models.base import Batch, Grid, History, Inputs, Paper, SequentialRecommender
from nbkit.models.experts import COMMON, Experts, Masks, Opinions, Tokens, push_loss
from nbkit.models.layers import ProjectedFeatures, embedding, linear

ROWS = 256  # histories read at a time on a CPU: enough for BLAS, few enough for the cache


class ConditionalDenoiser(nn.Module):
    """Tokens taken from a noisy state back to clean ones by cross-attention to a condition.

    Shapes: tokens h ``(B, L, D)``, condition ``(B, S, D)`` with ``valid`` ``(B, S)`` -> ``(B, L, D)``.
    """

    def __init__(
        self, process: GaussianDiffusion, start: int, dim: int, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.process, self.start = process, start
        self.network = SequenceDenoiser(dim, heads=heads, generator=generator)

    def forward(self, h: Tensor, condition: Tensor, valid: Tensor) -> Tensor:
        """ĥ_0 of the state √ᾱ_t' h, with no noise drawn: the same in training and evaluation."""
        h_t = self.process.mean_at(h, self.start)
        eps = self.network(h_t, self.start, condition, valid=valid)
        clean, bound = self.process.predicted_x0("eps", eps, h_t, self.start), h.shape[2] ** 0.5
        return clean * (bound / clean.norm(dim=2, keepdim=True).clamp(min=bound))  # no longer than a normed token

    def loss(self, h: Tensor, mask: Tensor, condition: Tensor, valid: Tensor, generator: torch.Generator) -> Tensor:
        """(ε - ε̂)², the mean over channels, summed over places that hold an event, at a random t for each row."""
        h, condition = h.detach(), condition.detach()
        t, eps = self.process.draw_steps(generator, len(h)), standard_normal(h, generator)
        predicted = self.network(self.process.q_sample(h, t, eps), t, condition, valid=valid)
        return ((eps - predicted).square().mean(2) * mask).sum()


class M3BSR(SequentialRecommender):
    """Shallow and deep events, each as tokens of ids and of every modality; two denoisers, experts, a router.

    Tokens h_b^m = norm(x_m[S_b] + P_m), x_id = √D E[s], x_m = W_m f_s/‖f_s‖. Denoising:
    ĥ = (√ᾱ_t' h - √(1-ᾱ_t') ε̂)/√ᾱ_t', first of modalities, ε̂ attending to h_b^id, then of all shallow tokens, ε̂
    attending to the deep ones of the same kind; its outcome replaces the shallow tokens.
    Experts: common = mean of Transformer([h_shallow] + attention([h_shallow], [h_deep])), modalities side by side;
    h_b^m = last place of Transformer_m, all normed; h_b = W_b [h_b^id; h_b^m …].
    y = g ⊙ common + (1-g) ⊙ W_o [h_shallow; h_deep],  g = σ(W_g [common; h_shallow; h_deep]);  s_i = y · e_i + b_i.
    L = -mean log softmax(s)_target + λ_m Σ ‖ε - ε̂‖² + λ_b Σ ‖ε - ε̂‖² + λ_c push.
    Push ``cosine``: mean cos² of (common, specific), of modalities within a behaviour, of behaviours within a modality.
    Push ``infonce``: -log of the share of exp(cos/τ), the positive being the same expert under another dropout, the
    negatives the other experts; as printed, the sum has no positive of its own.

    The paper's constants, schedule and data are unknown to us. Ours are also: ε-losses without gradient to the tokens,
    which would else make themselves easy to denoise; ᾱ in the inversion; no noise drawn on the way to the experts; null
    tokens where a history is empty; the router's widths; cos². The paper predicts the next deep event
    (``predict="deep"``, for data whose held-out events are deep). Of one behaviour, both streams hold every event;
    ratings as depth (``deep="rated"``) are a proxy.

    Shapes: ``items`` E ``(I, D)``, ``bias`` b ``(I,)``, ``positions`` P_m ``(L, D)``, the last row for the latest.
    Source: Cui et al., SIGIR 2025; equations from excerpts, where they are silent a reconstruction.
    """

    name = "m3bsr"
    paper = Paper(
        "Multi-Modal Multi-Behavior Sequential Recommendation with Conditional Diffusion-Based Feature Denoising",
        "SIGIR 2025",
        "https://arxiv.org/abs/2508.05352",
    )
    modalities = "optional"
    grid = Grid("ours", {"dropout": (0.1, 0.2, 0.4), "push_weight": (0.0, 0.1, 1.0)}, {"lr": (1e-3, 3e-3)})
    parts: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "modality": {"modality_denoising": False},
        "behavior": {"behavior_denoising": False},
        "common": {"experts": "specific"},
        "specific": {"experts": "common"},
        "push": {"push_weight": 0.0},
    }
    streams = ("shallow", "deep")

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        length: Length = 20,
        heads: Annotated[int, Range(1, 64), "attention heads; they divide dim"] = 1,
        dropout: Annotated[Dropout, "dropout of tokens and within experts"] = 0.2,
        steps: Annotated[int, Range(1, 1000), "diffusion steps T"] = 20,
        start: Annotated[int, Range(1, 1000), "step t' that denoising starts from"] = 10,
        beta_max: Annotated[float, Range(1e-4, 0.999), "last β of a line from 1e-4"] = 0.05,
        modality_denoising: Annotated[bool, "denoise modalities, given ids"] = True,
        behavior_denoising: Annotated[bool, "denoise shallow events, given deep ones"] = True,
        experts: Annotated[Literal["both", "common", "specific"], "one kind, or both and a router"] = "both",
        push: Annotated[Literal["cosine", "infonce"], "what keeps experts apart"] = "cosine",
        temperature: Annotated[float, Range(1e-3, 100), "τ of infonce"] = 0.2,
        modality_weight: Weight = 0.1,
        behavior_weight: Weight = 0.1,
        push_weight: Weight = 0.1,
        predict: Predict = "all",
        deep: Deep = RAREST,
        train_features: Annotated[bool, "train the raw features"] = False,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"model m3bsr: heads = {heads}; expected a divisor of dim = {dim}")
        if start > steps:
            raise UserError(f"model m3bsr: start = {start}; expected at most steps = {steps}")
        self.length, self.predict, self.deep, self.rate = length, predict, deep, dropout
        self.push, self.temperature = push, temperature
        self.weights = {"modality": modality_weight, "behavior": behavior_weight, "push": push_weight}
        self.items, self.bias = embedding(inputs.num_items, dim, generator), nn.Parameter(torch.zeros(inputs.num_items))
        self.content = nn.ModuleDict(
            {
                m: ProjectedFeatures(F.normalize(f), dim, generator, trained=train_features, bias=False)
                for m, f in sorted(inputs.features.items())
            }
        )
        names = ["id", *self.content]
        self.positions = nn.ParameterDict({n: embedding(length, dim, generator) for n in names})
        self.norms = nn.ModuleDict({n: nn.LayerNorm(dim) for n in names})
        process = GaussianDiffusion(linear_beta(steps, beta_max=beta_max))

        def denoisers(wanted: list[str]) -> nn.ModuleDict:
            return nn.ModuleDict({n: ConditionalDenoiser(process, start, dim, heads, generator) for n in wanted})

        self.of_modality = denoisers(names[1:] if modality_denoising else [])
        self.of_behavior = denoisers(names if behavior_denoising else [])
        self.experts = Experts(
            names, ("common", "specific") if experts == "both" else (experts,), dim, heads, generator
        )
        if "specific" in self.experts.kinds:
            self.joint = nn.ModuleDict({b: linear(len(names) * dim, dim, generator) for b in self.streams})
            self.output = linear(2 * dim, dim, generator)
        if experts == "both":
            self.gate = linear(3 * dim, dim, generator)

    def lookup(self, history: History) -> tuple[dict[str, Tensor], History]:
        """x_m of the distinct items of both streams ``(n, D)``, each projected once, and streams that name its rows."""
        streams = [history[b] for b in self.streams]
        distinct, place = torch.unique(torch.cat([s.items.flatten() for s in streams]), return_inverse=True)
        x = {"id": self.items.index_select(0, distinct) * self.items.shape[1] ** 0.5}
        x |= {m: content(distinct) for m, content in self.content.items()}
        places = place.split([s.items.numel() for s in streams])
        pairs = zip(self.streams, streams, places, strict=True)
        return x, {b: replace(s, items=p.view_as(s.items)) for b, s, p in pairs}

    def tokens(
        self,
        x: dict[str, Tensor],
        history: History,
        generator: torch.Generator | None = None,
        noise: dict[str, Tensor] | None = None,
    ) -> tuple[Tokens, Masks]:
        """Denoised tokens of the events that :meth:`lookup` gave, and which of them are events.

        The losses of the denoisers are added up in ``noise``, drawn from the generator.
        """
        masks = {b: history[b].mask for b in self.streams}
        h = self.embedded(x, history, generator)

        def denoise(part: str, denoiser: nn.Module, noisy: tuple[str, str], given: tuple[str, str]) -> Tensor:
            assert isinstance(denoiser, ConditionalDenoiser)
            seen = h[given], masks[given[0]]
            if noise is not None and generator is not None and self.weights[part]:
                noise[part] = noise.get(part, 0) + denoiser.loss(h[noisy], masks[noisy[0]], *seen, generator)
            return denoiser(h[noisy], *seen)

        for m, denoiser in self.of_modality.items():
            for b in self.streams:
                h[b, m] = denoise("modality", denoiser, (b, m), (b, "id"))
        for n, denoiser in self.of_behavior.items():
            h["shallow", n] = denoise("behavior", denoiser, ("shallow", n), ("deep", n))
        return h, masks

    def embedded(self, x: dict[str, Tensor], history: History, generator: torch.Generator | None) -> Tokens:
        """h ``(B, L, D)`` by stream and modality: rows of x with their positions; a generator drops some out."""
        tokens = {}
        for b in self.streams:
            place, there = history[b].items, history[b].mask[..., None]
            for n in x:
                placed = F.embedding(place, x[n]) * there + self.positions[n][-place.shape[1] :]
                tokens[b, n] = dropout(self.norms[n](placed), self.rate, generator)
        return tokens

    def opinions(
        self,
        history: History,
        generator: torch.Generator | None = None,
        noise: dict[str, Tensor] | None = None,
        repeats: int = 1,
    ) -> list[Opinions]:
        """What the experts say of each row, ``repeats`` times under other dropouts; ``noise`` as in :meth:`tokens`.

        Rows of like length are read together, on a CPU ``ROWS`` at a time: less padding, and activations that stay in
        its cache.
        """
        x, places = self.lookup(history)
        groups = alike(places, ROWS if self.items.device.type == "cpu" else len(history[self.streams[0]].mask))
        said: list[list[Opinions]] = [[] for _ in range(repeats)]
        for _, group in groups:
            tokens = self.tokens(x, group, generator, noise)
            for parts in said:
                parts.append(self.experts(*tokens, self.rate, generator))
        back = torch.cat([rows for rows, _ in groups]).argsort()
        return [{e: torch.cat([p[e] for p in parts]).index_select(0, back) for e in parts[0]} for parts in said]

    def _routed(self, experts: Opinions) -> Tensor:
        """y ``(B, D)``, and a 1 for the bias: ``(B, D + 1)``."""
        y = experts.get(COMMON)
        if "specific" in self.experts.kinds:
            own = [torch.cat([experts[b, n] for n in self.norms], dim=1) for b in self.streams]
            both = torch.cat([self.joint[b](h) for b, h in zip(self.streams, own, strict=True)], dim=1)
            rest = self.output(both)
            y = rest if y is None else torch.lerp(rest, y, torch.sigmoid(self.gate(torch.cat([y, both], dim=1))))
        assert y is not None
        return F.pad(y, (0, 1), value=1.0)

    def encode(self, history: History, generator: torch.Generator | None = None) -> Tensor:
        return self._routed(*self.opinions(history, generator))

    def item_table(self) -> Tensor:
        return torch.cat([self.items, self.bias[:, None]], dim=1)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        noise: dict[str, Tensor] = {}
        repeats = 2 if self.push == "infonce" and self.weights["push"] else 1
        said = self.opinions(batch.history, batch.generator, noise, repeats)
        experts, again = said[0], said[1] if repeats == 2 else None
        parts = {"softmax": F.cross_entropy(self._routed(experts) @ self.item_table().T, batch.positives)}
        shallow, deep = (batch.history[b].mask.sum() for b in self.streams)
        events = {"modality": shallow + deep, "behavior": shallow}
        parts |= {part: self.weights[part] * total / events[part].clamp(min=1) for part, total in noise.items()}
        if self.weights["push"] and len(experts) > 1:
            parts["push"] = self.weights["push"] * push_loss(experts, again, self.temperature)
        return parts

    @torch.no_grad()
    def trajectory(
        self,
        modality: str,
        history: History,
        generator: torch.Generator,
        *,
        behavior: str = "shallow",
        eta: float = 0.0,
    ) -> Trajectory:
        """Tokens of one modality noised to h_T and led back, ids given: states ``(T + 1, B, L, D)`` and predicted h_0.

        ``history`` is what :meth:`histories` tells of some users before some moments; places without an event are
        padding in its mask.

        Raises:
            UserError: a modality that has no denoiser, or an unknown behaviour.
        """
        if modality not in self.of_modality:
            raise UserError(f"m3bsr: no diffusion of {modality!r}; {nearest(modality, self.of_modality)}")
        if behavior not in self.streams:
            raise UserError(f"m3bsr: behavior = {behavior!r}; {nearest(behavior, self.streams)}")
        h = self.embedded(*self.lookup(history), None)
        clean, ids, mask = h[behavior, modality], h[behavior, "id"], history[behavior].mask
        denoiser, record = self.of_modality[modality], list[Step]()
        assert isinstance(denoiser, ConditionalDenoiser)
        process, network = denoiser.process, denoiser.network
        steps = process.subset(process.steps)
        state = process.q_sample(clean, steps[0], standard_normal(clean, generator))
        process.reverse(
            lambda h_t, t: network(h_t, t, ids, valid=mask),
            state,
            steps,
            kind="eps",
            eta=eta,
            generator=generator,
            record=record,
        )
        return Trajectory.of(steps, state, record)
