"""The gradient of the target with respect to the pixels, which several methods start from."""

from __future__ import annotations

import torch
from torch import Tensor

from xaipipe import Batch, Explanation, Grid, Model, Question
from xaipipe.models.differentiable import require_differentiable, required_gradient


def pixel_gradient(batch: Batch, model: Model, question: Question) -> Explanation:
    """∂y/∂x, signed, as an explanation on the pixels."""
    pixels = batch.pixels.detach().requires_grad_()
    with torch.enable_grad():
        selection = model.score(pixels, question)
        require_differentiable(selection, model.source)
        (gradient,) = torch.autograd.grad(selection.scores.sum(), pixels, allow_unused=True)
    return Explanation(
        values=required_gradient(gradient, model.source),
        grid=Grid(),
        targets=selection.targets,
        scores=selection.scores.detach(),
        input_size=_size(pixels),
        diagnostics=selection.asked,
        tiles=batch.tiles,
    )


def _size(pixels: Tensor) -> tuple[int, int]:
    return int(pixels.shape[2]), int(pixels.shape[3])
