"""A slide at the resolution that a model asks for: a level of its own, or one that is made while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xaipipe.antialias import Weights, reduced
from xaipipe.errors import InputError
from xaipipe.types import Level, Slide
from xaipipe.wrapped import WrappedSlide

Pixels = np.ndarray[Any, Any]
TOLERANCE = 0.01
"""A level this near to what is asked for is used as it is; docs/decisions says why."""
MOST_UPSAMPLED = 2.0
"""A slide that would have to be enlarged by more is refused."""
_BLOCK = 1024
"""Source pixels along a block that is resampled at once."""


class StatedResolution(WrappedSlide):
    """A slide whose resolution somebody gave."""

    def __init__(self, inner: Slide, mpp: float) -> None:
        said = "does not say" if inner.mpp is None else f"says {inner.mpp:g}"
        agree = inner.mpp is not None and abs(inner.mpp / mpp - 1) <= TOLERANCE
        note = f"its resolution was given as {mpp:g} µm per pixel; the file {said}"
        super().__init__(inner, *(() if agree else (note,)))
        self.mpp = mpp


class Resampled(WrappedSlide):
    """A slide with one more level, made from a finer one as it is read; `level` is its index.

    It stands behind the level that it is made from, so that level 0 stays what it was.
    """

    def __init__(self, inner: Slide, source: int, downsample: float, note: str) -> None:
        super().__init__(inner, note)
        self._source = source
        base = inner.levels[source]
        self._factor = downsample / base.downsample
        made = Level(self._length(base.height), self._length(base.width), downsample)
        self.level = source + 1
        self.levels = (*inner.levels[: self.level], made, *inner.levels[self.level :])

    @property
    def original(self) -> Slide:
        return self.inner.original

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Pixels:
        if level != self.level:
            return self.inner.read(level - (level > self.level), y, x, h, w)
        pixels = np.empty((h, w, 3), np.uint8)
        for top, height in _blocks(h, self._factor):
            for left, width in _blocks(w, self._factor):
                block = self._block(y + top, x + left, height, width)
                pixels[top : top + height, left : left + width] = block
        return pixels

    def _block(self, y: int, x: int, h: int, w: int) -> Pixels:
        base = self.inner.levels[self._source]
        rows, columns = Weights(y, h, self._factor, base.height), Weights(x, w, self._factor, base.width)
        height, width = rows.stop - rows.start, columns.stop - columns.start
        return reduced(self.inner.read(self._source, rows.start, columns.start, height, width), rows, columns)

    def _length(self, pixels: int) -> int:
        """New pixels of which at least half lies on the source."""
        return max(round(pixels / self._factor), 1)


def at_resolution(slide: Slide, wanted: float | None) -> tuple[Slide, int]:
    """The slide and its level at a resolution in µm per pixel; the full level where nothing is asked for."""
    if wanted is None:
        return slide, 0
    if slide.mpp is None:
        raise InputError(
            "the model was trained at a resolution, but the slide does not say its own",
            expected=f"a slide that says its µm per pixel; the model wants {wanted:g}",
            where=slide,
            hint="give it: --mpp 0.25, or [load] mpp = 0.25",
        )
    resolutions = [slide.mpp * level.downsample for level in slide.levels]
    nearest = min(range(len(resolutions)), key=lambda i: abs(resolutions[i] / wanted - 1))
    if abs(resolutions[nearest] / wanted - 1) <= TOLERANCE:
        return slide, nearest
    source = max((i for i, mpp in enumerate(resolutions) if mpp < wanted), default=0)
    made = Resampled(slide, source, wanted / slide.mpp, _note(slide, source, resolutions[source], wanted))
    return made, made.level


def _note(slide: Slide, source: int, mpp: float, wanted: float) -> str:
    if mpp <= wanted:
        return f"level {source} at {mpp:.4g} µm per pixel is resampled to {wanted:g}"
    if mpp / wanted > MOST_UPSAMPLED:
        raise InputError(
            "the slide is too coarse for the model",
            got=f"{mpp:.4g} µm per pixel at its finest",
            expected=f"at most {MOST_UPSAMPLED * wanted:g}: the model wants {wanted:g}, and a slide is enlarged "
            f"{MOST_UPSAMPLED:g} times at most",
            where=slide,
            hint="take a slide of a finer scan, or a model of a coarser one",
        )
    return f"level 0 at {mpp:.4g} µm per pixel is enlarged to {wanted:g}: its pixels hold no finer detail"


def _blocks(length: int, factor: float) -> Iterator[tuple[int, int]]:
    side = max(int(_BLOCK / max(factor, 1.0)), 1)
    for start in range(0, length, side):
        yield start, min(side, length - start)
