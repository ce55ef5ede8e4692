"""SASRec: the next item from a history that reads itself."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Range
from nbkit.data.sequences import RAREST, Deep, Length, Predict, StreamName
from nbkit.errors import UserError
from nbkit.layers import dropout
from nbkit.models.attention import TransformerBlock
from nbkit.models.base import Batch, Grid, History, Inputs, Paper, SequentialRecommender
from nbkit.models.layers import bpr_loss, embedding


class SASRec(SequentialRecommender):
    """Causal self-attention over the last events of a user; its last place asks for the next item.

    X = √D Q[s] + P;  blocks: X ← X + attention(norm(X)), X ← X + W₂ relu(W₁ norm(X) + b₁) + b₂;  z = norm(X)_L;
    s_i = z · q_i;  L = -mean log softmax(s)_target, over all items, or with ``loss="bce"``, as in the paper,
    -mean [log σ(s_target) + log(1 - σ(s_negative))].

    The full softmax is the default since it is M3BSR's loss too: what then differs is the model. The paper predicts at
    every place of one sequence; here each target event is an example with the events strictly before it, so that
    events of equal time see nothing of each other. Attention weights themselves are not dropped out.

    Shapes: ``items`` Q ``(I, D)``, ``positions`` P ``(L, D)``, the last row for the latest event.
    Source: Kang & McAuley, ICDM 2018, section III, eq. 1-7.
    """

    name = "sasrec"
    paper = Paper("Self-Attentive Sequential Recommendation", "ICDM 2018", "https://arxiv.org/abs/1808.09781")
    modalities = "none"
    grid = Grid("ours", {"dropout": (0.1, 0.2, 0.4)}, {"lr": (1e-3, 3e-3, 1e-2)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        length: Length = 20,
        blocks: Annotated[int, Range(1, 16), "self-attention blocks"] = 2,
        heads: Annotated[int, Range(1, 64), "attention heads; they divide dim"] = 1,
        dropout: Annotated[Dropout, "dropout of embeddings, attention and feed-forward outputs"] = 0.2,
        loss: Annotated[Literal["softmax", "bce"], "over all items, or against one negative as in the paper"] = (
            "softmax"
        ),
        events: Annotated[StreamName, "events a history is made of"] = "all",
        predict: Predict = "all",
        deep: Deep = RAREST,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise UserError(f"model sasrec: heads = {heads}; expected a divisor of dim = {dim}")
        self.streams, self.length, self.predict, self.deep = (events,), length, predict, deep
        self.rate, self.loss = dropout, loss
        self.items = embedding(inputs.num_items, dim, generator)
        self.positions = embedding(length, dim, generator)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, generator) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)

    def encode(self, history: History, generator: torch.Generator | None = None) -> Tensor:
        stream = history[self.streams[0]]
        events = F.embedding(stream.items, self.items) * self.items.shape[1] ** 0.5 * stream.mask[..., None]
        x = dropout(events + self.positions[-stream.items.shape[1] :], self.rate, generator)  # (B, L, D)
        for block in self.blocks:
            x = block(x, stream.mask, causal=True, rate=self.rate, generator=generator)
        return self.norm(x[:, -1])

    def item_table(self) -> Tensor:
        return self.items

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        z = self.encode(batch.history, batch.generator)
        if self.loss == "softmax":
            return {"softmax": F.cross_entropy(z @ self.items.T, batch.positives)}
        both = torch.cat([batch.positives, batch.negatives])
        positive, negative = (z.repeat(2, 1) * F.embedding(both, self.items)).sum(1).chunk(2)
        # -log σ(s) = softplus(-s): the pairwise loss against a score of 0.
        zero = torch.zeros_like(positive)
        return {"bce": bpr_loss(positive, zero) + bpr_loss(zero, negative)}
