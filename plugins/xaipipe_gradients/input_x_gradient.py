"""Input × gradient: what each pixel contributes to the score, were the model linear from here on."""

from __future__ import annotations

from xaipipe import Batch, Explanation, Model, SummedExplainer
from xaipipe_gradients.pixel_gradient import pixel_gradient


class InputXGradient(SummedExplainer):
    """Each pixel's value times the gradient there, x · ∂y/∂x, signed.

    Misleads when: a preprocessed pixel is near zero (a colour near the mean): it gets nothing, however much the model
    looks at it; and where the score is saturated, as any gradient does.

    Example: `xaipipe.explain(model, x, method="input_x_gradient", target=281)`

    Reference: Shrikumar, Greenside, Shcherbina, Kundaje: Not Just a Black Box, 2016.
    """

    name = "input_x_gradient"

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        explanation = pixel_gradient(batch, model, self.params.question)
        return explanation.replace(values=explanation.values * batch.pixels)
