"""A slide in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xaipipe.types import Level, Slide

Pixels = np.ndarray[Any, Any]


class MemorySlide(Slide):
    """A pyramid of arrays. It insists on what readers may rely on: boxes lie inside the level."""

    def __init__(self, levels: Sequence[Pixels], mpp: float | None = 0.25, name: str = "memory.tif") -> None:
        self.path = Path(name)
        self.mpp = mpp
        base = levels[0]
        self.levels = tuple(
            Level(pixels.shape[0], pixels.shape[1], float(round(base.shape[0] / pixels.shape[0]))) for pixels in levels
        )
        self._pixels = tuple(levels)

    @classmethod
    def striped(cls, height: int = 120, width: int = 152, seed: int = 0) -> MemorySlide:
        """Two levels, the second of every fourth pixel."""
        pixels = striped_pixels(height, width, seed)
        return cls((pixels, np.ascontiguousarray(pixels[::4, ::4])))

    def read(self, level: int, y: int, x: int, h: int, w: int) -> Pixels:
        size = self.levels[level]
        inside = y >= 0 and x >= 0 and h > 0 and w > 0 and y + h <= size.height and x + w <= size.width
        assert inside, f"read outside level {level}: y={y} x={x} h={h} w={w} of {size.height} × {size.width}"
        return self._pixels[level][y : y + h, x : x + w].copy()

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for pixels in self._pixels:
            digest.update(pixels.tobytes())
        return digest.hexdigest()


def striped_pixels(height: int, width: int, seed: int = 0) -> Pixels:
    """RGB bytes that tell where they come from: red counts rows, green columns, blue is noise."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, :, 0] = np.arange(height)[:, None] % 256
    pixels[:, :, 1] = np.arange(width)[None, :] % 256
    pixels[:, :, 2] = np.random.default_rng(seed).integers(0, 256, (height, width))
    return pixels
