"""Pixels of a slide's stained tissue: the same ones whenever the slide is asked."""

from __future__ import annotations

import numpy as np

from xaipipe import Slide, Tile
from xaipipe_tiles.density import USUAL_WHITE, density_table, mean_density
from xaipipe_tiles.shares import class_shares
from xaipipe_tiles.stains.stain import STAINED
from xaipipe_tiles.tissue import TISSUE, TissueMask

_BOX = 256
_BOXES = 64
_EVERY = 2
"""Of the pixels along a box's side; neighbours say the same."""


def stained_pixels(slide: Slide, level: int, mask: TissueMask | None) -> np.ndarray:
    """uint8 [n, 3] from boxes evenly spaced over the tissue of a level, or over all of it where nobody looked."""
    table = density_table((mask.white if mask else None) or USUAL_WHITE)
    found = []
    for y, x in _boxes(slide, level, mask):
        size = slide.levels[level]
        pixels = slide.read(level, y, x, min(_BOX, size.height - y), min(_BOX, size.width - x))[::_EVERY, ::_EVERY]
        kept = mean_density(pixels, table) >= STAINED
        if mask is not None:
            kept &= _on_tissue(mask, slide.levels[level].downsample, y, x, pixels.shape[:2])
        found.append(pixels[kept])
    return np.concatenate([*found, np.empty((0, 3), np.uint8)])


def _boxes(slide: Slide, level: int, mask: TissueMask | None) -> list[tuple[int, int]]:
    """Corners of boxes of which most is tissue, or any, where there is none of that kind."""
    size = slide.levels[level]
    corners = [(y, x) for y in range(0, size.height, _BOX) for x in range(0, size.width, _BOX)]
    if mask is not None:
        shares = class_shares(tuple(Tile(slide, level, y, x, _BOX, _BOX) for y, x in corners), mask)[:, TISSUE]
        least = 0.5 if (shares >= 0.5).any() else 1e-9
        corners = [corner for corner, share in zip(corners, shares, strict=True) if share >= least]
    chosen = np.linspace(0, len(corners) - 1, min(_BOXES, len(corners))).round().astype(int)
    return [corners[i] for i in chosen]


def _on_tissue(mask: TissueMask, downsample: float, y: int, x: int, shape: tuple[int, ...]) -> np.ndarray:
    """For every pixel of a box that is looked at, whether its cell of the mask is tissue."""
    scale = downsample / mask.picture.step
    rows, columns = (
        ((start + np.arange(n) * _EVERY + 0.5) * scale).astype(int) for start, n in zip((y, x), shape, strict=True)
    )
    h, w = mask.labels.shape
    return mask.labels[np.minimum(rows, h - 1)[:, None], np.minimum(columns, w - 1)] == TISSUE
