"""Quantities of a whole slide, gathered region by region: mergeable, and the same in whatever order they come."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_DROPPED_BITS = 10
_ZERO = 0x80000000 >> _DROPPED_BITS
"""The bin of 0."""


@dataclass(frozen=True)
class Histogram:
    """Counts of float32 values in bins that need no range: only those that are used are kept.

    A bin holds the values that share their sign, exponent and first 13 bits of mantissa, so it is never wider than
    1/8192 of its values, and no slide fills more than 2²² of them.
    """

    bins: np.ndarray[Any, Any]
    """The used bins, in the order of their values."""
    counts: np.ndarray[Any, Any]

    @classmethod
    def of(cls, values: np.ndarray[Any, Any]) -> Histogram:
        """Of all finite values."""
        finite = np.ascontiguousarray(values, np.float32).ravel()
        finite = finite[np.isfinite(finite)] + np.float32(0)  # -0 and 0 are one value
        bins, counts = np.unique(_ordered_bits(finite) >> _DROPPED_BITS, return_counts=True)
        return cls(bins, counts)

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        total = cls.of(np.zeros(0))
        for part in parts:
            bins = np.union1d(total.bins, part.bins)
            counts = np.zeros(len(bins), np.int64)
            for one in (total, part):
                counts[np.searchsorted(bins, one.bins)] += one.counts
            total = cls(bins, counts)
        return total

    def without_zeros(self) -> Histogram:
        """The same but for the values that are 0 (and the smallest subnormals, which share their bin)."""
        other = self.bins != _ZERO
        return Histogram(self.bins[other], self.counts[other])

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def percentile(self, share: float) -> float:
        """A value that at least `share` per cent of the values do not exceed: the upper edge of a bin."""
        if self.count == 0:
            return 0.0
        rank = min(max(math.ceil(share / 100 * self.count), 1), self.count)
        return float(_upper_edges(self.bins)[np.searchsorted(np.cumsum(self.counts), rank)])

    def otsu(self) -> float:
        """The threshold with the largest variance between the sides; where all values are one, none exceeds it."""
        edges = _upper_edges(self.bins).astype(np.float64)
        if len(edges) < 2:
            return float(edges[0]) if len(edges) else 0.0
        weights = self.counts.astype(np.float64)
        below, above = np.cumsum(weights)[:-1], np.cumsum(weights[::-1])[::-1][1:]
        sums = np.cumsum(weights * edges)
        gap = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
        best = int(np.argmax(below * above * gap**2))
        return float((edges[best] + edges[best + 1]) / 2)


def _ordered_bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Floats as integers of the same order."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))


def _upper_edges(bins: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The largest value of every bin, but 0 for the bin of 0 and the smallest subnormals."""
    ordered = (bins.astype(np.uint32) << _DROPPED_BITS) | np.uint32((1 << _DROPPED_BITS) - 1)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    edges = bits.view(np.float32).copy()
    edges[bins == _ZERO] = 0.0
    return edges
