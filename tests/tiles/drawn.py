"""Pictures of slides whose right answer is known: stains mixed by the law of Beer and Lambert, on glass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from xaipipe.testing import MemorySlide

GLASS = (243.0, 242.0, 244.0)
STAINS = {
    "haematoxylin": (0.65, 0.70, 0.29),
    "bluest haematoxylin": (0.63, 0.47, 0.25),
    "eosin": (0.07, 0.99, 0.11),
    "dab": (0.27, 0.57, 0.78),
}
INKS = {"blue": (2.6, 1.0, 0.33), "green": (1.9, 0.55, 1.4), "black": (1.5, 1.5, 1.4)}
TISSUE = {"haematoxylin": 0.25, "eosin": 0.4}
MPP = 2.0
"""So that a cell of the mask is 4 pixels wide."""
CELL = 4


class Drawing:
    """Densities that add up; turned into a slide at the end."""

    def __init__(self, height: int = 600, width: int = 800, white: tuple[float, float, float] = GLASS) -> None:
        self.shape = (height, width)
        self.density = np.zeros((height, width, 3))
        self.white = white
        self.y, self.x = np.mgrid[:height, :width]

    def disc(self, y: int, x: int, radius: float) -> np.ndarray:
        return (self.y - y) ** 2 + (self.x - x) ** 2 <= radius**2

    def box(self, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        return (self.y >= top) & (self.y < bottom) & (self.x >= left) & (self.x < right)

    def stain(self, where: np.ndarray, amounts: Mapping[str, float] = TISSUE) -> None:
        for name, amount in amounts.items():
            self.density[where] += np.multiply(STAINS[name], amount)

    def mark(self, where: np.ndarray, colour: str) -> None:
        self.density[where] += INKS[colour]

    def pixels(self, noise: float = 1.5, seed: int = 0) -> np.ndarray:
        light = np.asarray(self.white) * np.exp(-self.density)
        light += np.random.default_rng(seed).normal(0, noise, light.shape) if noise else 0
        return light.round().clip(0, 255).astype(np.uint8)

    def slide(self, mpp: float | None = MPP) -> MemorySlide:
        return MemorySlide([self.pixels()], mpp=mpp)


def cells(where: np.ndarray, side: int = CELL) -> np.ndarray:
    """Share of every cell that a mask of pixels covers."""
    h, w = where.shape
    padded = np.pad(where.astype(float), ((0, -h % side), (0, -w % side)), constant_values=np.nan)
    rows, columns = padded.shape[0] // side, padded.shape[1] // side
    return np.nanmean(padded.reshape(rows, side, columns, side), axis=(1, 3))
