"""A region's map, put together from the maps of its tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaipipe.errors import BoundaryError
from xaipipe.running.tiling import Lattice
from xaipipe.types import Explanation, Region


class Assembly:
    """The map of one region while its tiles come in; NaN where nothing was explained."""

    def __init__(
        self, region: Region, lattice: Lattice, cells: tuple[int, int], channels: int, dtype: str = "float32"
    ) -> None:
        self._region = region
        self._lattice = lattice
        self.values = np.full((channels, *cells), np.nan, dtype)

    def add(self, explanation: Explanation) -> None:
        """Lay the core of every tile's map into its place; what reaches beyond the slide falls away."""
        self._require_like_sample(explanation)
        maps = as_kept(explanation.values).numpy()
        n, (top, left) = self._lattice.per_core, self._lattice.first
        for tile, values in zip(explanation.tiles, maps, strict=True):
            y = (tile.y - self._region.y) // self._lattice.step[0]
            x = (tile.x - self._region.x) // self._lattice.step[1]
            place: Any = self.values[:, y : y + n, x : x + n]
            place[:] = values[:, top : top + place.shape[1], left : left + place.shape[2]]

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
