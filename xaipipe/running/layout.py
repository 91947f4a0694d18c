"""The arrays of a result: which there are, where they lie on the slide, and how regions fall onto them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xaipipe.types import Grid, Region

STATUS = "status"
"""The array that says of every cell of the map what became of it."""
STANDARD_ERROR = "standard_error"
"""The array that says how sure the map is, where its method samples; of the map as the method made it."""
BACKGROUND, EXPLAINED, UNREADABLE = 0, 1, 2
STATES = ("background", "explained", "unreadable")


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array [C, h, w] of a result, cut into shards of which each belongs to one region."""

    name: str
    role: Literal["heatmap", "labels", "image", "display"]
    channels: tuple[str, ...]
    height: int
    width: int
    grid: Grid
    """In pixels of the explained level; shard boundaries fall onto region boundaries."""
    shard: int
    dtype: str
    classes: tuple[str, ...] = ()
    """Of labels: the names of the values 0, 1, 2, …; empty where they are objects."""

    def regions(self) -> Iterator[Region]:
        """The array's own shards as regions, for arrays that have nothing to do with tiles."""
        for row in range(-(-self.height // self.shard)):
            for column in range(-(-self.width // self.shard)):
                yield self.region(row, column)

    def region(self, row: int, column: int) -> Region:
        """One of the array's own shards as a region."""
        y, h = _span(row, self.shard, self.height)
        x, w = _span(column, self.shard, self.width)
        return Region(row, column, y, x, h, w)

    def cells(self, region: Region) -> tuple[int, int, int, int]:
        """The box (y, x, h, w) of the array that a region owns; empty where no cell's centre lies in it."""
        y, h = _span(region.row, self.shard, self.height)
        x, w = _span(region.column, self.shard, self.width)
        return y, x, h, w


@dataclass(frozen=True, slots=True)
class Layout:
    """All arrays of a result, and the level of the slide that they lie on."""

    arrays: tuple[ArraySpec, ...]
    level: int
    downsample: float
    """Level-0 pixels per pixel of the explained level."""
    mpp: float | None
    """Micrometres per level-0 pixel."""
    derived: tuple[ArraySpec, ...] = ()
    """What the store makes of the arrays: pyramids, copies for display. Each rests on those before it."""

    @property
    def first_pass(self) -> tuple[ArraySpec, ...]:
        """Those that are made while tiles are explained; the map as the method made it comes first."""
        names = (self.arrays[0].name, STATUS, STANDARD_ERROR)
        return tuple(array for array in self.arrays if array.name in names)

    @property
    def second_pass(self) -> tuple[ArraySpec, ...]:
        """Those that are made from the first map, in a second pass: neither copies nor what is said of the slide."""
        later = (array for array in self.arrays if array not in self.first_pass)
        return tuple(array for array in later if array.role != "image" and not array.classes)

    def array(self, name: str) -> ArraySpec:
        return next(array for array in (*self.arrays, *self.derived) if array.name == name)


def _span(index: int, shard: int, length: int) -> tuple[int, int]:
    start = min(index * shard, length)
    return start, min(shard, length - start)
