"""What the scanner's focus missed: fine detail is gone while coarse detail is still there."""

from __future__ import annotations

import numpy as np

from xaipipe import InputError, Slide
from xaipipe_tiles.picture import Picture, block_means
from xaipipe_tiles.pieces import without_small

_MPP = 1.0
"""Micrometres per pixel at which sharpness is measured."""
_COARSEST = 1.5
_BLOCK = 128.0
"""Micrometres along the blocks that are judged."""
_BLUNT = 0.15
"""Ratio below which a block is out of focus: that of tissue blurred by 1 µm (σ). Sharp tissue has twice as much."""
_FEWEST = 4
"""Blocks that have to lie together: a single one may be a plain part of sharp tissue."""
_AT_ONCE = 8
"""Blocks along what is read at once."""


def out_of_focus(slide: Slide, picture: Picture, tissue: np.ndarray) -> np.ndarray:
    """Cells of the picture in blocks of tissue that are out of focus, as bool [h, w]."""
    level, k = _level_and_stride(slide)
    per_block = max(round(_BLOCK / picture.cell), 1)  # cells
    share = block_means(tissue.astype(np.uint8)[:, :, None] * 100, per_block)[:, :, 0]
    blunt = np.zeros(share.shape, bool)
    for top in range(0, share.shape[0], _AT_ONCE):
        for left in range(0, share.shape[1], _AT_ONCE):
            part = np.s_[top : top + _AT_ONCE, left : left + _AT_ONCE]
            wanted = share[part] >= 50
            if wanted.any():
                grey = _grey(slide, level, k, picture.step * per_block, (top, left), wanted.shape)
                blunt[part] = wanted & (_sharpness(grey, wanted.shape) < _BLUNT)
    blunt = without_small(blunt, _FEWEST)
    h, w = tissue.shape
    return blunt.repeat(per_block, 0).repeat(per_block, 1)[:h, :w]


def sharpness(grey: np.ndarray) -> float:
    """Variance of the Laplacian of a picture over that of the picture at half its resolution.

    Stain and contrast fall out of the ratio. White noise has 4, smooth shapes have 1/16.
    """
    fine = _laplacian(grey).var()
    h, w = (length // 2 * 2 for length in grey.shape)
    half = grey[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))
    coarse = _laplacian(half).var()
    return float(fine / coarse) if coarse > 0 else np.inf


def _laplacian(grey: np.ndarray) -> np.ndarray:
    centre = grey[1:-1, 1:-1]
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre


def _sharpness(grey: np.ndarray, blocks: tuple[int, ...]) -> np.ndarray:
    """Of every block of a picture that is divided into so many."""
    values = np.full(blocks, np.inf)
    rows, columns = (np.linspace(0, n, m + 1).round().astype(int) for n, m in zip(grey.shape, blocks, strict=True))
    for i, j in np.ndindex(*blocks):
        block = grey[rows[i] : rows[i + 1], columns[j] : columns[j + 1]]
        if min(block.shape) >= 16:
            values[i, j] = sharpness(block)
    return values


def _grey(slide: Slide, level: int, k: int, side: float, at: tuple[int, int], blocks: tuple[int, ...]) -> np.ndarray:
    """Some blocks of a slide, `side` level-0 pixels each, at about a micrometre per pixel."""
    size = slide.levels[level]
    scale = side / size.downsample
    y, x = (round(one * scale) for one in at)
    bottom = min(round((at[0] + blocks[0]) * scale), size.height)
    right = min(round((at[1] + blocks[1]) * scale), size.width)
    return block_means(slide.read(level, y, x, bottom - y, right - x), k).mean(axis=2)


def _level_and_stride(slide: Slide) -> tuple[int, int]:
    if slide.mpp is None or slide.mpp > _COARSEST:
        raise InputError(
            "focus cannot be judged on this slide",
            got="no resolution" if slide.mpp is None else f"{slide.mpp:g} µm per pixel",
            expected=f"at most {_COARSEST:g} µm per pixel",
            where=slide,
            hint='set [load] tissue_blur = "keep"',
        )
    resolutions = [slide.mpp * level.downsample for level in slide.levels]
    level = max(i for i, mpp in enumerate(resolutions) if i == 0 or mpp <= _COARSEST)
    return level, max(round(_MPP / resolutions[level]), 1)
