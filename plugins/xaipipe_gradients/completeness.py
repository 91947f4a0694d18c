"""Whether a map accounts for the whole difference between two scores, and saying so where it does not."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe import Batch, ExplanationWarning
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
        size = values.abs().sum(dim=(1, 2, 3))
        rounding = torch.finfo(precision).eps
        bound = _SHARE * difference.abs() + max(_OF_WHAT_CANCELS, rounding) * size
        scale = scores.double().abs() + reference_scores.double().abs()
        return cls(difference, difference - values.sum(dim=(1, 2, 3)), bound + rounding * scale)

    def warn(self, method: str, batch: Batch, selection: Selection, remedy: str) -> None:
        """Name the worst image whose gap is larger than the bound."""
        over = (self.gap.abs() - self.bound).tolist()
        worst = max(range(len(over)), key=over.__getitem__)
        if over[worst] <= 0:
            return
        others = sum(one > 0 for one in over) - 1
        warnings.warn(
            f"{method}: the map of {named(batch, worst)}, target {selection.targets[worst]}, sums to "
            f"{float(self.difference[worst] - self.gap[worst]):.4g}, and the score differs from the reference's by "
            f"{float(self.difference[worst]):.4g}: a gap of {float(self.gap[worst]):.2g}"
            f"{f', and of {others} more images' if others else ''}; {remedy}",
            ExplanationWarning,
            stacklevel=2,
        )


def named(batch: Batch, image: int) -> str:
    """What people call an image of a batch."""
    return str(batch.tiles[image]) if batch.tiles else f"image {image}"
