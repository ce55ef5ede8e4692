"""Item features: descriptors of the rendered picture and of the title, or mixtures of the attributes.

No coordinate belongs to one attribute: every descriptor ends in a fixed random projection. Sums run in
float64 and are rounded to 1e-4, so coarse that machines that add in another order write the same table.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import sparse

from nbkit.data.synthetic.attributes import one_hot

IMAGE_DIM, TEXT_DIM = 128, 96
_SIDE, _CHUNK, _BUCKETS = 80, 32, 4096  # pixels a side, pictures at a time, places of the text hash
_NUISANCE, _NOISE = 2.0, 2.0  # weights in a mixture, beside 1 for the relevant attributes


def render(svg: str, side: int = _SIDE) -> np.ndarray:
    """The picture as pixels, ``(side, side, 3)`` uint8."""
    import resvg_py
    from PIL import Image

    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side, skip_system_fonts=True))
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def image_features(pictures: Sequence[str]) -> np.ndarray:
    """Colour, gradient and texture statistics of rendered pictures, ``(I, 128)`` float32."""
    blocks = []
    for start in range(0, len(pictures), _CHUNK):
        pixels = np.stack([render(svg) for svg in pictures[start : start + _CHUNK]])
        blocks.append(describe(pixels / 255.0))
    return _project(np.concatenate(blocks), IMAGE_DIM, seed=1)


def describe(pixels: np.ndarray) -> np.ndarray:
    """Statistics of pictures in [0, 1], ``(B, S, S, 3) -> (B, F)``; smooth in every pixel."""
    grey = pixels @ np.array([0.3, 0.59, 0.11])
    parts = [
        0.3 * _colour_layout(pixels),
        _gradient_layout(grey),
        2 * _texture(pixels, grey),
        2.5 * _hues(pixels),
    ]
    return np.concatenate(parts, axis=1)


def _pool(maps: np.ndarray, cells: int) -> np.ndarray:
    """Means over a grid of cells, ``(B, S, S, C) -> (B, cells, cells, C)``."""
    batch, side, _, channels = maps.shape
    step = side // cells
    return maps[:, : step * cells, : step * cells].reshape(batch, cells, step, cells, step, channels).mean(axis=(2, 4))


_PALETTE = np.stack(np.meshgrid(*[np.array([0.12, 0.5, 0.88])] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


def _colour_layout(pixels: np.ndarray) -> np.ndarray:
    small = _pool(pixels, 20)
    distance = ((small[..., None, :] - _PALETTE) ** 2).sum(-1)
    nearness = np.exp(-distance / (2 * 0.17**2))
    shares = nearness / nearness.sum(-1, keepdims=True)
    return np.sqrt(_pool(shares, 4)).reshape(len(pixels), -1) / 4


def _hues(pixels: np.ndarray) -> np.ndarray:
    """Strength of twelve hues against the picture's mean colour, in the middle: as a whole and by cells."""
    small = _pool(pixels, 20)
    red, green, blue = small[..., 0], small[..., 1], small[..., 2]
    opponent = np.stack([red - green, (red + green) / 2 - blue], axis=-1)
    opponent -= opponent.mean(axis=(1, 2), keepdims=True)
    angles = np.arange(12) * np.pi / 6
    energy = 10 * np.maximum(opponent[..., :1] * np.cos(angles) + opponent[..., 1:] * np.sin(angles), 0) ** 2
    bell = np.exp(-((np.arange(20) - 9.5) ** 2) / (2 * 4.0**2))
    focus = bell[:, None] * bell / bell.sum() ** 2
    middle = (energy * focus[..., None]).sum(axis=(1, 2))
    cells = _pool(energy, 5)[:, 1:4, 1:4].reshape(len(pixels), -1)
    return np.concatenate([np.sqrt(middle + 1e-4), np.sqrt(cells + 1e-4) / 3], axis=1)


def _gradients(grey: np.ndarray) -> np.ndarray:
    """Gradient strength along eight directions, ``(B, S, S) -> (B, S - 2, S - 2, 8)``."""
    across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    angles = np.arange(8) * np.pi / 4
    return np.maximum(across[..., None] * np.cos(angles) + down[..., None] * np.sin(angles), 0)


def _gradient_layout(grey: np.ndarray) -> np.ndarray:
    cells = _pool(_gradients(grey), 6)
    energy = np.sqrt((cells**2).sum(-1, keepdims=True) + 1e-3)
    return (cells / energy).reshape(len(grey), -1) / 6


def _texture(pixels: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Contrast by scale and direction in the middle of the picture, where the product is."""
    parts = []
    middle = slice(grey.shape[1] // 4, -(grey.shape[1] // 4))
    for scale in (1, 2, 4):
        level = _pool(grey[..., None], grey.shape[1] // scale)[..., 0]
        inner = slice(level.shape[1] // 4, -(level.shape[1] // 4))
        slopes = _gradients(level)[:, inner, inner]
        parts += [slopes.mean((1, 2)), np.sqrt((slopes**2).mean((1, 2)))]
        curve = np.abs(
            4 * level[:, 1:-1, 1:-1]
            - level[:, :-2, 1:-1]
            - level[:, 2:, 1:-1]
            - level[:, 1:-1, :-2]
            - level[:, 1:-1, 2:]
        )
        parts += [curve[:, inner, inner].mean((1, 2))[:, None]]
    centre = pixels[:, middle, middle]
    parts += [centre.mean((1, 2)), centre.std((1, 2))]
    return np.concatenate(parts, axis=1) * 2


def text_features(titles: Sequence[str]) -> np.ndarray:
    """Hashed words and letter groups of titles, weighted by tf-idf, ``(I, 96)`` float32."""
    rows, columns = [], []
    for row, title in enumerate(titles):
        grams = [zlib.crc32(gram.encode()) % _BUCKETS for gram in _grams(title)]
        rows += [row] * len(grams)
        columns += grams
    counts = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(titles), _BUCKETS))
    idf = np.log((1 + len(titles)) / (1 + np.bincount(counts.indices, minlength=_BUCKETS)))
    weights = counts.log1p().multiply(idf).tocsr()
    weights = weights.multiply(1 / np.sqrt(weights.power(2).sum(axis=1))[:, None]).tocsr()
    return _project(weights, TEXT_DIM, seed=2)


def _grams(title: str) -> list[str]:
    words = "".join(letter if letter.isalnum() else " " for letter in title.lower()).split()
    return words + [f"#{word[k : k + 4]}" for word in words for k in range(len(word) - 3)]


def mixed_features(
    relevant: pd.DataFrame, nuisance: pd.DataFrame, dim: int, generator: np.random.Generator
) -> np.ndarray:
    """A random linear mixture of attributes and noise, ``(I, dim)`` float32, without pictures or titles."""
    wanted, other = one_hot(relevant), one_hot(nuisance)
    mixing = generator.standard_normal((wanted.shape[1] + other.shape[1], dim))
    table = np.concatenate([wanted, _NUISANCE * other], axis=1) @ mixing
    return _finish(table + _NOISE * generator.standard_normal(table.shape))


def _project(table: np.ndarray | sparse.csr_array, dim: int, seed: int) -> np.ndarray:
    return _finish(table @ np.random.default_rng(seed).standard_normal((table.shape[1], dim)))


def _finish(table: np.ndarray) -> np.ndarray:
    """Centred, with one common scale (no whitening: a strong nuisance stays strong), rounded to 1e-4."""
    table = table - table.mean(axis=0)
    return np.round(table / np.sqrt((table**2).mean()), 4).astype(np.float32)
