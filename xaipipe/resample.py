"""Maps at other resolutions, every cell kept where its grid says that it lies."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe.types import Grid


def to_pixels(values: Tensor, grid: Grid, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Bilinear samples of [N, C, h, w] at the pixels of a box of the input, as [N, C, H, W].

    `origin` is the box's first pixel. Beyond the outermost cell centres the outermost value goes on.
    """
    rows = _weights(grid, 0, values.shape[-2], size[0], origin[0], values)
    columns = _weights(grid, 1, values.shape[-1], size[1], origin[1], values)
    return rows @ values @ columns.T


def _weights(grid: Grid, axis: int, cells: int, pixels: int, origin: int, like: Tensor) -> Tensor:
    """The [pixels, cells] matrix that interpolates along one axis."""
    positions = torch.arange(origin, origin + pixels, dtype=torch.float64)
    cell = ((positions - grid.offset[axis]) / grid.scale[axis]).clamp(0, cells - 1)
    low = cell.floor().clamp(max=max(cells - 2, 0)).long()
    share = cell - low
    weights = torch.zeros(pixels, cells, dtype=torch.float64)
    index = torch.arange(pixels)
    weights[index, low] = 1 - share
    if cells > 1:
        weights[index, low + 1] = share
    return weights.to(dtype=like.dtype, device=like.device)
