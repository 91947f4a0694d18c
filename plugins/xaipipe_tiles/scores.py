"""How much a cell looks like stained tissue: by its colourfulness, or by the density of its stains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xaipipe_tiles.density import White, densities, density_table

_GREY = 0.3
"""Spread of the densities over their mean below which a colour is grey; haematoxylin's and eosin's is 0.75 or more."""
_FAINT = 0.03
"""Mean density below which noise decides how grey a colour is."""
_RUIFROK = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Densities of haematoxylin, eosin and DAB in red, green and blue."""


@dataclass(frozen=True)
class Score:
    """A picture as one number a cell, and between which values the threshold has to lie."""

    of: Callable[[np.ndarray, White], np.ndarray]
    least: float
    """Noise of empty glass stays below it: keeps Otsu from finding tissue on a slide that has none."""
    plain: float
    """Tissue on any slide: keeps Otsu from cutting a slide that is all tissue in two."""


def saturation(pixels: np.ndarray, white: White) -> np.ndarray:
    """Of the colours as seen against the glass: 0 where they are grey."""
    light = [np.minimum(pixels[..., i] * np.float32(1 / white[i]), 1) for i in range(3)]
    high = np.maximum(np.maximum(light[0], light[1]), light[2])
    low = np.minimum(np.minimum(light[0], light[1]), light[2])
    return (high - low) / np.maximum(high, np.float32(0.15))  # near black, noise has any hue


def hed(pixels: np.ndarray, white: White) -> np.ndarray:
    """Densities of haematoxylin, eosin and DAB by colour deconvolution (Ruifrok and Johnston 2001); 0 where grey."""
    planes = densities(pixels, density_table(white))
    unmix = np.linalg.inv(_RUIFROK / np.linalg.norm(_RUIFROK, axis=1, keepdims=True)).astype(np.float32)
    score = np.zeros_like(planes[0])
    for stain in unmix.T:
        amount = planes[0] * stain[0] + planes[1] * stain[1] + planes[2] * stain[2]
        score += np.maximum(amount, 0)
    score[is_grey(planes, _GREY)] = 0
    return score


def is_grey(planes: list[np.ndarray], spread: float) -> np.ndarray:
    """Where densities are about the same in all channels, and not only for being faint."""
    high = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    low = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    mean = (planes[0] + planes[1] + planes[2]) / 3
    return (mean >= _FAINT) & (high - low < spread * mean)


SCORES = {"saturation": Score(saturation, 0.02, 0.04), "hed": Score(hed, 0.04, 0.08)}
