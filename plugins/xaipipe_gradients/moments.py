"""Mean and variance of samples that come one at a time, and how sure one can be of them."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Of tensors of one shape, in float64. Welford's and Pébay's updates, which do not cancel."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self._second = self._third = self._fourth = torch.zeros((), dtype=torch.float64)

    def add(self, sample: Tensor) -> None:
        self.count += 1
        n = self.count
        delta = sample.double() - self.mean
        part = delta / n
        square = part.square()
        grown = delta * part * (n - 1)
        self.mean = self.mean + part
        self._fourth = self._fourth + (
            grown * square * (n * n - 3 * n + 3) + 6 * square * self._second - 4 * part * self._third
        )
        self._third = self._third + grown * part * (n - 2) - 3 * part * self._second
        self._second = self._second + grown

    @property
    def variance(self) -> Tensor:
        """Of the population, as it is estimated from the sample."""
        return self._second / (self.count - 1)

    @property
    def error_of_mean(self) -> Tensor:
        return (self.variance / self.count).sqrt()

    @property
    def error_of_variance(self) -> Tensor:
        n = self.count
        own = self._fourth / n - self.variance.square() * (n - 3) / (n - 1)
        return (own.clamp(min=0) / n).sqrt()


def relative(error: Tensor, values: Tensor) -> list[float]:
    """The root mean square of an error as a share of that of the values [N, C, h, w]; 0 where there are none."""
    sizes = (part.double().square().mean(dim=(1, 2, 3)).sqrt() for part in (error, values))
    return [share if size else 0.0 for share, size in _shares(*sizes)]


def _shares(errors: Tensor, sizes: Tensor) -> list[tuple[float, float]]:
    return list(zip((errors / sizes.clamp(min=torch.finfo(torch.float64).tiny)).tolist(), sizes.tolist(), strict=True))
