"""Whether cells lie where their grid says: stated centres against what gradients show."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from xaipipe.errors import UsageError
from xaipipe.models.geometry import Cell, cell_centroids
from xaipipe.models.layers import OneLayer
from xaipipe.models.model import Model, as_found
from xaipipe.models.places import find_place
from xaipipe.types import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where some cells of a layer lie, in pixels (y, x) of the input."""

    layer: str
    grid: Grid
    source: str
    """How the grid was found."""
    cells: tuple[Cell, ...]
    """Rows and columns of the cells."""
    stated: Tensor
    """[cells, 2]: their centres by the grid."""
    seen: Tensor
    """[cells, 2]: the centroids of what they respond to."""
    upsampled: Tensor
    """[cells, 2]: where resizing the map to the input would put them."""

    @property
    def error(self) -> float:
        """The largest distance between a stated centre and a centroid, along y or x."""
        return _largest(self.stated - self.seen)

    @property
    def error_of_upsampling(self) -> float:
        """The same of plain upsampling."""
        return _largest(self.upsampled - self.seen)


def placement(
    model: nn.Module | Model, x: Tensor, layer: OneLayer = "auto", cells: Sequence[Cell] | None = None
) -> Placement:
    """Hold the grid of a layer against gradients: Σ_c (∂A_c/∂x)² of a cell has its centroid at the cell's centre.

    The mean over the images x is taken, each of which costs a pass; noise shows what the network does, photographs also
    what is on them. Cells near the border see less on one side, so those in the middle are asked unless others are
    named. The more images, and the smaller what a cell sees, the surer the centroid. The model is left as it was found.

    >>> xaipipe.placement(model, torch.randn(16, 3, 512, 512), layer="layer4").error  # in pixels
    """
    handle = model if isinstance(model, Model) else Model.of(model)
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outside, as_found(handle.module):
        x = x.clone() if x.is_inference() else x
        place = find_place(handle, layer, x)
        asked = tuple(cells) if cells is not None else _innermost(place.size)
        _require_cells(asked, place.size, place.layer.name)
        seen = cell_centroids(handle.module, place.layer, x, asked)
    where = torch.tensor(asked, dtype=torch.float64)
    stated = torch.tensor(place.grid.offset) + torch.tensor(place.grid.scale) * where
    widths = torch.tensor(x.shape[2:], dtype=torch.float64) / torch.tensor(place.size)
    return Placement(
        place.layer.name, place.grid, place.source, asked, stated, seen, upsampled=(where + 0.5) * widths - 0.5
    )


def _innermost(size: tuple[int, int]) -> tuple[Cell, ...]:
    rows, columns = (sorted({(n - 1) // 2, n // 2}) for n in size)
    return tuple((row, column) for row in rows for column in columns)


def _require_cells(cells: Sequence[Cell], size: tuple[int, int], layer: str) -> None:
    for row, column in cells:
        if not (0 <= row < size[0] and 0 <= column < size[1]):
            raise UsageError(
                f"layer '{layer}' has no such cell",
                got=(row, column),
                expected=f"rows below {size[0]}, columns {size[1]}",
            )


def _largest(distance: Tensor) -> float:
    return float(distance.abs().max())
