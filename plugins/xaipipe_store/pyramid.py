"""Smaller copies of every array, so that a viewer never loads more than about a screenful.

`smallest` is the longest side that the last level of a pyramid may have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from xaipipe import Grid, Region, Slide
from xaipipe.running.layout import ArraySpec
from xaipipe_store.reduction import RULES

DISPLAY = "heatmap_display"
_GAP = 2.15
"""Levels of a slide that lie further apart get levels between them; 2 is what scanners call 2.0003."""
_COPY_SHARD = 2048
_COLOURS = ("red", "green", "blue")

Read = Callable[[str, int, int, int, int], np.ndarray]


def split(name: str) -> tuple[str, int]:
    """An array's image and level: `heatmap` is level 0 of its own, `heatmap/2` is made of `heatmap/1`."""
    base, _, level = name.partition("/")
    return base, int(level or 0)


def source_name(spec: ArraySpec) -> str:
    """What a derived array is made of: the level above it, or for display the map of the same level."""
    base, level = split(spec.name)
    if spec.role == "display":
        return _named("heatmap", level)
    return _named(base, level - 1)


def derived_specs(arrays: tuple[ArraySpec, ...], smallest: int) -> Iterator[ArraySpec]:
    """Levels of maps and labels, and the map once more for display.

    NGFF wants labels to have as many levels as the image that they lie in, the heatmap.
    """
    shared = max(_levels_below(spec, smallest) for spec in arrays if spec.role == "labels" or spec.name == "heatmap")
    for spec in arrays:
        if spec.role in ("heatmap", "labels"):
            alone = spec.role == "heatmap" and spec.name != "heatmap"
            yield from _halvings(spec, _levels_below(spec, smallest) if alone else shared)
    display = replace(next(s for s in arrays if s.name == "heatmap"), name=DISPLAY, role="display", dtype="uint8")
    yield display
    yield from _halvings(display, shared)


def image_specs(slide: Slide, downsample: float, smallest: int) -> Iterator[tuple[ArraySpec, bool]]:
    """All levels of a copied slide from large to small, each with whether it is the slide's own.

    `downsample` is that of the explained level, in whose pixels grids are.
    """
    level = 0
    for index, own in enumerate(slide.levels):
        spec = _image_spec(level, own.height, own.width, own.downsample, downsample)
        yield spec, True
        level += 1
        following = slide.levels[index + 1 : index + 2]
        if following:
            missing = _levels_between(own.downsample, following[0].downsample)
        else:
            missing = _levels_below(spec, smallest)
        for step in range(1, missing + 1):
            yield _halved(spec, _named("image", level), step), False
            level += 1


def reduced(spec: ArraySpec, source: ArraySpec, region: Region, read: Read, rows: int) -> np.ndarray:
    """A region of a level, from the at most four shards of the level above it; `rows` of it at a time."""
    y, x, h, w = spec.cells(region)
    rule = RULES[spec.role]
    data = np.empty((len(spec.channels), h, w), spec.dtype)
    for top in range(0, h, rows):
        fine_y, fine_x = 2 * (y + top), 2 * x
        fine_h = min(2 * min(rows, h - top), source.height - fine_y)
        fine_w = min(2 * w, source.width - fine_x)
        data[:, top : top + rows] = rule(read(source.name, fine_y, fine_x, fine_h, fine_w))
    return data


def source_regions(spec: ArraySpec, source: ArraySpec, region: Region) -> list[Region]:
    """The shards that a derived region is made of: four of them, fewer at the end, one for display."""
    step = 1 if spec.role == "display" else 2
    rows = range(step * region.row, min(step * (region.row + 1), math.ceil(source.height / source.shard)))
    columns = range(step * region.column, min(step * (region.column + 1), math.ceil(source.width / source.shard)))
    return [source.region(row, column) for row in rows for column in columns]


def _named(base: str, level: int) -> str:
    return base if level == 0 and base != "image" else f"{base}/{level}"


def _levels_below(spec: ArraySpec, smallest: int) -> int:
    """How often an array has to be halved."""
    return math.ceil(math.log2(max(spec.height, spec.width, smallest) / smallest))


def _levels_between(downsample: float, following: float) -> int:
    """How many halvings lie between two levels of a slide."""
    count = 0
    while following / downsample > _GAP:
        downsample *= 2
        count += 1
    return count


def _halvings(spec: ArraySpec, levels: int) -> Iterator[ArraySpec]:
    for step in range(1, levels + 1):
        yield _halved(spec, _named(spec.name, step), step)


def _halved(spec: ArraySpec, name: str, times: int) -> ArraySpec:
    """A level whose every cell covers 2 × 2 of the one above; its first centre lies amid those that it covers."""
    factor = 2**times
    scale, offset = spec.grid.scale, spec.grid.offset
    grid = Grid(
        (scale[0] * factor, scale[1] * factor),
        (offset[0] + scale[0] * (factor - 1) / 2, offset[1] + scale[1] * (factor - 1) / 2),
    )
    height, width = -(-spec.height // factor), -(-spec.width // factor)
    return replace(spec, name=name, height=height, width=width, grid=grid)


def _image_spec(level: int, height: int, width: int, own: float, explained: float) -> ArraySpec:
    span = own / explained
    grid = Grid((span, span), ((span - 1) / 2, (span - 1) / 2))
    return ArraySpec(f"image/{level}", "image", _COLOURS, height, width, grid, _COPY_SHARD, "uint8")
