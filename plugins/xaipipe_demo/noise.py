"""Noise that is a function of (key, coordinate) alone, so that any window of a slide can be made by itself."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Hashes = NDArray[np.uint32]

# The quadratic B-spline below leaves uniform [-1, 1] lattice noise with this standard deviation.
_SPLINE_SD = np.float32(0.55 / np.sqrt(3.0))


class Box(NamedTuple):
    """A window: first row, first column, height, width, in pixels or in cells of a coarser grid."""

    y: int
    x: int
    h: int
    w: int

    def grown(self, margin: int) -> "Box":
        """The same window with `margin` more on every side."""
        return Box(self.y - margin, self.x - margin, self.h + 2 * margin, self.w + 2 * margin)

    def rows(self) -> NDArray[np.int64]:
        """Row coordinates as a column, ready to broadcast against `columns`."""
        return np.arange(self.y, self.y + self.h, dtype=np.int64)[:, None]

    def columns(self) -> NDArray[np.int64]:
        """Column coordinates as a row."""
        return np.arange(self.x, self.x + self.w, dtype=np.int64)[None, :]


def salted(seed: int, salt: int) -> int:
    """One 32-bit key per (seed, purpose), so that no two fields of a slide are correlated."""
    key = np.array([(seed * 0x9E3779B1 + salt * 0x85EBCA77 + 0x165667B1) & 0xFFFFFFFF], np.uint32)
    return int(_mix(key)[0])


def _mix(value: Hashes) -> Hashes:
    """Wellons' `lowbias32`, in place: every input bit reaches every output bit."""
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x7FEB352D)
    value ^= value >> np.uint32(15)
    value *= np.uint32(0x846CA68B)
    value ^= value >> np.uint32(16)
    return value


def hashed(key: int, y: ArrayLike, x: ArrayLike) -> Hashes:
    """Hash integer coordinates; `y` and `x` broadcast, and negative coordinates are as good as others."""
    rows = np.array(y, np.int64, ndmin=1).astype(np.uint32) * np.uint32(0x9E3779B1) + np.uint32(key)
    columns = np.array(x, np.int64, ndmin=1).astype(np.uint32) * np.uint32(0x85EBCA77)
    return _mix(_mix(rows) + columns)


def uniform(key: int, y: ArrayLike, x: ArrayLike) -> Floats:
    """Uniform numbers in [0, 1) at integer coordinates."""
    return (hashed(key, y, x) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


def spread(unit: Floats, low: float, high: float) -> Floats:
    """Map [0, 1) to [low, high) without leaving float32."""
    return unit * np.float32(high - low) + np.float32(low)


def _spline(factor: int) -> Floats:
    """Weights [3, factor, 1] of the previous, own and next lattice node at each phase of a cell."""
    t = (np.arange(factor, dtype=np.float32) + np.float32(0.5)) / np.float32(factor)
    return np.stack([(1 - t) ** 2 / 2, 0.75 - (t - 0.5) ** 2, t**2 / 2]).astype(np.float32)[:, :, None]


def _stretch(nodes: Floats, factor: int) -> Floats:
    """Upsample rows: [n + 2, m] nodes to [n * factor, m] values; the long axis stays contiguous."""
    before, own, after = _spline(factor)
    out: Floats = nodes[1:-1, None, :] * own
    scratch = nodes[:-2, None, :] * before
    out += scratch
    np.multiply(nodes[2:, None, :], after, out=scratch)
    out += scratch
    return out.reshape(-1, nodes.shape[1])


def upsample(nodes: Floats, factor: int) -> Floats:
    """Smooth upsampling of a grid with one node to spare on every side: [n + 2, m + 2] to [n f, m f]."""
    wide = np.ascontiguousarray(_stretch(np.ascontiguousarray(nodes.T), factor).T)
    return _stretch(wide, factor)


def field(key: int, box: Box, period: int, step: int = 1) -> Floats:
    """Smooth noise of unit variance whose features are `period` pixels wide.

    `box` counts cells of `step` pixels. Every value is the same nine products in the same order wherever the
    window begins, so windows agree bit for bit where they overlap.
    """
    factor = period // step
    top, left = box.y // factor, box.x // factor
    bottom, right = (box.y + box.h - 1) // factor, (box.x + box.w - 1) // factor
    cells = Box(top, left, bottom - top + 1, right - left + 1).grown(1)
    nodes = uniform(key, cells.rows(), cells.columns())
    nodes = (nodes * np.float32(2.0) - np.float32(1.0)) / _SPLINE_SD
    y, x = box.y - top * factor, box.x - left * factor
    return upsample(nodes, factor)[y : y + box.h, x : x + box.w]


def octaves(key: int, box: Box, periods: dict[int, float], step: int = 1) -> Floats:
    """A weighted sum of fields: {period in pixels: weight}."""
    out = np.zeros((box.h, box.w), np.float32)
    for period, weight in periods.items():
        out += field(salted(key, period), box, period, step) * np.float32(weight)
    return out
