"""How 2 × 2 cells become one: a rule for each kind of array. Blocks [C, h, w] start at an even row and column."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np


def mean_of_finite(block: np.ndarray) -> np.ndarray:
    """The mean of the cells that hold a value, summed in reading order; NaN where none does."""
    cells = [part.astype(np.float64) for part in _quarters(block)]
    present = [np.isfinite(part) for part in cells]
    total = np.zeros(cells[0].shape)
    count = np.zeros(cells[0].shape, np.uint8)
    for part, there in zip(cells, present, strict=True):
        np.add(total, part, out=total, where=there)
        count += there
    nothing = np.full(total.shape, np.nan)
    return np.divide(total, count, out=nothing, where=count > 0).astype(block.dtype)


def rounded_mean(block: np.ndarray) -> np.ndarray:
    """The mean of bytes, halves rounded up."""
    first, *others = _quarters(block)
    total = first.astype(np.uint16)
    for part in others:
        total += part
    return ((total + 2) >> 2).astype(block.dtype)


def most_frequent_label(block: np.ndarray) -> np.ndarray:
    """The label that occurs most, background left out; among equals the first in reading order.

    No label is invented, and none is lost to the background: an object of one pixel stays one cell at every level.
    Areas grow by that, so they are to be measured on level 0.
    """
    quarters = _quarters(block)
    anything = np.zeros(quarters[0].shape, bool)
    for part in quarters:
        anything |= part != 0
    result = np.zeros(quarters[0].shape, block.dtype)
    if anything.any():
        result[anything] = _winners(np.stack([part[anything] for part in quarters]))
    return result


RULES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "heatmap": mean_of_finite,
    "image": rounded_mean,
    "labels": most_frequent_label,
}
METHODS: Mapping[str, tuple[str, str]] = {
    "heatmap": ("mean", "mean of the finite cells of 2 × 2"),
    "display": ("mean", "mean of the finite cells of 2 × 2 of the map, put into its display window"),
    "image": ("mean", "mean of 2 × 2 pixels, halves rounded up, where the slide has no level of its own"),
    "labels": ("mode", "most frequent label of 2 × 2 pixels, background left out: measure areas on level 0"),
}
"""The same in words, for the metadata: a name, a sentence."""


def _winners(candidates: np.ndarray) -> np.ndarray:
    """Of four labels [4, n], of which one at least is not 0, the winner [n]."""
    votes = (candidates[:, None] == candidates[None]).sum(axis=1)
    votes[candidates == 0] = 0
    return np.take_along_axis(candidates, votes.argmax(axis=0)[None], axis=0)[0]


def _quarters(block: np.ndarray) -> list[np.ndarray]:
    """The four cells that become one, in reading order. At an odd end the last cell counts twice: as if it were all."""
    odd = [(0, 0), (0, block.shape[1] % 2), (0, block.shape[2] % 2)]
    even = np.pad(block, odd, mode="edge") if any(after for _, after in odd) else block
    return [even[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
