"""Sensitivity: the gradient squared."""

from __future__ import annotations

from torch import Tensor

from xaipipe import Batch, Model
from xaipipe.propagation import BackwardExplainer, Rules, gradient_with


class Sensitivity(BackwardExplainer):
    """How strongly the target's score reacts to each pixel, (∂y/∂x)², never negative.

    Misleads when: it is read as contribution: it does not say whether a pixel speaks for or against the target; and
    where the score is saturated. Squares let few pixels stand out, and the rest look as if they did not matter.

    Example: `xaipipe.explain(model, x, method="sensitivity", target=281)`

    Reference: Simonyan, Vedaldi, Zisserman: Deep Inside Convolutional Networks, 2013; squared as in Montavon, Samek,
    Müller: Methods for Interpreting and Understanding Deep Neural Networks, 2018.
    """

    name = "sensitivity"

    def rules(self, batch: Batch, model: Model) -> Rules:
        return gradient_with()

    def summed(self, values: Tensor) -> Tensor:
        return values.square()
