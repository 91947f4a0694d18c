"""Where a slide has tissue, from a small picture of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from skimage.filters import gaussian, threshold_otsu

from xaipipe import Slide, Tile

_PICTURE = 2048
"""Side of the picture that is looked at; a pixel of it then covers about 50 pixels of a large slide."""
_PLAIN_TISSUE = 0.08
"""Saturation that is tissue on any slide: keeps Otsu from cutting a slide that is all tissue in two."""
_ROWS = 1024


@dataclass(frozen=True)
class TissueMask:
    """Tissue in a small picture; `step` is how many level-0 pixels one of its pixels spans."""

    mask: np.ndarray
    step: float

    def share(self, tile: Tile) -> float:
        """How much of a tile's core is tissue."""
        scale = tile.slide.levels[tile.level].downsample / self.step
        y, x = int(tile.y * scale), int(tile.x * scale)
        bottom = max(int(np.ceil((tile.y + tile.h) * scale)), y + 1)
        right = max(int(np.ceil((tile.x + tile.w) * scale)), x + 1)
        box = self.mask[y:bottom, x:right]
        return float(box.mean()) if box.size else 0.0


def find_tissue(slide: Slide) -> TissueMask:
    """Tissue is what has colour: glass is grey, stains are not."""
    picture, step = _small_picture(slide)
    values = picture.astype(np.float32)
    highest = values.max(axis=2)
    saturation = gaussian((highest - values.min(axis=2)) / np.maximum(highest, 1), 1.0)
    flat = float(np.ptp(saturation)) < 1e-6
    threshold = _PLAIN_TISSUE if flat else min(float(threshold_otsu(saturation)), _PLAIN_TISSUE)
    return TissueMask(saturation > threshold, step)


def _small_picture(slide: Slide) -> tuple[np.ndarray, float]:
    """Every n-th pixel of the smallest level that is large enough, read in bands so that memory stays bounded."""
    fitting = [i for i, level in enumerate(slide.levels) if max(level.height, level.width) >= _PICTURE]
    index = fitting[-1] if fitting else 0
    level = slide.levels[index]
    stride = max(max(level.height, level.width) // _PICTURE, 1)
    rows = _ROWS // stride * stride or stride
    bands = [
        slide.read(index, y, 0, min(rows, level.height - y), level.width)[::stride, ::stride]
        for y in range(0, level.height, rows)
    ]
    return np.concatenate(bands), stride * level.downsample
