"""Regions and tiles: how a level of a slide is divided, and how a map's cells lie on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xaipipe.errors import UsageError
from xaipipe.types import Explanation, Grid, Region, Slide, Tile


@dataclass(frozen=True, slots=True)
class Tiling:
    """A level divided into tile cores; regions are whole numbers of cores, so that no tile serves two regions."""

    slide: Slide
    level: int
    core: int
    halo: int
    region: int

    @property
    def height(self) -> int:
        return self.slide.levels[self.level].height

    @property
    def width(self) -> int:
        return self.slide.levels[self.level].width

    def regions(self) -> Iterator[Region]:
        """In raster order."""
        for row in range(math.ceil(self.height / self.region)):
            for column in range(math.ceil(self.width / self.region)):
                yield self._region(row, column)

    def tiles(self, region: Region) -> tuple[Tile, ...]:
        """The tiles whose cores make up a region, in raster order. Cores at the slide's end may reach beyond it."""
        return tuple(
            Tile(self.slide, self.level, y, x, self.core, self.core, self.halo)
            for y in range(region.y, region.y + region.h, self.core)
            for x in range(region.x, region.x + region.w, self.core)
        )

    def _region(self, row: int, column: int) -> Region:
        y, x = row * self.region, column * self.region
        return Region(row, column, y, x, min(self.region, self.height - y), min(self.region, self.width - x))


def make_tiling(slide: Slide, level: int, tile: int, overlap: int, shard: int) -> Tiling:
    """Tiles of `tile` pixels that share `overlap` with their neighbours, in regions of at most `shard` pixels."""
    if overlap % 2:
        raise UsageError("overlap is read half on each side", got=overlap, expected="an even number of pixels")
    core = tile - overlap
    if core < 1:
        raise UsageError("overlap leaves nothing of the tile", got=f"tile {tile}, overlap {overlap}")
    return Tiling(slide, level, core, overlap // 2, max(shard // core, 1) * core)


@dataclass(frozen=True, slots=True)
class Lattice:
    """The cells of a map over the whole level: tiles' cells fall onto one lattice, wherever the tile lies."""

    grid: Grid
    """Of cell (0, 0) of the level's map, in pixels of the level."""
    step: tuple[int, int]
    height: int
    width: int
    per_region: int
    first: tuple[int, int]
    """The tile-map cell that is the first of a tile's core."""
    per_core: int
    sample: tuple[Grid | int, ...]
    """Grid, channels, height and width of every tile's map."""


def make_lattice(tiling: Tiling, probe: Explanation) -> Lattice:
    """The lattice of the level's map, from the map of one tile; an error where tiles would not meet."""
    sy, sx = probe.grid.scale
    if sy != sx or sy != int(sy):
        raise UsageError(
            "maps whose cells are not a whole number of pixels cannot be laid side by side",
            got=f"cells of {sy} × {sx} pixels",
            expected="the same whole number along y and x",
        )
    step = int(sy)
    for what, pixels in (("overlap / 2", tiling.halo), ("tile - overlap", tiling.core)):
        if pixels % step:
            near = [n for n in (pixels // step * step, -(-pixels // step) * step) if n > 0]
            raise UsageError(
                f"{what} is not a multiple of the map's cells, so that neighbouring maps would not meet",
                got=f"{pixels} pixels, cells of {step}",
                expected=" or ".join(map(str, near)),
                hint="change [load] tile or overlap",
            )
    first = (_first_in_core(tiling, probe, 0), _first_in_core(tiling, probe, 1))
    offset = tuple(_phase(probe.grid.offset[axis], step) for axis in (0, 1))
    height, width = _count(tiling.height, offset[0], step), _count(tiling.width, offset[1], step)
    if not height or not width:
        raise UsageError(
            "the image is smaller than a cell of the map",
            got=f"{tiling.height} × {tiling.width} pixels, cells of {step}",
            where=tiling.slide,
        )
    return Lattice(
        grid=Grid((float(step), float(step)), (offset[0], offset[1])),
        step=(step, step),
        height=height,
        width=width,
        per_region=tiling.region // step,
        first=first,
        per_core=tiling.core // step,
        sample=(probe.grid, *probe.values.shape[1:]),
    )


def _first_in_core(tiling: Tiling, probe: Explanation, axis: int) -> int:
    cells = int(probe.values.shape[2 + axis])
    inside = probe.grid.cells_within(axis, tiling.halo, tiling.halo + tiling.core, cells)
    missing = tiling.core // int(probe.grid.scale[axis]) - (inside.stop - inside.start)
    if missing:
        step = int(probe.grid.scale[axis])
        raise UsageError(
            "the map does not reach the border of its tile, so that neighbouring maps would leave gaps",
            got=f"{cells} cells of {step} pixels, {missing} missing",
            hint=f"set [load] overlap to at least {2 * (tiling.halo + missing * step)}",
        )
    return int(inside.start)


def _phase(offset: float, step: int) -> float:
    """The same lattice, begun with its first centre inside the level: in [-½, step - ½)."""
    return float((offset + 0.5) % step - 0.5)


def _count(pixels: int, offset: float, step: int) -> int:
    """How many cells have their centre inside the level."""
    return max(math.ceil((pixels - 0.5 - offset) / step - 1e-9), 0)
