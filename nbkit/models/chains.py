"""Likely likes that were never observed, searched among the neighbours of what a user trained on.

``U`` users, ``I`` items, ``P`` training pairs, ``D`` width, ``k`` neighbours. Memory and time grow with the number of
candidates (at most P times all neighbours of an item) and with U, never with U × I or I².
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_USERS, _REFERENCE = 256, 1_000  # users searched at a time; items that an item is ranked among


class Chains(nn.Module):
    """For each user a few unobserved items j* to be placed between an observed item and a sampled one.

    A candidate is an unobserved neighbour, in any modality, of one of the user's training items. It is kept if it ranks
    within ``modal_top`` of the user's unobserved items in every modality and within ``behaviour_top`` by behaviour;
    ranks are shares of a random sample of items that score higher (of all, up to 1,000). Of those kept a user gets the
    ⌈``share`` · |N_u|⌉ of best mean rank.

    Shapes: ``pairs`` ``(P, 2)``, ``near`` ``(I, K)`` the neighbours of all modalities side by side; ``items``
    ``(room,)``, users one after the other, and ``found`` ``(U,)`` are saved with the model.
    """

    items: Tensor
    found: Tensor
    room: Tensor
    keys: Tensor
    near: Tensor

    def __init__(
        self,
        pairs: Tensor,
        near: Tensor,
        num_users: int,
        *,
        share: float = 0.1,
        modal_top: float = 0.01,
        behaviour_top: float = 0.05,
    ) -> None:
        super().__init__()
        self.num_items, self.modal_top, self.behaviour_top = len(near), modal_top, behaviour_top
        room = torch.ceil(share * torch.bincount(pairs[:, 0], minlength=num_users)).long()
        self.register_buffer("room", room, persistent=False)
        self.register_buffer("keys", torch.sort(pairs[:, 0] * len(near) + pairs[:, 1]).values, persistent=False)
        self.register_buffer("near", near, persistent=False)
        self.register_buffer("items", torch.full((int(room.sum()),), -1))
        self.register_buffer("found", torch.zeros(num_users, dtype=torch.int64))

    @torch.no_grad()
    def search(
        self, modal: Sequence[tuple[Tensor, Tensor]], behaviour: tuple[Tensor, Tensor], generator: torch.Generator
    ) -> None:
        """Search anew, by user and item vectors ``(U, D)``, ``(I, D)`` of each modality and of behaviour."""
        self.items.fill_(-1)
        self.found.zero_()
        drawn = torch.randperm(self.num_items, generator=generator, device=self.keys.device)[:_REFERENCE]
        for start in range(0, len(self.found), _USERS):
            users, items = self._candidates(start)
            if len(users):
                ranks = torch.stack([self._rank(start, users, items, v, drawn) for v in (*modal, behaviour)])
                kept = (ranks[:-1] <= self.modal_top).all(0) & (ranks[-1] <= self.behaviour_top)
                mean = (ranks[:-1].mean(0) + ranks[-1]) / 2
                self._keep(users[kept], items[kept], mean[kept])

    def draw(self, users: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One of each user's items, ``(B,) -> (B,)`` items and bool ``(B,)``, false where there is none."""
        found = self.found[users]
        share = torch.rand(users.shape, generator=generator, device=users.device)
        place = (self.room.cumsum(0) - self.room)[users] + (share * found).long()
        # A user without training pairs has no room, and the last such one would point behind the list.
        return self.items[place.clamp(max=len(self.items) - 1)].clamp(min=0), found > 0

    def _candidates(self, start: int) -> tuple[Tensor, Tensor]:
        """Users ``(n,)``, ascending, and unobserved items ``(n,)``, from the neighbours of some users' items."""
        own = self._observed(start)
        users, items = own // self.num_items, own % self.num_items
        keys = torch.unique(users[:, None] * self.num_items + self.near[items])
        keys = keys[~torch.isin(keys, own)]
        return keys // self.num_items, keys % self.num_items

    def _observed(self, start: int) -> Tensor:
        first, last = torch.searchsorted(self.keys, self.keys.new_tensor([start, start + _USERS]) * self.num_items)
        return self.keys[first:last]

    def _rank(self, start: int, users: Tensor, items: Tensor, vectors: tuple[Tensor, Tensor], drawn: Tensor) -> Tensor:
        """Share of the drawn items, without the user's own, that score above each candidate: ``(n,)``."""
        user_vectors, item_vectors = vectors
        reference = user_vectors[start : start + _USERS] @ item_vectors[drawn].T  # (users, R)
        place = torch.full((self.num_items,), -1, device=drawn.device)
        place[drawn] = torch.arange(len(drawn), device=drawn.device)
        own = self._observed(start)
        column = place[own % self.num_items]
        reference[(own // self.num_items - start)[column >= 0], column[column >= 0]] = -torch.inf
        score = (user_vectors[users] * item_vectors[items]).sum(1)
        column = place[items]  # an item that was drawn is not above itself, whatever rounding says
        itself = (column >= 0) & (reference[users - start, column.clamp(min=0)] > score)
        position = _within(users)
        table = score.new_zeros(len(reference), int(position.max()) + 1)  # one row a user, as searchsorted wants it
        table[users - start, position] = score
        below = torch.searchsorted(reference.sort(dim=1).values, table, right=True)
        return 1 - (below[users - start, position] + itself.long()) / len(drawn)

    def _keep(self, users: Tensor, items: Tensor, rank: Tensor) -> None:
        best = torch.argsort(rank, stable=True)
        best = best[torch.argsort(users[best], stable=True)]
        users, items = users[best], items[best]
        position = _within(users)
        fits = position < self.room[users]
        self.items[(self.room.cumsum(0) - self.room)[users[fits]] + position[fits]] = items[fits]
        self.found.index_add_(0, users[fits], torch.ones_like(users[fits]))


def _within(groups: Tensor) -> Tensor:
    """How many equal numbers stand before each of an ascending list: ``(n,) -> (n,)``."""
    return torch.arange(len(groups), device=groups.device) - torch.searchsorted(groups, groups)
