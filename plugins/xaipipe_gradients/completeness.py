"""Whether a map accounts for the whole difference between two scores, and saying so where it does not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe import Batch
from xaipipe.doubts import doubt, named
from xaipipe.models.targets import Selection

_SHARE = 0.05
"""Of the difference, which may be missing."""
_OF_WHAT_CANCELS = 1e-4
"""Of the sum of the map's absolute values: where nearly everything cancels, a small difference is no yardstick."""


@dataclass(frozen=True, eq=False, slots=True)
class Completeness:
    """What should arrive and what did, [N] each, in float64."""

    difference: Tensor
    gap: Tensor
    bound: Tensor

    @classmethod
    def of(cls, values: Tensor, scores: Tensor, reference_scores: Tensor, precision: torch.dtype) -> Completeness:
        """Of maps [N, C, H, W] in float64, made in some precision."""
        difference = scores.double() - reference_scores.double()
        size = torch.linalg.vector_norm(values, 1, dim=(1, 2, 3))  # makes no copy
        rounding = torch.finfo(precision).eps
        bound = _SHARE * difference.abs() + max(_OF_WHAT_CANCELS, rounding) * size
        scale = scores.double().abs() + reference_scores.double().abs()
        return cls(difference, difference - values.sum(dim=(1, 2, 3)), bound + rounding * scale)

    def warn(self, method: str, batch: Batch, selection: Selection, remedy: str) -> None:
        """Of the images whose gap is larger than the bound."""

        def text(image: int) -> str:
            return (
                f"{method}: the map of {named(batch, image)}, target {selection.targets[image]}, sums to "
                f"{float(self.difference[image] - self.gap[image]):.4g}, and the score differs from the reference's by "
                f"{float(self.difference[image]):.4g}: a gap of {float(self.gap[image]):.2g}; {remedy}"
            )

        excess = (self.gap.abs() - self.bound).tolist()
        doubt(f"{method}: a gap to the difference", batch, excess, text, selection.targets)
