"""A map at the size of a picture, a few rows at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from xaipipe import Grid, Histogram, to_pixels
from xaipipe_export.result import Level

_CELLS_AT_ONCE = 1 << 24


@dataclass(frozen=True)
class Heat:
    """A map over a picture whose pixels span `step` level-0 pixels along y and x."""

    level: Level
    step: tuple[float, float]
    width: int

    def rows(self, top: int, count: int) -> np.ndarray:
        """Rows of the picture [count, width]; 0 where nothing was explained.

        Where cells are smaller than pixels, the strongest that falls into each: a mean would lose small evidence.
        Where they are larger, what lies between their centres.
        """
        if self.level.span <= min(self.step):
            return self._strongest(top, count)
        return self._between(top, count)

    def magnitudes(self) -> Histogram:
        """Of the whole map, from one pass over it."""
        at_once = max(_CELLS_AT_ONCE // self.level.width, 1)
        bands = range(0, self.level.height, at_once)
        return Histogram.merged(Histogram.of(np.abs(self._values(y, at_once))) for y in bands)

    def _strongest(self, top: int, count: int) -> np.ndarray:
        result = np.zeros((count, self.width), np.float32)
        columns = self._pixels(1, np.arange(self.level.width))
        first, last = self._cell(0, top), min(self._cell(0, top + count) + 1, self.level.height)
        at_once = max(_CELLS_AT_ONCE // self.level.width, 1)
        for y in range(first, last, at_once):
            values = self._values(y, min(at_once, last - y))
            rows = self._pixels(0, np.arange(y, y + len(values))) - top
            inside = (rows >= 0) & (rows < count)
            _keep_strongest(result, values[inside], rows[inside], columns)
        return result

    def _between(self, top: int, count: int) -> np.ndarray:
        scale = (self.level.span / self.step[0], self.level.span / self.step[1])
        first, last = (self._cell(0, edge) for edge in (top, top + count))
        y = max(first - 2, 0)
        values = self._values(y, last + 2 - y)
        # from cells to pixels of the picture, both by their centres
        offset = tuple(
            (self.level.corner[axis] + (start + 0.5) * self.level.span) / self.step[axis] - 0.5
            for axis, start in ((0, y), (1, 0))
        )
        grid = Grid(scale, (offset[0], offset[1]))
        return to_pixels(torch.from_numpy(values)[None, None], grid, (count, self.width), (top, 0))[0, 0].numpy()

    def _values(self, y: int, h: int) -> np.ndarray:
        """Rows of the map, all channels together."""
        return np.nan_to_num(self.level.read(y, 0, h, self.level.width)).sum(axis=0, dtype=np.float32)

    def _pixels(self, axis: int, cells: np.ndarray) -> np.ndarray:
        """The pixel that holds each cell's centre; the last holds what reaches beyond."""
        centres = self.level.corner[axis] + (cells + 0.5) * self.level.span
        pixels = np.floor(centres / self.step[axis]).astype(np.int64)
        return pixels.clip(0, self.width - 1) if axis == 1 else pixels

    def _cell(self, axis: int, edge: float) -> int:
        """The cell that a picture's edge falls into."""
        cell = math.floor((edge * self.step[axis] - self.level.corner[axis]) / self.level.span)
        return min(max(cell, 0), self.level.height)


def _keep_strongest(result: np.ndarray, values: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Of the values that fall into a pixel the one farthest from 0."""
    for take in (np.maximum, np.minimum):
        extreme = np.zeros_like(result)
        take.at(extreme, (rows[:, None], columns[None, :]), values)
        stronger = np.abs(extreme) > np.abs(result)
        result[stronger] = extreme[stronger]
