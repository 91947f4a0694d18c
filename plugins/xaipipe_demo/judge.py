"""What was found against what is there: the demo knows the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from xaipipe_demo.scene import Scene

_BLOCK = 2048
_COVERED = 0.5
"""A cell is found when objects cover at least this share of it."""
_ON_CELLS = 0.25
"""An object is right when at least this share of it lies on damaged cells: it may hold their halos too."""

Labels = Callable[[int, int, int, int], np.ndarray]
"""Reads a box (y, x, h, w) of the labels."""


@dataclass
class Verdict:
    """Counts that add up over blocks: a few for each damaged cell and each object, nothing for a pixel."""

    cell_pixels: Counter[int] = field(default_factory=Counter)
    covered_pixels: Counter[int] = field(default_factory=Counter)
    object_pixels: Counter[int] = field(default_factory=Counter)
    object_pixels_on_cells: Counter[int] = field(default_factory=Counter)
    intersection: int = 0
    union: int = 0

    @property
    def damaged(self) -> int:
        """Damaged cells on the slide."""
        return len(self.cell_pixels)

    @property
    def found(self) -> int:
        return sum(self.covered_pixels[cell] >= _COVERED * n for cell, n in self.cell_pixels.items())

    @property
    def objects(self) -> int:
        return len(self.object_pixels)

    @property
    def true_objects(self) -> int:
        """Objects that lie on damaged cells."""
        return sum(self.object_pixels_on_cells[one] >= _ON_CELLS * n for one, n in self.object_pixels.items())

    @property
    def recall(self) -> float:
        """Share of the damaged cells that were found."""
        return self.found / max(self.damaged, 1)

    @property
    def precision(self) -> float:
        """Share of the objects that lie on damaged cells."""
        return self.true_objects / max(self.objects, 1)

    @property
    def iou(self) -> float:
        """Of the pixels of all objects with those of all damaged cells."""
        return self.intersection / max(self.union, 1)

    def add(self, labels: np.ndarray, cells: np.ndarray, damaged: np.ndarray) -> None:
        """Count a block."""
        inside = labels > 0
        both = inside & damaged
        self.cell_pixels.update(_counts(cells[damaged]))
        self.covered_pixels.update(_counts(cells[both]))
        self.object_pixels.update(_counts(labels[inside]))
        self.object_pixels_on_cells.update(_counts(labels[both]))
        self.intersection += int(both.sum())
        self.union += int((inside | damaged).sum())


def judge(scene: Scene, labels: Labels) -> Verdict:
    """The whole slide, block by block."""
    verdict = Verdict()
    for y, x, h, w in blocks(scene.height, scene.width, _BLOCK):
        cells, damaged = scene.truth(y, x, h, w)
        verdict.add(labels(y, x, h, w), cells, damaged)
    return verdict


def blocks(height: int, width: int, side: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes (y, x, h, w) that cover a picture."""
    for y in range(0, height, side):
        for x in range(0, width, side):
            yield y, x, min(side, height - y), min(side, width - x)


def _counts(values: np.ndarray) -> dict[int, int]:
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
