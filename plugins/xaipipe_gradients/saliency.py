"""Saliency: the gradient of the target with respect to the pixels."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from xaipipe import Batch, ExplainerParams, Model
from xaipipe.propagation import BackwardExplainer, Rules, gradient_with


class Saliency(BackwardExplainer):
    """How the target's score changes with each pixel, ∂y/∂x, signed.

    Misleads when: the score is saturated (a softmax near 1), where gradients vanish although the evidence is there;
    and as a heat map, since it shows sensitivity, not contribution.

    Example: `xaipipe.explain(model, x, method="saliency", target=281, magnitude=True)`

    Reference: Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013.
    """

    name = "saliency"

    class Params(ExplainerParams):
        magnitude: bool = Field(False, description="the largest absolute value over the channels: one map, not signed")

    def rules(self, batch: Batch, model: Model) -> Rules:
        return gradient_with()

    def summed(self, values: Tensor) -> Tensor:
        return values.abs().amax(dim=1, keepdim=True) if self.params.magnitude else values
