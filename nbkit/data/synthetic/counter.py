"""Random numbers that are a function of where they are used, so that no chunk of users depends on another.

A stream that is read in order would tie a user's draws to the users before it. Here each number is a hash of
the seed, the purpose, the user and a position: a million users in pieces of any size, or one alone, agree.
The mixing step is that of SplitMix64 (Steele, Lea and Flood 2014).
"""

from __future__ import annotations

import zlib

import numpy as np

_STEP = np.uint64(0x9E3779B97F4A7C15)


def _scramble(state: np.ndarray) -> np.ndarray:
    state = state + _STEP
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, purpose: str, row: np.ndarray, column: np.ndarray | int) -> np.ndarray:
    """Numbers in (0, 1), one for each (row, column) after broadcasting; equal arguments, equal numbers."""
    with np.errstate(over="ignore"):  # wrapping round 2^64 is the point
        key = _scramble(_scramble(np.asarray(seed, dtype=np.uint64)) ^ np.uint64(zlib.crc32(purpose.encode())))
        state = _scramble(np.asarray(row).astype(np.uint64) ^ key)
        state = _scramble(state ^ _scramble(np.asarray(column).astype(np.uint64)))
    return ((state >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
