"""VarGrad: the variance of the maps of noisy copies."""

from __future__ import annotations

from torch import Tensor

from xaipipe_gradients.moments import Moments
from xaipipe_gradients.noisy import NoisyExplainer


class VarGrad(NoisyExplainer):
    """The variance of a method's maps over noisy copies of the image: where the model's reaction changes quickly.

    Misleads when: it is read as importance of the pixel: a pixel on which the score depends linearly has none.

    Example: `xaipipe.explain(model, x, method="vargrad", target=281, samples=64)`

    Reference: Adebayo, Gilmer, Goodfellow, Kim: Local Explanation Methods for Deep Neural Networks Lack Sensitivity to
    Parameter Values, 2018.
    """

    name = "vargrad"

    def one(self, values: Tensor) -> Tensor:
        return values

    def finished(self, moments: Moments) -> tuple[Tensor, Tensor]:
        return moments.variance, moments.error_of_variance
