"""Experts over the tokens of several behaviours and modalities, and what keeps them apart."""

from __future__ import annotations

from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.models.attention import Attention, TransformerBlock

COMMON = ("common",)
Tokens = dict[tuple[str, str], Tensor]  # (behaviour, modality) -> (B, L, D), L that of the behaviour's stream
Masks = dict[str, Tensor]  # behaviour -> (B, L) bool, whether there is an event
Opinions = dict[tuple[str, ...], Tensor]  # COMMON, or (behaviour, modality) -> (B, D)


class Experts(nn.Module):
    """One expert for what behaviours have in common, one for each modality (ids are one), shared by behaviours.

    Shapes: tokens ``(B, L, D)`` by behaviour and modality, masks ``(B, L)`` by behaviour -> ``(B, D)`` by name.
    """

    def __init__(
        self, names: list[str], kinds: tuple[str, ...], dim: int, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.names, self.kinds, self.norm = names, kinds, nn.LayerNorm(dim)
        if "common" in kinds:
            self.null = nn.Parameter(0.02 * torch.randn(dim, generator=generator))
            self.attention, self.common = Attention(dim, heads, generator), TransformerBlock(dim, heads, generator)
        if "specific" in kinds:
            self.specific = nn.ModuleDict({n: TransformerBlock(dim, heads, generator) for n in names})

    def forward(
        self, tokens: Tokens, masks: Masks, rate: float = 0.0, generator: torch.Generator | None = None
    ) -> Opinions:
        experts: Opinions = {}
        if "common" in self.kinds:
            shallow, deep = (torch.cat([tokens[b, n] for n in self.names], dim=1) for b in masks)  # (B, ML, D)
            there, valid = (mask.repeat(1, len(self.names)) for mask in masks.values())
            keys = torch.cat([self.null.expand(len(deep), 1, -1), deep], dim=1)
            allowed = F.pad(valid, (1, 0), value=True)[:, None].expand(-1, there.shape[1], -1)
            h = self.common(shallow + self.attention(shallow, keys, allowed), there, rate=rate, generator=generator)
            experts[COMMON] = self.norm((h * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp(min=1))
        if "specific" in self.kinds:
            for name, block in self.specific.items():
                for b, mask in masks.items():
                    read = block(tokens[b, name], mask, last=True, rate=rate, generator=generator)
                    experts[b, name] = self.norm(read[:, 0])
        return experts


def push_loss(experts: Opinions, again: Opinions | None = None, temperature: float = 0.2) -> Tensor:
    """How alike different experts are.

    Mean cos² of every pair with the common expert, of modalities within a behaviour and of behaviours within a
    modality. With ``again``, the same experts under another dropout, the contrastive reading: each expert against its
    own second opinion, the others' second opinions being the negatives. Source: M3BSR, L_contrast.
    """
    one, other = (F.normalize(torch.stack([*e.values()], dim=1), dim=2) for e in (experts, again or experts))
    cosine = one @ other.transpose(1, 2)  # (B, experts, experts)
    if again is not None:
        own = torch.arange(len(experts), device=cosine.device).repeat(len(cosine))
        return F.cross_entropy(cosine.flatten(0, 1) / temperature, own)
    pairs = [
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(experts), 2)
        if COMMON in (a, b) or a[0] == b[0] or a[1] == b[1]
    ]
    rows, columns = zip(*pairs, strict=True)
    return cosine[:, rows, columns].square().mean()
