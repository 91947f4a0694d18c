"""Masks put in order: gaps closed, holes filled, specks removed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_SQUARE = np.ones((3, 3), bool)


def without_small(mask: np.ndarray, cells: float) -> np.ndarray:
    """Connected pieces of at least so many cells."""
    pieces, _ = ndimage.label(mask, _SQUARE)
    kept = np.bincount(pieces.ravel()) >= cells
    kept[0] = False
    return kept[pieces]


def closed(mask: np.ndarray, radius: int) -> np.ndarray:
    """Gaps of up to twice the radius are closed, at the border as well."""
    if not radius:
        return mask
    wide = ndimage.binary_dilation(np.pad(mask, radius), _SQUARE, iterations=radius)
    tight = ndimage.binary_erosion(wide, _SQUARE, iterations=radius, border_value=1)
    return tight[radius:-radius, radius:-radius]


def filled(mask: np.ndarray, cells: float) -> np.ndarray:
    """Holes of up to so many cells are filled; what reaches the border is none."""
    gaps, _ = ndimage.label(~mask)
    hole = np.bincount(gaps.ravel()) <= cells
    hole[0] = False
    for edge in (gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]):
        hole[edge] = False
    return mask | hole[gaps]
