"""What goes wrong on the way to the scanner: a fold, a pen stroke, zones out of focus."""

from typing import Literal, get_args

import numpy as np
from scipy.ndimage import gaussian_filter

from xaipipe_demo.noise import Box, Floats, field, salted, uniform, upsample
from xaipipe_demo.tissue import STEP, Land

Artefact = Literal["fold", "pen", "blur"]
ARTEFACTS: frozenset[Artefact] = frozenset(get_args(Artefact))

REACH = 8
"""Pixels from which defocus gathers light."""

_INK = ((0.93, 0.62, 0.28), (0.85, 0.42, 0.75), (0.75, 0.75, 0.72))


def _stroke(land: Land, pixels: Box, salt: int, width: float, wobble: float) -> Floats:
    """How deep each pixel lies inside a wavering band across the slide, in pixels; negative outside."""
    cells = Box(pixels.y // STEP, pixels.x // STEP, pixels.h // STEP, pixels.w // STEP).grown(1)
    angle, offset = uniform(salted(land.seed, salt), 0, np.arange(2)).astype(float)
    sine, cosine = np.sin(angle * np.pi), np.cos(angle * np.pi)
    y = cells.rows() * STEP - land.height * (0.35 + 0.3 * offset)
    x = cells.columns() * STEP - land.width * (0.65 - 0.3 * offset)
    away = (y * cosine + x * sine).astype(np.float32)
    away += field(salted(land.seed, salt + 1), cells, 512, STEP) * np.float32(wobble)
    return upsample(np.float32(width / 2) - np.abs(away), STEP)


def fold(land: Land, pixels: Box, haematoxylin: Floats, eosin: Floats) -> None:
    """Tissue lying double in a crease: twice the stain, a hard edge on either side. In place."""
    depth = np.clip(_stroke(land, pixels, 60, 70, 60) / 3 + np.float32(0.5), 0, 1)
    ridges = 1 + np.float32(0.1) * field(salted(land.seed, 62), pixels, 16)
    haematoxylin += depth * (haematoxylin * ridges + np.float32(0.012) * (eosin > 0.01))
    eosin += depth * eosin * ridges


def pen(land: Land, pixels: Box, light: Floats) -> None:
    """A felt-tip stroke on the cover glass, out of focus and over everything. In place."""
    streaks = field(salted(land.seed, 65), pixels, 64) * np.float32(0.06)
    ink = np.clip(_stroke(land, pixels, 63, 150, 90) / 14 + np.float32(0.5), 0, 1) * (1 + streaks)
    absorbed = _INK[int(uniform(salted(land.seed, 66), 0, 0)[0] * len(_INK))]
    for plane, share in zip(light, absorbed, strict=True):
        plane *= 1 - np.clip(ink * np.float32(share), 0, 1)


def defocus(land: Land, pixels: Box, plane: Floats) -> None:
    """Zones that the scanner's focus missed. In place; right only `REACH` pixels inside the window."""
    cells = Box(pixels.y // STEP, pixels.x // STEP, pixels.h // STEP, pixels.w // STEP).grown(1)
    zone = upsample(field(salted(land.seed, 67), cells, 1024, STEP), STEP)
    weight = np.clip((zone - np.float32(0.55)) * 2, 0, 1)
    if weight.any():
        plane += (gaussian_filter(plane, 2.5, truncate=REACH / 2.5) - plane) * weight
