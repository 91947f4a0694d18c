"""Input × gradient: what each pixel contributes to the score, were the model linear from here on."""

from __future__ import annotations

from torch import Tensor

from xaipipe import Batch, Model
from xaipipe.propagation import BackwardExplainer, Rules, gradient_with


class InputXGradient(BackwardExplainer):
    """Each pixel's value times the gradient there, x · ∂y/∂x, signed.

    Misleads when: a preprocessed pixel is near zero (a colour near the mean): it gets nothing, however much the model
    looks at it; and where the score is saturated, as any gradient does.

    Example: `xaipipe.explain(model, x, method="input_x_gradient", target=281)`

    Reference: Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box, 2016.
    """

    name = "input_x_gradient"

    def rules(self, batch: Batch, model: Model) -> Rules:
        return gradient_with()

    def at_pixels(self, arrived: Tensor, batch: Batch) -> Tensor:
        return arrived * batch.pixels
