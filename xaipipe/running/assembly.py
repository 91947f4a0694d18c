"""A region's map, put together from the maps of its tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaipipe.errors import BoundaryError
from xaipipe.running.layout import BACKGROUND, EXPLAINED, UNREADABLE
from xaipipe.running.tiling import Lattice
from xaipipe.types import Explanation, Region, Tile


class Assembly:
    """The map of one region while its tiles come in; NaN where nothing was explained."""

    def __init__(
        self, region: Region, lattice: Lattice, cells: tuple[int, int], channels: int, dtype: str = "float32"
    ) -> None:
        self._region = region
        self._lattice = lattice
        self.values = np.full((channels, *cells), np.nan, dtype)
        self.status = np.full((1, *cells), BACKGROUND, np.uint8)

    def add(self, explanation: Explanation) -> None:
        """Lay the core of every tile's map into its place; what reaches beyond the slide falls away."""
        self._require_like_sample(explanation)
        maps = as_kept(explanation.values).numpy()
        top, left = self._lattice.first
        for tile, values in zip(explanation.tiles, maps, strict=True):
            cells = self._cells(tile)
            place = self.values[cells]
            place[:] = values[:, top : top + place.shape[1], left : left + place.shape[2]]
            self.status[cells] = EXPLAINED

    def leave_out(self, tile: Tile) -> None:
        """A tile that could not be read: its cells stay NaN, and say why."""
        self.status[self._cells(tile)] = UNREADABLE

    def _cells(self, tile: Tile) -> Any:
        """Where a tile's core lies in the region."""
        n = self._lattice.per_core
        y = (tile.y - self._region.y) // self._lattice.step[0]
        x = (tile.x - self._region.x) // self._lattice.step[1]
        return np.s_[:, y : y + n, x : x + n]

    def _require_like_sample(self, explanation: Explanation) -> None:
        """Maps of another grid or shape than the sample's, which the plan rests on, have no place here."""
        got = (explanation.grid, *explanation.values.shape[1:])
        if got != self._lattice.sample:
            raise BoundaryError(
                "a batch's maps differ from those of the sample that the plan was made from",
                got=got,
                expected=self._lattice.sample,
                where=explanation.tiles[0] if explanation.tiles else None,
            )


def as_kept(values: Tensor) -> Tensor:
    """On the CPU, in the precision in which maps are kept: a double model's in double, all others in single."""
    double = values.dtype == torch.float64
    return values.detach().to("cpu", torch.float64 if double else torch.float32)
