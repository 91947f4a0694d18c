"""Saliency: the gradient of the target with respect to the pixels."""

from __future__ import annotations

import torch
from pydantic import Field

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Model


class Saliency(Explainer):
    """How the target's score changes with each pixel, ∂y/∂x, signed.

    Misleads when: the score is saturated (a softmax near 1), where gradients vanish although the evidence is there;
    and as a heat map, since it shows sensitivity, not contribution.

    Example: `xaipipe.explain(model, x, method="saliency", target=281, magnitude=True)`

    Reference: Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013.
    """

    name = "saliency"

    class Params(ExplainerParams):
        magnitude: bool = Field(False, description="the largest absolute value over the channels: one map, not signed")

    def explain(self, batch: Batch, model: Model) -> Explanation:
        pixels = batch.pixels.detach().requires_grad_()
        with torch.enable_grad():
            selection = model.score(pixels, self.params.target)
            (gradient,) = torch.autograd.grad(selection.scores.sum(), pixels)
        if self.params.magnitude:
            gradient = gradient.abs().amax(dim=1, keepdim=True)
        return Explanation(
            values=gradient,
            grid=Grid(),
            targets=selection.targets,
            scores=selection.scores.detach(),
            input_size=tuple(pixels.shape[2:]),
            tiles=batch.tiles,
        )
