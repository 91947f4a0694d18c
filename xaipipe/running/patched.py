"""A slide whose unreadable places are white, and noted: for pictures of it, where a hole is better than no picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xaipipe.errors import InputError
from xaipipe.running.quarantine import reason_to_leave_out
from xaipipe.types import Slide, Tile
from xaipipe.wrapped import WrappedSlide

_PIECE = 256
"""Side of the squares that are tried one by one; slides are stored in tiles of about this size."""
_WHITE = 255


@dataclass(frozen=True, slots=True)
class Hole:
    """A box of a level that could not be read, and why."""

    level: int
    y: int
    x: int
    h: int
    w: int
    reason: str


def read_patched(
    slide: Slide, level: int, y: int, x: int, h: int, w: int
) -> tuple[np.ndarray[Any, Any], tuple[Hole, ...]]:
    """A box of a level; where it cannot be read, piece by piece, and white what is unreadable of it."""
    try:
        return slide.read(level, y, x, h, w), ()
    except InputError as error:
        reason_to_leave_out(error)
    pixels = np.full((h, w, 3), _WHITE, np.uint8)
    holes = []
    for py, ph in _pieces(y, h):
        for px, pw in _pieces(x, w):
            try:
                pixels[py - y : py - y + ph, px - x : px - x + pw] = slide.read(level, py, px, ph, pw)
            except InputError as error:
                holes.append(Hole(level, py, px, ph, pw, reason_to_leave_out(error)))
    return pixels, tuple(holes)


class PatchedSlide(WrappedSlide):
    """Another slide, patched; `holes` are those that were met, with the level-0 pixels that one of theirs spans."""

    def __init__(self, inner: Slide, holes: list[tuple[float, Hole]] | None = None) -> None:
        super().__init__(inner)
        self.holes: list[tuple[float, Hole]] = [] if holes is None else holes

    @property
    def original(self) -> Slide:
        return PatchedSlide(self.inner.original, self.holes)

    def read(self, level: int, y: int, x: int, h: int, w: int) -> np.ndarray[Any, Any]:
        pixels, holes = read_patched(self.inner, level, y, x, h, w)
        self.holes.extend((self.levels[level].downsample, hole) for hole in holes)  # one step, whoever else reads
        return pixels

    def hides(self, tile: Tile) -> bool:
        """Whether a hole lies in a tile's core, on whatever level it was met."""
        own = self.levels[tile.level].downsample
        return any(
            hole.y * span < (tile.y + tile.h) * own
            and hole.x * span < (tile.x + tile.w) * own
            and (hole.y + hole.h) * span > tile.y * own
            and (hole.x + hole.w) * span > tile.x * own
            for span, hole in self.holes
        )


def _pieces(start: int, length: int) -> Iterator[tuple[int, int]]:
    """Starts and lengths, cut where multiples of a piece lie."""
    position, end = start, start + length
    while position < end:
        stop = min((position // _PIECE + 1) * _PIECE, end)
        yield position, stop - position
        position = stop
