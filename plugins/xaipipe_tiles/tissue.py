"""Where a slide has tissue: from a small picture of it, without pen marks and, on request, what is out of focus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from skimage.filters import threshold_otsu

from xaipipe import LabelImage, Slide
from xaipipe_tiles.density import USUAL_WHITE, White
from xaipipe_tiles.focus import out_of_focus
from xaipipe_tiles.pen import ink
from xaipipe_tiles.picture import Picture, small_picture, white_of
from xaipipe_tiles.pieces import closed, filled, without_small
from xaipipe_tiles.scores import SCORES, Score

GLASS, TISSUE, PEN, BLUR = range(4)
CLASSES = ("glass", "tissue", "pen", "out of focus")
_GAP = 16.0
"""Micrometres of gap that is closed."""


@dataclass(frozen=True)
class Search:
    """What counts as tissue. Areas are in µm², or in level-0 pixels where a slide does not say its resolution."""

    by: Literal["saturation", "hed"]
    holes: float
    area: float
    pen: bool
    """Whether ink is rejected."""
    blur: bool
    """Whether what is out of focus is rejected."""


@dataclass(frozen=True)
class TissueMask:
    """What every cell of a small picture of the slide is."""

    labels: np.ndarray
    """uint8 [h, w]: indices into `CLASSES`."""
    picture: Picture
    threshold: float
    white: White | None
    """Colour of the glass, where enough of it is seen."""

    @property
    def image(self) -> LabelImage:
        return LabelImage("tissue", self.labels, CLASSES, self.picture.grid)

    @property
    def shares(self) -> dict[str, float]:
        """Of the slide's area, by class."""
        counts = np.bincount(self.labels.ravel(), minlength=len(CLASSES)) / self.labels.size
        return {name: round(float(share), 6) for name, share in zip(CLASSES, counts, strict=True)}


def find_tissue(slide: Slide, search: Search) -> TissueMask:
    """Score, Otsu's threshold, gaps closed, holes filled, specks removed; ink and blur taken out."""
    picture = small_picture(slide)
    white = white_of(picture)
    marked = np.zeros(picture.pixels.shape[:2], bool)
    if search.pen:
        marked = ink(picture.pixels, white or USUAL_WHITE, picture.cell)
    score = SCORES[search.by].of(picture.pixels, white or USUAL_WHITE)
    threshold = _threshold(score[~marked], SCORES[search.by])
    one_cell = (picture.step * (picture.mpp or 1.0)) ** 2
    tissue = closed((score > threshold) & ~marked, round(_GAP / picture.cell))
    tissue = without_small(filled(tissue & ~marked, search.holes / one_cell), search.area / one_cell)
    labels = tissue.astype(np.uint8)
    if search.blur:
        labels[out_of_focus(slide, picture, tissue) & tissue] = BLUR
    labels[marked] = PEN
    return TissueMask(labels, picture, threshold, white)


def _threshold(score: np.ndarray, bounds: Score) -> float:
    if not score.size or np.ptp(score) < 1e-6:
        return bounds.plain
    return float(np.clip(threshold_otsu(score), bounds.least, bounds.plain))
