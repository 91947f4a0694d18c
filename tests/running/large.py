"""Slides of any size out of a few tiles: every tile of the pyramid's page is one of them, stored once."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np

TILE = 256
_SHORT, _LONG = 3, 4


def write_repeated(path: Path, side: int, kinds: int = 16) -> Path:
    """A JPEG-tiled TIFF of side × side pixels at 0.5 µm; cells and noise, different in every kind of tile."""
    tiles = [imagecodecs.jpeg8_encode(_tile(seed), level=85) for seed in range(kinds)]
    header = 8
    places = [header + sum(map(len, tiles[:number])) for number in range(kinds)]
    along = -(-side // TILE)
    chosen = np.random.default_rng(0).integers(kinds, size=along * along)
    offsets = np.asarray(places, "<u4")[chosen].tobytes()
    counts = np.asarray([len(tile) for tile in tiles], "<u4")[chosen].tobytes()
    data = b"".join(tiles)
    table = header + len(data)
    resolution = struct.pack("<IIIIHHH", 20_000, 1, 20_000, 1, 8, 8, 8)
    extra = table + len(offsets) + len(counts)
    entries = [
        (256, _LONG, 1, side),
        (257, _LONG, 1, side),
        (258, _SHORT, 3, extra + 16),
        (259, _SHORT, 1, 7),
        (262, _SHORT, 1, 6),
        (277, _SHORT, 1, 3),
        (282, 5, 1, extra),
        (283, 5, 1, extra + 8),
        (284, _SHORT, 1, 1),
        (296, _SHORT, 1, 3),
        (322, _LONG, 1, TILE),
        (323, _LONG, 1, TILE),
        (324, _LONG, along * along, table),
        (325, _LONG, along * along, table + len(offsets)),
        (530, _SHORT, 2, 2 | 2 << 16),
    ]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    start = extra + len(resolution)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + data + offsets + counts + resolution + directory)
    return path


def _tile(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    pixels = random.integers(190, 215, (TILE, TILE, 3), np.uint8)
    y, x = np.mgrid[:TILE, :TILE]
    for cy, cx in random.integers(10, TILE - 10, (4, 2)):
        pixels[(y - cy) ** 2 + (x - cx) ** 2 <= 64] = (200, 40, 40)
    return pixels
