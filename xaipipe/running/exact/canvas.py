"""A region's map while the maps of its shares come in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from xaipipe.errors import BoundaryError
from xaipipe.running.assembly import as_kept
from xaipipe.running.exact.shares import Share
from xaipipe.running.run import Run
from xaipipe.shares import SummedExplainer
from xaipipe.types import Explanation, Grid, Region

Pixels = np.ndarray[Any, Any]


class Canvas(ABC):
    """One region's part of the whole image's map."""

    @abstractmethod
    def add(self, shares: tuple[Share, ...], explanation: Explanation) -> None: ...

    @abstractmethod
    def finished(self) -> Pixels: ...


def canvas_for(run: Run, region: Region) -> Canvas:
    explainer = run.config.explainer
    if isinstance(explainer, SummedExplainer):
        return _Summed(run, explainer, region)
    return _Mosaic(run, region)


class _Summed(Canvas):
    """Contributions to pixels, added up where tiles overlap."""

    def __init__(self, run: Run, explainer: SummedExplainer, region: Region) -> None:
        self._run, self._explainer, self._region = run, explainer, region
        self._total: Tensor | None = None

    def add(self, shares: tuple[Share, ...], explanation: Explanation) -> None:
        values = as_kept(explanation.values)
        sizes = {(share.tile.h, share.tile.w) for share in shares}
        if explanation.grid != Grid() or sizes != {tuple(values.shape[2:])}:
            raise BoundaryError(
                f"explain method '{self._explainer.name}' returned contributions that do not lie on the pixels",
                got=(explanation.grid, *values.shape[2:]),
                expected=(Grid(), *sizes),
                where=explanation.tiles[0],
            )
        if self._total is None:
            self._total = values.new_zeros(values.shape[1], self._region.h, self._region.w)
        for share, one in zip(shares, values, strict=True):
            self._lay(share, one)

    def finished(self) -> Pixels:
        if self._total is None:  # no cell sees this region
            shape = (self._run.plan.channels, self._region.h, self._region.w)
            return np.zeros(shape, self._run.plan.layout.arrays[0].dtype)
        finished: Pixels = self._explainer.summed(self._total[None])[0].numpy()
        return finished

    def _lay(self, share: Share, values: Tensor) -> None:
        assert self._total is not None
        region, tile = self._region, share.tile
        top, left = max(region.y, tile.y), max(region.x, tile.x)
        bottom, right = min(region.y + region.h, tile.y + tile.h), min(region.x + region.w, tile.x + tile.w)
        if top < bottom and left < right:
            part = values[:, top - tile.y : bottom - tile.y, left - tile.x : right - tile.x]
            self._total[:, top - region.y : bottom - region.y, left - region.x : right - region.x] += part


class _Mosaic(Canvas):
    """Cells side by side, each from one share."""

    def __init__(self, run: Run, region: Region) -> None:
        spec = run.plan.layout.arrays[0]
        y, x, h, w = spec.cells(region)
        self._first = (y, x)
        self._values = np.full((run.plan.channels, h, w), np.nan, spec.dtype)

    def add(self, shares: tuple[Share, ...], explanation: Explanation) -> None:
        maps = as_kept(explanation.values).numpy()
        for share, values in zip(shares, maps, strict=True):
            assert share.place is not None
            ((top, bottom), (left, right)), ((y, y_end), (x, x_end)) = share.place
            row, column = y - self._first[0], x - self._first[1]
            place = self._values[:, row : row + y_end - y, column : column + x_end - x]
            place[:] = values[:, top:bottom, left:right]

    def finished(self) -> Pixels:
        return self._values
