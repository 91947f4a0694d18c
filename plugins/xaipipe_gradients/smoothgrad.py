"""SmoothGrad: the mean map of noisy copies."""

from __future__ import annotations

from torch import Tensor

from xaipipe_gradients.moments import Moments
from xaipipe_gradients.noisy import NoisyExplainer


class SmoothGrad(NoisyExplainer):
    """The mean of a method's maps over noisy copies of the image: what of it does not hang on the exact pixels.

    `base` is any explain method, and `standard_error` in the result says how sure each value is.

    Misleads when: the noise is so strong that the model sees something else; and by looking smooth, which is not being
    right: a mean over many wrong maps is a smooth wrong map.

    Example: `xaipipe.explain(model, x, method="smoothgrad", base="input_x_gradient", samples=64)`

    Reference: Smilkov, Thorat, Kim, Viégas, Wattenberg: SmoothGrad: removing noise by adding noise, 2017.
    """

    name = "smoothgrad"

    def one(self, values: Tensor) -> Tensor:
        return values

    def finished(self, moments: Moments) -> tuple[Tensor, Tensor]:
        return moments.mean, moments.error_of_mean
