"""Saliency: the gradient of the target with respect to the pixels."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from xaipipe import Batch, ExplainerParams, Explanation, Model, SummedExplainer
from xaipipe_gradients.pixel_gradient import pixel_gradient


class Saliency(SummedExplainer):
    """How the target's score changes with each pixel, ∂y/∂x, signed.

    Misleads when: the score is saturated (a softmax near 1), where gradients vanish although the evidence is there;
    and as a heat map, since it shows sensitivity, not contribution.

    Example: `xaipipe.explain(model, x, method="saliency", target=281, magnitude=True)`

    Reference: Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013.
    """

    name = "saliency"

    class Params(ExplainerParams):
        magnitude: bool = Field(False, description="the largest absolute value over the channels: one map, not signed")

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        return pixel_gradient(batch, model, self.params.question)

    def summed(self, values: Tensor) -> Tensor:
        return values.abs().amax(dim=1, keepdim=True) if self.params.magnitude else values
