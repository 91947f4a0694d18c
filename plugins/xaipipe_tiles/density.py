"""Optical density: how much light a specimen takes, relative to what comes through empty glass.

Stains add up in it (Beer and Lambert): a pixel's density is the sum of its stains' densities, and a mixture of stains
lies between them, whatever their amounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

_Byte = Annotated[float, Field(ge=1, le=255)]
White = tuple[_Byte, _Byte, _Byte]
"""Colour of empty glass, 0 … 255."""

USUAL_WHITE: White = (240.0, 240.0, 240.0)
"""Where a slide shows no glass."""


def density_table(white: Sequence[float]) -> np.ndarray:
    """float32 [3, 256]: the density of every byte of every channel. One is added, so that black has a density too."""
    light = (np.arange(256)[None] + 1) / (np.asarray(white, np.float64)[:, None] + 1)
    return (-np.log(light)).astype(np.float32)


def densities(rgb: np.ndarray, table: np.ndarray) -> list[np.ndarray]:
    """The densities of uint8 [..., 3], a float32 plane for each channel."""
    return [table[channel].take(rgb[..., channel]) for channel in range(3)]


def mean_density(rgb: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Of the three channels: float32 [...]."""
    red, green, blue = densities(rgb, table)
    red += green
    red += blue
    red *= np.float32(1 / 3)
    return red


def to_bytes(plane: np.ndarray) -> np.ndarray:
    """Rounded and clipped, in place before it becomes uint8."""
    plane += np.float32(0.5)
    return np.clip(plane, 0, 255, out=plane).astype(np.uint8)
