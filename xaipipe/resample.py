"""Maps at other resolutions, every cell kept where its grid says that it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.types import Explanation, Grid


def to_pixels(values: Tensor, grid: Grid, size: tuple[int, int], origin: tuple[int, int] = (0, 0)) -> Tensor:
    """Bilinear samples of [N, C, h, w] at the pixels of a box of the input, as [N, C, H, W].

    `origin` is the box's first pixel. Beyond the outermost cell centres the outermost value goes on.
    """
    # rows last: they are copied whole
    columns = _along(values, 3, grid.scale[1], origin[1] - grid.offset[1], size[1])
    return _along(columns, 2, grid.scale[0], origin[0] - grid.offset[0], size[0])


def to_cells(values: Tensor, grid: Grid, onto: Grid, size: tuple[int, int]) -> Tensor:
    """Linear samples of [N, C, h, w] at the cells of another grid, which has `size` rows and columns."""
    for axis in (0, 1):
        step, start = grid.scale[axis] / onto.scale[axis], (onto.offset[axis] - grid.offset[axis]) / onto.scale[axis]
        values = _along(values, 2 + axis, step, start, size[axis])
    return values


def fused(maps: Sequence[Tensor], grids: Sequence[Grid]) -> tuple[Tensor, Grid]:
    """Maps of several layers [N, C, h, w] as one, on the finest of their grids.

    Each counts as evidence per pixel, so that none weighs more because its cells are wider: values are divided by the
    area of their cell, sampled at the finest cells, averaged over the layers, and multiplied by the finest cell's area.
    It is linear and keeps signs; nothing is normalised, so that maps of different images can still be compared.
    """
    areas = [grid.scale[0] * grid.scale[1] for grid in grids]
    finest = areas.index(min(areas))
    onto, size = grids[finest], (maps[finest].shape[2], maps[finest].shape[3])
    total = torch.zeros_like(maps[finest])
    for values, grid, area in zip(maps, grids, areas, strict=True):
        total = total + to_cells(values, grid, onto, size) * (areas[finest] / area)
    return total / len(maps), onto


def evidence_at_pixels(explanation: Explanation) -> tuple[Tensor, Tensor]:
    """Maps [N, C, H, W] at the input's pixels, and where they mean anything [N, H, W].

    Beside cells without a value it is the mean of those that have one; a pixel counts where they make up half.
    """
    values = to_pixels(explanation.values, explanation.grid, explanation.input_size)
    if explanation.valid is None:
        everywhere = torch.ones(len(values), *values.shape[2:], dtype=torch.bool, device=values.device)
        return values, everywhere
    present = explanation.valid[:, None].to(values.dtype)
    share = to_pixels(present, explanation.grid, explanation.input_size)
    known = share >= 0.5
    return torch.where(known, values / share.clamp(min=0.5), 0.0), known[:, 0]


def _along(values: Tensor, dimension: int, scale: float, start: float, pixels: int) -> Tensor:
    """Linear interpolation along one dimension, at the pixels start, start + 1, … from cell 0's centre."""
    last = values.shape[dimension] - 1
    cell = ((torch.arange(pixels, dtype=torch.float64) + start) / scale).clamp(0, last)
    low = cell.floor().long()
    share = (cell - low).to(dtype=values.dtype, device=values.device)
    low = low.to(values.device)
    near = values.index_select(dimension, low)
    if not share.any():  # pixels on cell centres: nothing to interpolate
        return near
    far = values.index_select(dimension, (low + 1).clamp(max=last))
    return near.lerp_(far, share.reshape([-1] + [1] * (values.ndim - 1 - dimension)))
