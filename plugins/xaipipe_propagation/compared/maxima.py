"""The largest, or smallest, of several."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Operation
from xaipipe_propagation.compared.rule import DifferenceRule, Met, difference

_SMALLEST = {"amin", "min", "minimum"}
_ROUNDED = 8
"""Times the error of half of the bits: a Δy that is smaller might be hidden by it."""


class Winner(DifferenceRule):
    """The whole Δy belongs to the place that makes the larger of the two maxima.

    Where the image has the larger one, x is at its maximum there and x' at most at its own, so that Δx is at least Δy;
    and the same the other way round. So multipliers lie between 0 and 1, and none divides by zero. That is the rule of
    SHAP's DeepExplainer (Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, 2017).

    Places that are as large to half of the bits, as all are of one colour, count as equal, and the first gets Δy; else
    rounding would choose, which is not the same in every part of an image. Multipliers stay below 8/7 then.
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        op, here, there = met.op, met.here, met.there
        y_here, y_there = op.run(*here), op.run(*there)
        rise = y_here - y_there
        of_image = rise <= 0 if op.name in _SMALLEST else rise >= 0
        own = _to_the_largest(op, here, arriving, torch.where(of_image, rise, 0), y_here)
        other = _to_the_largest(op, there, arriving, torch.where(of_image, 0, rise), y_there)
        level = op.gradient(here, arriving * (rise == 0))
        runs = [difference(a, b) for a, b in zip(here, there, strict=True)]
        return [
            torch.where(run == 0, same, (first + second) / torch.where(run == 0, torch.ones_like(run), run))
            for first, second, same, run in zip(own, other, level, runs, strict=True)
        ]


def _to_the_largest(
    op: Operation, points: Sequence[Tensor], arriving: Tensor, rise: Tensor, largest: Tensor
) -> Sequence[Tensor]:
    """What each place gets of the rise; of one that rounding might hide, the very largest gets it."""
    hidden = (rise != 0) & (rise.abs() <= _ROUNDED * torch.finfo(rise.dtype).eps ** 0.5 * largest.abs())
    found = op.gradient([_rounded(x) for x in points], arriving * torch.where(hidden, 0, rise))
    if not bool(hidden.any()):
        return found
    fine = op.gradient(points, arriving * torch.where(hidden, rise, 0))
    return [a + b for a, b in zip(found, fine, strict=True)]


def _rounded(x: Tensor) -> Tensor:
    """To half of its bits, after Veltkamp; what is too large for that stays as it is."""
    bits = round(-math.log2(torch.finfo(x.dtype).eps))
    high = x * (2.0 ** (bits // 2) + 1)
    high = high - (high - x)
    return torch.where(high.isfinite(), high, x)
