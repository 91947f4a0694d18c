"""Along one axis: which pixels the cells of a map see, and where tiles may begin and end."""

from __future__ import annotations

import math
from dataclasses import dataclass

Span = tuple[int, int]
"""The first of some pixels or cells, and the one behind the last."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a map of the whole image: cell i lies at offset + i·scale and sees `reach` to both sides."""

    scale: int
    offset: float
    reach: float
    count: int

    def centred(self, cells: Span) -> Span:
        """The pixels from the first one's centre to the last one's; may lie beyond the image."""
        first, last = (self.offset + cell * self.scale for cell in (cells[0], cells[1] - 1))
        return math.floor(first), math.ceil(last) + 1

    def pixels_of(self, cells: Span) -> Span:
        """What some cells see; may go beyond the image."""
        first, last = cells[0], cells[1] - 1
        low = math.floor(self.offset + first * self.scale - self.reach + 1e-6)
        high = math.ceil(self.offset + last * self.scale + self.reach - 1e-6)
        return low, high + 1

    def that_see(self, pixels: Span) -> Span:
        """The cells that see any of some pixels."""
        first = math.ceil((pixels[0] - self.reach - self.offset) / self.scale - 1e-6)
        last = math.floor((pixels[1] - 1 + self.reach - self.offset) / self.scale + 1e-6)
        return self._within(first), self._within(last + 1)

    def of_core(self, pixels: Span, at_end: bool) -> Span:
        """Those that a tile core owns: by their number, so that every cell has one owner."""
        first = self._within(pixels[0] // self.scale)
        return first, self.count if at_end else self._within(pixels[1] // self.scale)

    def _within(self, cell: int) -> int:
        return min(max(cell, 0), self.count)


@dataclass(frozen=True, slots=True)
class Axis:
    """An image along one axis, and the stride at which its network repeats itself.

    Tiles begin at multiples of the stride and have the image's length modulo the stride: operators that pad by the
    size of their input, as TensorFlow's SAME does, then pad a tile as they pad the image.
    """

    length: int
    stride: int

    def box(self, pixels: Span) -> Span:
        """The smallest tile that holds some pixels, where it can within the image."""
        start = max(pixels[0], 0) // self.stride * self.stride
        left_over = max(self.length - pixels[1], 0)
        return start, self.length - left_over // self.stride * self.stride

    def cores(self, pixels: Span, core: int) -> list[Span]:
        return [(start, min(start + core, pixels[1])) for start in range(pixels[0], pixels[1], core)]
