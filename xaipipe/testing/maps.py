"""Maps for postprocessors and segmenters."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe.types import Explanation, Grid


def random_map(count: int = 1, cells: tuple[int, int] = (24, 32), channels: int = 2, seed: int = 0) -> Explanation:
    """Signed noise on cells of four pixels, with a hole and scattered cells where nothing was explained."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, channels, *cells, generator=generator)
    valid = torch.rand(count, *cells, generator=generator) > 0.1
    valid[:, cells[0] // 4 : cells[0] // 2, cells[1] // 3 : cells[1] // 2] = False
    return _explanation(values * valid[:, None], Grid((4.0, 4.0), (1.5, 1.5)), valid)


def blobs(count: int = 1, cells: tuple[int, int] = (24, 32), step: int = 4, seed: int = 0) -> Explanation:
    """Round bumps of evidence of either sign over a whole image of `cells` cells, nothing invalid."""
    generator = torch.Generator().manual_seed(seed)
    ys, xs = torch.arange(cells[0])[:, None], torch.arange(cells[1])[None, :]
    values = torch.zeros(count, 1, *cells)
    for image in range(count):
        for cy, cx, height in torch.rand(12, 3, generator=generator).tolist():
            distance = (ys - cy * cells[0]) ** 2 + (xs - cx * cells[1]) ** 2
            values[image, 0] += (height - 0.3) * torch.exp(-distance / 8)
    offset = (step - 1) / 2
    return _explanation(values, Grid((float(step), float(step)), (offset, offset)), None)


def _explanation(values: Tensor, grid: Grid, valid: Tensor | None) -> Explanation:
    count, _, rows, columns = values.shape
    return Explanation(
        values=values,
        grid=grid,
        targets=(1,) * count,
        scores=torch.zeros(count),
        input_size=(int(rows * grid.scale[0]), int(columns * grid.scale[1])),
        valid=valid,
    )
