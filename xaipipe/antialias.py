"""Pictures at another resolution: every new pixel is the mean of what it covers.

Weights depend on where a pixel lies on the whole picture, never on the box that is asked for, and all sums are of
integers. So a box is the crop of the whole, bit for bit. Pixel k covers [k, k + 1): both pictures share the corner.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

Array = np.ndarray[Any, Any]
_BITS = 14
"""Weights are whole numbers that add up to 2^14: 255 times that leaves room in 32 bits."""
_KEPT = 8
"""Binary places that are kept between the two axes."""


class Weights:
    """What the pixels first, first + 1, … along one axis are made of.

    `factor` is how many source pixels a new one spans. From 1 on they are weighted by the area that the new one covers;
    below 1 the new pixel lies between two source pixels, and is interpolated.
    """

    def __init__(self, first: int, count: int, factor: float, length: int) -> None:
        places, weights = _covered(first, count, factor, length)
        self.start = int(places.min())
        self.stop = int(places.max()) + 1
        taps = np.arange(count + 1) * places.shape[1]
        shape = (count, self.stop - self.start)
        self._matrix = sparse.csr_matrix((weights.ravel(), (places - self.start).ravel(), taps), shape=shape)

    def apply(self, lines: Array) -> Array:
        """Integers [stop - start, n] → [count, n], 2^14 times as large."""
        mixed: Array = self._matrix @ lines
        return mixed


def reduced(pixels: Array, rows: Weights, columns: Weights) -> Array:
    """uint8[h, w, 3] of the box that the weights start and stop at, as the new pixels."""
    h, w, _ = pixels.shape
    lines = _rounded(rows.apply(pixels.reshape(h, w * 3).astype(np.int32)), _BITS - _KEPT)
    turned = np.ascontiguousarray(lines.reshape(-1, w, 3).transpose(1, 0, 2)).reshape(w, -1)
    mixed = _rounded(columns.apply(turned), _BITS + _KEPT)
    return np.ascontiguousarray(mixed.astype(np.uint8).reshape(-1, len(lines), 3).transpose(1, 0, 2))


def _covered(first: int, count: int, factor: float, length: int) -> tuple[Array, Array]:
    """Source pixels [count, taps] and their weights, which add up to 2^14 in every row."""
    if factor < 1:
        centres = np.clip((np.arange(first, first + count) + 0.5) * factor - 0.5, 0, length - 1)
        low = np.floor(centres).astype(np.int64)
        share = np.rint((centres - low) * (1 << _BITS)).astype(np.int32)
        return np.minimum(low[:, None] + [0, 1], length - 1), np.stack([(1 << _BITS) - share, share], axis=1)
    borders = np.arange(first, first + count + 1) * factor
    begin, end = borders[:-1, None], np.minimum(borders[1:, None], length)
    edges = np.floor(begin).astype(np.int64) + np.arange(int(np.ceil(factor)) + 2)
    passed = np.rint(np.clip((edges - begin) / (end - begin), 0, 1) * (1 << _BITS)).astype(np.int32)
    return np.minimum(edges[:, :-1], length - 1), np.diff(passed, axis=1)


def _rounded(values: Array, bits: int) -> Array:
    values += 1 << (bits - 1)
    values >>= bits
    return values
