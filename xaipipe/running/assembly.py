"""What becomes of a region: its map, put together from the maps of its tiles, and what these say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaipipe.doubts import Doubt
from xaipipe.errors import BoundaryError
from xaipipe.running.diagnostics import Diagnostics, of_doubts, of_tiles
from xaipipe.running.layout import BACKGROUND, EXPLAINED, STANDARD_ERROR, STATUS, UNREADABLE, ArraySpec, Layout
from xaipipe.running.tiling import Lattice
from xaipipe.types import Explanation, Region, Tile

Cells = np.ndarray[Any, Any]


class Assembly:
    """One region while its tiles come in; NaN where nothing was explained."""

    def __init__(self, region: Region, lattice: Lattice, layout: Layout) -> None:
        self._region, self._lattice = region, lattice
        self.arrays = {spec.name: _empty(spec, region) for spec in layout.first_pass}
        """As they are committed: the map comes first."""
        self._map = layout.arrays[0].name
        self._said: list[Diagnostics] = []

    def add(self, explanation: Explanation) -> None:
        """Lay the core of every tile's map into its place; what reaches beyond the slide falls away."""
        self._require_like_sample(explanation)
        self._lay(self.arrays[self._map], explanation.values, explanation.tiles)
        if explanation.standard_error is not None:
            self._lay(self.arrays[STANDARD_ERROR], explanation.standard_error, explanation.tiles)
        self._mark(explanation.tiles, EXPLAINED)
        self._said.extend(of_tiles(explanation))

    def leave_out(
        self, tiles: Collection[Tile], doubts: Iterable[Doubt], targets: Mapping[Tile, int | str] | None = None
    ) -> None:
        """Tiles that could not be read: their cells stay NaN, and say why. Of the others, note what is doubtful.

        `targets` says what was explained of each tile, where doubts of maps for other targets may be among them.
        """
        self._mark(tiles, UNREADABLE)
        self._said.append(of_doubts(doubts, tiles, targets))

    @property
    def said(self) -> Diagnostics:
        return Diagnostics.merged(self._said)

    def _lay(self, array: Cells, maps: Tensor, tiles: tuple[Tile, ...]) -> None:
        top, left = self._lattice.first
        for tile, values in zip(tiles, as_kept(maps).numpy(), strict=True):
            place = array[self._cells(tile)]
            place[:] = values[:, top : top + place.shape[1], left : left + place.shape[2]]

    def _mark(self, tiles: Iterable[Tile], status: int) -> None:
        for tile in tiles:
            self.arrays[STATUS][self._cells(tile)] = status

    def _cells(self, tile: Tile) -> Any:
        """Where a tile's core lies in the region."""
        n = self._lattice.per_core
        y = (tile.y - self._region.y) // self._lattice.step[0]
        x = (tile.x - self._region.x) // self._lattice.step[1]
        return np.s_[:, y : y + n, x : x + n]

    def _require_like_sample(self, explanation: Explanation) -> None:
        """Maps of another grid or shape than the sample's, which the plan rests on, have no place here."""
        got = (explanation.grid, *explanation.values.shape[1:], _sampled(explanation.standard_error is not None))
        expected = (*self._lattice.sample, _sampled(STANDARD_ERROR in self.arrays))
        if got != expected:
            raise BoundaryError(
                "a batch's maps differ from those of the sample that the plan was made from",
                got=got,
                expected=expected,
                where=explanation.tiles[0] if explanation.tiles else None,
            )


def _empty(spec: ArraySpec, region: Region) -> Cells:
    _, _, h, w = spec.cells(region)
    return np.full((len(spec.channels), h, w), BACKGROUND if spec.name == STATUS else np.nan, spec.dtype)


def _sampled(has_errors: bool) -> str:
    return "with standard errors" if has_errors else "without standard errors"


def as_kept(values: Tensor) -> Tensor:
    """On the CPU, in the precision in which maps are kept: a double model's in double, all others in single."""
    double = values.dtype == torch.float64
    return values.detach().to("cpu", torch.float64 if double else torch.float32)
