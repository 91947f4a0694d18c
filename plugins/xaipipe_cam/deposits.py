"""Maps as contributions to pixels: every cell is shared out among those that it lies between, and nothing is lost."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe import Grid, to_pixels


def deposited(maps: Tensor, grid: Grid, size: tuple[int, int]) -> Tensor:
    """[…, h, w] on the pixels […, H, W], with the same sum."""
    rows = _shares(maps.shape[-2], grid.scale[0], grid.offset[0], size[0]).to(maps)
    columns = _shares(maps.shape[-1], grid.scale[1], grid.offset[1], size[1]).to(maps)
    return rows.mT @ maps @ columns


def _shares(cells: int, scale: float, offset: float, pixels: int) -> Tensor:
    """[cells, pixels]: how a cell is shared out, in proportion to its weight in linear interpolation.

    A cell that no pixel looks at, since it lies outside, goes to the pixel nearest to it.
    """
    one_each = torch.eye(cells, dtype=torch.float64)[None, :, :, None]
    weights = to_pixels(one_each, Grid((scale, 1.0), (offset, 0.0)), (pixels, 1))[0, :, :, 0]
    totals = weights.sum(dim=1, keepdim=True)
    centres = offset + scale * torch.arange(cells, dtype=torch.float64)
    nearest = torch.nn.functional.one_hot(centres.round().clamp(0, pixels - 1).long(), pixels)
    return torch.where(totals > 0, weights / torch.where(totals > 0, totals, 1), nearest)
