"""Quantities of a whole slide, gathered region by region: mergeable, and the same in whatever order they come."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

_BINS = 1 << 16


@dataclass(frozen=True)
class Histogram:
    """Counts of float32 values in 65,536 bins that need no range.

    A bin holds the values that share their sign, exponent and first seven bits of mantissa, so it is never wider than
    1/128 of its value. Infinite values do not occur: stages check for them.
    """

    counts: np.ndarray[Any, Any]

    @classmethod
    def of(cls, values: np.ndarray[Any, Any]) -> Histogram:
        finite = np.ascontiguousarray(values, np.float32).ravel()
        finite = finite[np.isfinite(finite)] + np.float32(0)  # -0 and 0 are one value
        return cls(np.bincount(_ordered_bits(finite) >> 16, minlength=_BINS))

    @classmethod
    def merged(cls, parts: Iterable[Histogram]) -> Histogram:
        total = np.zeros(_BINS, np.int64)
        for part in parts:
            total += part.counts
        return cls(total)

    @property
    def count(self) -> int:
        return int(self.counts.sum())

    def percentile(self, share: float) -> float:
        """The value below which `share` per cent of the values lie, to the width of a bin."""
        if self.count == 0:
            return 0.0
        rank = min(max(math.ceil(share / 100 * self.count), 1), self.count)
        return float(_centres()[np.searchsorted(np.cumsum(self.counts), rank)])

    def otsu(self) -> float:
        """The threshold with the largest variance between the two sides; the one value where all are equal."""
        used = np.flatnonzero(self.counts)
        if len(used) < 2:
            return float(_centres()[used[0]]) if len(used) else 0.0
        weights, values = self.counts[used].astype(np.float64), _centres()[used].astype(np.float64)
        below, above = np.cumsum(weights)[:-1], np.cumsum(weights[::-1])[::-1][1:]
        sums = np.cumsum(weights * values)
        gap = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
        best = int(np.argmax(below * above * gap**2))
        return float((values[best] + values[best + 1]) / 2)


def _ordered_bits(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Floats as integers of the same order."""
    bits = values.view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000))


def _centres() -> np.ndarray[Any, Any]:
    """The middle value of every bin."""
    ordered = (np.arange(_BINS, dtype=np.uint32) << 16) | np.uint32(0x8000)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    centres = bits.view(np.float32).copy()
    centres[0x8000] = 0.0  # the bin of 0 also holds the smallest subnormals
    return centres
