"""A small picture of a slide: the mean colour of every cell of some micrometres, read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from xaipipe import Grid, Slide
from xaipipe_tiles.density import White

CELL = 8.0
"""Micrometres along a cell, where the slide is not too large for it: a nucleus, so that glands are not resolved."""
_MOST_CELLS = 2048
"""Along the picture's longer side, so that memory does not grow with the slide."""
_BLOCK = 2048
"""Pixels along what is read at once: whole native tiles, for the sizes that these have."""
_THREADS = 2
_LEAST_GLASS = 0.03
"""Share of the picture."""
_DIMMEST = 170
_TINT = 0.07
"""Saturation that glass may have; the palest tissue that fills a slide has more."""
_SLIGHT_TINT = 0.03
_FILLED = 254
"""From here on white may be what a scanner filled in; where there is slightly tinted glass as well, that counts."""
_PEAK = 9
"""Sum of three channels by which glass is brighter or darker here and there."""


@dataclass(frozen=True)
class Picture:
    """Mean colours of a slide's cells."""

    pixels: np.ndarray
    """uint8 [h, w, 3]"""
    step: float
    """Level-0 pixels along a cell."""
    mpp: float | None
    """Micrometres per level-0 pixel."""

    @property
    def cell(self) -> float:
        """Micrometres along a cell; taken for what it usually is where the slide does not say."""
        return self.step * self.mpp if self.mpp else CELL

    @property
    def grid(self) -> Grid:
        """Of its cells, in level-0 pixels, from the corner on."""
        return Grid((self.step, self.step), ((self.step - 1) / 2,) * 2)


def small_picture(slide: Slide) -> Picture:
    """From the coarsest level that resolves the cells, so that as little as possible is read."""
    level, k = _level_and_stride(slide)
    pixels = averaged(slide, level, k)
    return Picture(pixels, k * slide.levels[level].downsample, slide.mpp)


def averaged(slide: Slide, level: int, k: int) -> np.ndarray:
    """A level in cells of k × k pixels, each the mean of those of its pixels that are on the slide."""
    size = slide.levels[level]
    small = np.empty((-(-size.height // k), -(-size.width // k), 3), np.uint8)

    def fill(box: tuple[int, int, int, int]) -> None:
        y, x, h, w = box
        cells = block_means(slide.read(level, y, x, h, w), k)
        small[y // k : y // k + cells.shape[0], x // k : x // k + cells.shape[1]] = np.rint(cells)

    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(fill, _boxes(size.height, size.width, max(_BLOCK // k, 1) * k)):
            pass
    return small


def block_means(pixels: np.ndarray, k: int) -> np.ndarray:
    """float32 [h, w, 3]: means of k × k pixels; cells that are cut off have the mean of what is left of them."""
    if k == 1:
        return pixels.astype(np.float32)
    starts = [np.arange(0, length, k) for length in pixels.shape[:2]]
    sums = np.add.reduceat(np.add.reduceat(pixels, starts[0], 0, np.uint32), starts[1], 1, np.uint32)
    counts = [np.minimum(k, length - start) for start, length in zip(starts, pixels.shape[:2], strict=True)]
    return (sums / (counts[0][:, None] * counts[1])[:, :, None]).astype(np.float32)


def white_of(picture: Picture) -> White | None:
    """The colour of empty glass: the brightest that is nearly grey and frequent; None where there is none."""
    pixels = picture.pixels
    low = pixels.min(axis=2)
    tint = pixels.max(axis=2) - low
    seen = (low >= _DIMMEST) & (low < _FILLED) & (tint <= _SLIGHT_TINT * low)
    for greys in (pixels[seen], pixels[(low >= _DIMMEST) & (tint <= _TINT * low)]):
        white = _brightest(greys, _LEAST_GLASS * low.size)
        if white is not None:
            return white
    return None


def _brightest(colours: np.ndarray, enough: float) -> White | None:
    """The middle of the brightest of colours [n, 3] that are many enough."""
    brightness = colours.sum(axis=1, dtype=np.int64)
    counts = np.convolve(np.bincount(brightness, minlength=766), np.ones(2 * _PEAK + 1, np.int64), "same")
    frequent = np.flatnonzero(counts >= enough)
    if not frequent.size:
        return None
    start = max(int(frequent[-1]) - 2 * _PEAK, 0)
    peak = start + int(counts[start : int(frequent[-1]) + 1].argmax())
    red, green, blue = (float(value) for value in np.median(colours[np.abs(brightness - peak) <= _PEAK], axis=0))
    return red, green, blue


def _level_and_stride(slide: Slide) -> tuple[int, int]:
    """The coarsest level that is no coarser than a cell, and how many of its pixels make one."""
    longest = max(slide.levels[0].height, slide.levels[0].width)
    step = max(CELL / slide.mpp if slide.mpp else 1.0, longest / _MOST_CELLS)
    level = max(i for i, one in enumerate(slide.levels) if i == 0 or one.downsample <= step * 1.01)
    size = slide.levels[level]
    return level, max(round(step / size.downsample), -(-max(size.height, size.width) // _MOST_CELLS), 1)


def _boxes(height: int, width: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield y, x, min(side, height - y), min(side, width - x)
