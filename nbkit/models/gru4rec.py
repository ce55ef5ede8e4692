"""GRU4Rec: the next item from the state of a recurrent network."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nbkit.config import Dim, Dropout, Range
from nbkit.data.sequences import RAREST, Deep, Length, Predict, Stream, StreamName
from nbkit.layers import dropout
from nbkit.models.base import Batch, Grid, History, Inputs, Paper, SequentialRecommender
from nbkit.models.layers import bpr_loss, embedding


class GRU4Rec(SequentialRecommender):
    """A gated recurrent unit reads the last events of a user; its state after the latest asks for the next item.

    h_l = GRU(h_{l-1}, q[s_l]), h_0 = 0;  s_i = h_L · o_i;  L = -mean log softmax(s)_target over all items, or, as in
    the paper, against the other targets j of the batch: ``bpr`` -mean log σ(s_target - s_j), ``top1``
    mean [σ(s_j - s_target) + σ(s_j²)].

    The full softmax is the default for comparison with SASRec and M3BSR. Each target event is an example of its own;
    the paper's session-parallel batches, which carry the state on, are not needed.

    Shapes: ``items`` q and ``outputs`` o ``(I, D)``, the paper's one-hot input and its output layer.
    Source: Hidasi et al., ICLR 2016, section 3.
    """

    name = "gru4rec"
    paper = Paper(
        "Session-based Recommendations with Recurrent Neural Networks", "ICLR 2016", "https://arxiv.org/abs/1511.06939"
    )
    modalities = "none"
    grid = Grid("ours", {"dropout": (0.1, 0.2, 0.4)}, {"lr": (1e-3, 3e-3, 1e-2)})

    def __init__(
        self,
        inputs: Inputs,
        *,
        dim: Dim = 64,
        length: Length = 20,
        layers: Annotated[int, Range(1, 8), "recurrent layers"] = 1,
        dropout: Annotated[Dropout, "dropout of the item vectors read and of the last state"] = 0.2,
        loss: Annotated[
            Literal["softmax", "bpr", "top1"], "over all items, or against the batch as in the paper"
        ] = "softmax",
        events: Annotated[StreamName, "events a history is made of"] = "all",
        predict: Predict = "all",
        deep: Deep = RAREST,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.streams, self.length, self.predict, self.deep = (events,), length, predict, deep
        self.rate, self.loss = dropout, loss
        self.items = embedding(inputs.num_items, dim, generator)
        self.outputs = embedding(inputs.num_items, dim, generator)
        self.gru = nn.GRU(dim, dim, layers, batch_first=True, device="meta").to_empty(device="cpu")
        for weights in self.gru.parameters():
            nn.init.uniform_(weights, -(dim**-0.5), dim**-0.5, generator=generator)

    def encode(self, history: History, generator: torch.Generator | None = None) -> Tensor:
        events, count = _padded_on_the_right(history[self.streams[0]])
        states, _ = self.gru(dropout(F.embedding(events, self.items), self.rate, generator))  # (B, L, D)
        last = (count - 1).clamp(min=0)[:, None, None].expand(-1, 1, states.shape[2])
        state = states.gather(1, last).squeeze(1) * (count > 0)[:, None]  # an empty history leaves h_0
        return dropout(state, self.rate, generator)

    def item_table(self) -> Tensor:
        return self.outputs

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        state = self.encode(batch.history, batch.generator)
        if self.loss == "softmax":
            return {"softmax": F.cross_entropy(state @ self.outputs.T, batch.positives)}
        scores = state @ F.embedding(batch.positives, self.outputs).T  # (B, B), own targets on the diagonal
        own, others = scores.diagonal()[:, None], batch.positives != batch.positives[:, None]
        own, other = own.expand_as(scores)[others], scores[others]
        if self.loss == "bpr":
            return {"bpr": bpr_loss(own, other)}
        return {"top1": (torch.sigmoid(other - own) + torch.sigmoid(other.square())).mean()}


def _padded_on_the_right(stream: Stream) -> tuple[Tensor, Tensor]:
    """Items with the padding moved behind them, where no state that is read passes through it; their count ``(B,)``."""
    count = stream.mask.sum(1)
    length = stream.items.shape[1]
    place = torch.arange(length, device=count.device) + (length - count)[:, None]
    return stream.items.gather(1, place.clamp(max=length - 1)), count
