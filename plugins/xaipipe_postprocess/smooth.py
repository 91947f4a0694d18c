"""Gaussian smoothing that knows where nothing was explained."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from xaipipe import Explanation, Params, Postprocessor

_REACH = 4.0
"""The kernel ends after so many standard deviations."""


class Smooth(Postprocessor):
    """The Gaussian mean of the cells around each cell; cells without a value count as absent.

    Misleads when: the width exceeds the objects', which then melt into one.

    Example: `[[postprocess]]` with `method = "smooth"` and `sigma = 1.0`

    Reference: Knutsson, Westin: Normalized and differential convolution, 1993.
    """

    name = "smooth"

    class Params(Params):
        sigma: float = Field(1.0, gt=0, le=64, description="standard deviation in cells of the map")

    def halo(self) -> int:
        return int(_REACH * self.params.sigma + 0.5)

    def apply(self, explanation: Explanation) -> Explanation:
        values = explanation.values
        valid = explanation.valid
        present = torch.ones_like(values[:, :1]) if valid is None else valid[:, None].to(values.dtype)
        blurred = self._blur(values * present)
        weight = self._blur(present)
        return explanation.replace(values=torch.where(present > 0, blurred / weight.clamp(min=1e-12), 0.0))

    def _blur(self, maps: Tensor) -> Tensor:
        radius = self.halo()
        steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
        kernel = torch.exp(-0.5 * (steps / self.params.sigma) ** 2)
        kernel = (kernel / kernel.sum()).to(dtype=maps.dtype, device=maps.device)
        flat = maps.flatten(0, 1)[:, None]
        flat = F.conv2d(flat, kernel[None, None, :, None], padding=(radius, 0))
        flat = F.conv2d(flat, kernel[None, None, None, :], padding=(0, radius))
        return flat.reshape(maps.shape)
