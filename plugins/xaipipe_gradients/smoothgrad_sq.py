"""SmoothGrad squared: the mean square of the maps of noisy copies."""

from __future__ import annotations

from torch import Tensor

from xaipipe_gradients.moments import Moments
from xaipipe_gradients.noisy import NoisyExplainer


class SmoothGradSquared(NoisyExplainer):
    """The mean of the squares of a method's maps over noisy copies of the image: where they are large, of either sign.

    It is the square of `smoothgrad` plus `vargrad`, but for the finite sample.

    Misleads when: it is read as contribution, since it has no sign; and where the maps are nothing but noise, whose
    square is large as well.

    Example: `xaipipe.explain(model, x, method="smoothgrad_sq", target=281, sigma=0.1)`

    Reference: Hooker, Erhan, Kindermans, Kim: A Benchmark for Interpretability Methods in Deep Neural Networks,
    NeurIPS 2019.
    """

    name = "smoothgrad_sq"

    def one(self, values: Tensor) -> Tensor:
        return values.square()

    def finished(self, moments: Moments) -> tuple[Tensor, Tensor]:
        return moments.mean, moments.error_of_mean
