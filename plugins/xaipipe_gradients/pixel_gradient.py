"""The gradient of the target with respect to the pixels, which several methods start from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xaipipe import Batch, Explanation, Grid, Model


def pixel_gradient(batch: Batch, model: Model, target: Any) -> Explanation:
    """∂y/∂x, signed, as an explanation on the pixels."""
    pixels = batch.pixels.detach().requires_grad_()
    with torch.enable_grad():
        selection = model.score(pixels, target)
        (gradient,) = torch.autograd.grad(selection.scores.sum(), pixels)
    return Explanation(
        values=gradient,
        grid=Grid(),
        targets=selection.targets,
        scores=selection.scores.detach(),
        input_size=_size(pixels),
        tiles=batch.tiles,
    )


def _size(pixels: Tensor) -> tuple[int, int]:
    return int(pixels.shape[2]), int(pixels.shape[3])
