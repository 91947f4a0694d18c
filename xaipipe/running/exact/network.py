"""What an exact run knows of the network on the whole image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xaipipe.models.locality import Pool
from xaipipe.running.exact.cells import Axis, Cells, Span

Plane = tuple[Cells, Cells]
"""The cells of a map along y and x."""
Box = tuple[Span, Span]
"""Rows and columns."""


@dataclass(frozen=True, slots=True)
class Network:
    """The poolings and their cells on the whole image, and the map's where it has cells of its own."""

    axes: tuple[Axis, Axis]
    pools: tuple[Pool, ...]
    planes: tuple[Plane, ...]
    """Per pooling."""
    layer: Plane | None
    """The cells of the method's map; None where the map is made of contributions to pixels."""

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(y.count * x.count for y, x in self.planes)

    @property
    def reach(self) -> int:
        """How far the cells see to either side, in whole pixels."""
        return math.ceil(max(cells.reach for plane in self.planes for cells in plane))

    def owned(self, core: Box) -> tuple[Box, ...]:
        """Per pooling: the cells that a tile core owns."""
        return tuple(self._of_core(plane, core) for plane in self.planes)

    def seeing(self, pixels: Box) -> tuple[Box, ...]:
        """Per pooling: the cells that see any of some pixels."""
        return tuple((y.that_see(pixels[0]), x.that_see(pixels[1])) for y, x in self.planes)

    def pixels_at(self, cells: Box) -> Box:
        """The pixels of the image around the centres of some cells of the map."""
        assert self.layer is not None
        rows, columns = (
            (min(low, axis.length - 1), max(high, 1))
            for (low, high), axis in (
                (plane.centred(span), axis) for plane, span, axis in zip(self.layer, cells, self.axes, strict=True)
            )
        )
        return rows, columns

    def layer_cells(self, core: Box) -> Box:
        assert self.layer is not None
        return self._of_core(self.layer, core)

    def tile_for(self, planes: tuple[Plane, ...], cells: tuple[Box, ...]) -> Box:
        """The box of pixels that has to be read to have some cells of some maps right."""
        wanted = [(plane, box) for plane, box in zip(planes, cells, strict=True) if not empty(box)]
        rows, columns = (_union([plane[axis].pixels_of(box[axis]) for plane, box in wanted]) for axis in (0, 1))
        return self.axes[0].box(rows), self.axes[1].box(columns)

    def _of_core(self, plane: Plane, core: Box) -> Box:
        y, x = (plane[axis].of_core(core[axis], at_end=core[axis][1] >= self.axes[axis].length) for axis in (0, 1))
        return y, x


def empty(box: Box) -> bool:
    (top, bottom), (left, right) = box
    return top >= bottom or left >= right


def _union(spans: list[Span]) -> Span:
    return min(span[0] for span in spans), max(span[1] for span in spans)
