"""Memory of a piece of work."""

from __future__ import annotations

import torch

from nbkit import repro
from nbkit.training.memory import PeakMemory


def test_what_is_held_and_let_go_again_counts_and_what_was_held_before_does_not():
    repro.tune_allocator()
    before = torch.ones(4_000_000)  # 16 MB
    meter = PeakMemory(torch.device("cpu"))
    assert meter.bytes() < 8 * 2**20
    held = torch.ones(16_000_000)  # 64 MB
    del held
    assert 56 * 2**20 < meter.bytes() < 120 * 2**20
    again = PeakMemory(torch.device("cpu"))  # the 64 MB, freed but perhaps kept, are no head start
    held = torch.ones(16_000_000)
    assert 56 * 2**20 < again.bytes() < 120 * 2**20
    assert held.sum() == 16_000_000
    assert before.sum() == 4_000_000
