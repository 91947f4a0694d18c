"""Marks of felt-tip pens: ink in colours that no mixture of stains has."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from xaipipe_tiles.density import White, densities, density_table
from xaipipe_tiles.pieces import without_small
from xaipipe_tiles.scores import is_grey

_SMALLEST = 10_000.0
"""Square micrometres: strokes are wider than 100 µm; pigment, and the dye that marks a margin, lie in smaller spots."""
_CORE = 2_500.0
"""Square micrometres of it that nobody can take for tissue, in one piece."""
_FRINGE = 8.0
"""Micrometres around ink into which it fades."""
_PADDING = 3
"""Brightest channel of what a scanner filled with black: no light came through it at all."""
_AROUND = 5
"""Cells along the square of which most have to be ink: no line between glass and padding, no single dark nucleus."""


def ink(pixels: np.ndarray, white: White, cell: float) -> np.ndarray:
    """Where a picture uint8 [h, w, 3] with cells of some micrometres shows ink, as bool [h, w].

    A colour is told by its densities in red, green and blue, in which haematoxylin is about (0.65, 0.70, 0.29), its
    bluest variants (0.63, 0.47, 0.25), eosin (0.07, 0.99, 0.11) and DAB (0.27, 0.57, 0.78). In ink that nobody can
    take for tissue,

    - blue takes far more red than green: red ≥ 1.6 · green, and by 0.7 at least. Haematoxylin's red is at most
      1.35 · green; that bound is linear, so no mixture of these stains breaks it.
    - green takes less green than red and blue: green ≤ 0.75 · red, and ≤ 0.75 of red's and blue's mean. Each of these
      stains takes more green than that mean, and so do their mixtures.
    - black takes all alike, and much: mean ≥ 1.1, spread < 0.2 of it.

    From there it is followed into paler ink and over tissue, to whose densities it adds its own, as far as colours
    are still none of haematoxylin and eosin. Red and purple ink have their colours and are not told from them.
    """
    planes = densities(pixels, density_table(white))
    black = np.where(pixels.max(axis=2) >= _PADDING, sum(planes) / 3, 0)
    marked = np.zeros(black.shape, bool)
    for sure, perhaps in (
        (_blue(planes, 1.6, 0.7), _blue(planes, 1.15, 0.2)),
        (_green(planes, 0.75, 0.3), _green(planes, 0.9, 0.15)),
        (is_grey(planes, 0.2) & (black >= 1.1), is_grey(planes, 0.45) & (black >= 0.9)),
    ):
        core = ndimage.uniform_filter(sure.astype(np.float32), _AROUND) > 0.5
        stroke = _followed(without_small(core, _CORE / cell**2), perhaps)
        marked |= without_small(stroke, _SMALLEST / cell**2)
    return ndimage.binary_dilation(marked, np.ones((3, 3)), iterations=max(round(_FRINGE / cell), 1))


def _blue(planes: list[np.ndarray], ratio: float, difference: float) -> np.ndarray:
    red, green, _ = planes
    return (red >= ratio * green) & (red - green >= difference)


def _green(planes: list[np.ndarray], ratio: float, difference: float) -> np.ndarray:
    red, green, blue = planes
    return (green <= ratio * red) & (green <= ratio / 2 * (red + blue)) & (red - green >= difference)


def _followed(sure: np.ndarray, perhaps: np.ndarray) -> np.ndarray:
    """What is sure, and everything perhaps that is connected with it."""
    pieces, _ = ndimage.label(sure | perhaps, np.ones((3, 3)))
    kept = np.zeros(pieces.max() + 1, bool)
    kept[pieces[sure]] = True
    return kept[pieces]
