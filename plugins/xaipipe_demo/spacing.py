"""Which candidates on a grid stay when some stand too close: settled among neighbours, whatever the window."""

import numpy as np
from numpy.typing import NDArray

from xaipipe_demo.noise import Floats

_REACH = 2
"""Cells within which two candidates may be too close to each other."""

_ROUNDS = 3

MARGIN = _REACH * (2 * _ROUNDS - 1)
"""Cells beyond a window that can still decide what stays in it: every round but the last looks twice."""

_Slices = tuple[slice, slice]


def settle(points: NDArray[np.float64], rank: Floats, present: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep candidates that outrank every rival too close to them; losers' rivals get further chances.

    Three rounds of local maxima look at a bounded neighbourhood, so the outcome in a cell does not depend on
    the window it is computed in. What is still undecided then is dropped.
    """
    rivals = [(slice_pair, _too_close(points, *slice_pair)) for slice_pair in _neighbour_slices(rank.shape)]
    kept = np.zeros_like(present)
    open_ = present.copy()
    for _ in range(_ROUNDS):
        winners = open_.copy()
        for (a, b), close in rivals:
            both = close & open_[a] & open_[b]
            winners[a] &= ~(both & (rank[a] <= rank[b]))
            winners[b] &= ~(both & (rank[b] < rank[a]))
        kept |= winners
        open_ &= ~winners
        for (a, b), close in rivals:
            open_[a] &= ~(close & winners[b])
            open_[b] &= ~(close & winners[a])
    return kept


def _neighbour_slices(shape: tuple[int, ...]) -> list[tuple[_Slices, _Slices]]:
    """Every pair of cells within reach once, as pairs of aligned slices of the grid."""
    h, w = shape
    pairs = []
    for dy in range(_REACH + 1):
        for dx in range(-_REACH, _REACH + 1):
            if (dy, dx) > (0, 0):
                here = slice(0, h - dy), slice(max(-dx, 0), w - max(dx, 0))
                there = slice(dy, h), slice(max(dx, 0), w - max(-dx, 0))
                pairs.append((here, there))
    return pairs


def _too_close(points: NDArray[np.float64], a: _Slices, b: _Slices) -> NDArray[np.bool_]:
    """Whether the rooms of two nuclei meet."""
    (ay, ax, ar), (by, bx, br) = points[(slice(None), *a)], points[(slice(None), *b)]
    near: NDArray[np.bool_] = (ay - by) ** 2 + (ax - bx) ** 2 < (ar + br) ** 2
    return near
