"""Pyramidal OME-TIFF, written tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from xaipipe_export.result import Image, Level

TILE = 512
_CLASSIC_LIMIT = 2**31
_COMPRESSION = "zlib"
"""What every reader of OME-TIFF has."""

Pixels = Callable[[np.ndarray], np.ndarray]


def write_ome_tiff(path: Path, image: Image, mpp: float | None) -> None:
    """The values as they are, a page a channel."""
    _write(path, image, mpp, lambda box: box, rgb=False)


def write_rgb_tiff(path: Path, image: Image, mpp: float | None, colours: Pixels) -> None:
    """One page in colours: `colours` turns values [C, h, w] into uint8 [h, w, 3]."""
    _write(path, image, mpp, colours, rgb=True)


def _write(path: Path, image: Image, mpp: float | None, pixels: Pixels, rgb: bool) -> None:
    first, *smaller = image.levels
    dtype = np.dtype(np.uint8) if rgb else np.dtype(first.array.dtype)
    size = len(image.channels) * first.height * first.width * dtype.itemsize
    options: dict[str, Any] = {
        "dtype": dtype,
        "tile": (TILE, TILE),
        "compression": _COMPRESSION,
        "photometric": "rgb" if rgb else "minisblack",
        "software": "xaipipe",
    }
    with tifffile.TiffWriter(path, ome=True, bigtiff=2 * size > _CLASSIC_LIMIT) as tiff:
        metadata = _metadata(image, first, mpp, rgb)
        _write_level(tiff, image, first, pixels, rgb, mpp, {**options, "metadata": metadata, "subifds": len(smaller)})
        for level in smaller:
            _write_level(tiff, image, level, pixels, rgb, mpp, {**options, "metadata": None, "subfiletype": 1})


def _write_level(
    tiff: tifffile.TiffWriter,
    image: Image,
    level: Level,
    pixels: Pixels,
    rgb: bool,
    mpp: float | None,
    options: dict[str, Any],
) -> None:
    plane = (level.height, level.width)
    if mpp:
        options |= {"resolution": (1e4 / (level.span * mpp),) * 2, "resolutionunit": "CENTIMETER"}
    shape = (*plane, 3) if rgb else (len(image.channels), *plane)
    tiles = _rgb_tiles(level, pixels) if rgb else _tiles(level, len(image.channels))
    tiff.write(tiles, shape=shape, **options)


def _tiles(level: Level, channels: int) -> Iterator[np.ndarray]:
    """All tiles of the first channel, then of the next."""
    for channel in range(channels):
        for y in range(0, level.height, TILE):
            for x in range(0, level.width, TILE):
                yield _whole(level.read(y, x, TILE, TILE)[channel])


def _rgb_tiles(level: Level, pixels: Pixels) -> Iterator[np.ndarray]:
    for y in range(0, level.height, TILE):
        for x in range(0, level.width, TILE):
            yield _whole(pixels(level.read(y, x, TILE, TILE)))


def _whole(box: np.ndarray) -> np.ndarray:
    """A tile at the end is filled up."""
    missing = [(0, TILE - box.shape[0]), (0, TILE - box.shape[1])] + [(0, 0)] * (box.ndim - 2)
    return np.ascontiguousarray(np.pad(box, missing) if any(after for _, after in missing) else box)


def _metadata(image: Image, level: Level, mpp: float | None, rgb: bool) -> dict[str, Any]:
    """What becomes OME-XML; where the first cell lies on the slide is each plane's position."""
    metadata: dict[str, Any] = {"axes": "YXS" if rgb else "CYX", "Name": image.name}
    planes = 1 if rgb else len(image.channels)
    if not rgb:
        metadata["Channel"] = {"Name": list(image.channels)}
    if mpp:
        cell = level.span * mpp
        y, x = (corner * mpp for corner in level.corner)
        metadata |= {"PhysicalSizeX": cell, "PhysicalSizeXUnit": "µm"}
        metadata |= {"PhysicalSizeY": cell, "PhysicalSizeYUnit": "µm"}
        metadata["Plane"] = {"PositionX": [x] * planes, "PositionXUnit": ["µm"] * planes}
        metadata["Plane"] |= {"PositionY": [y] * planes, "PositionYUnit": ["µm"] * planes}
    return metadata
