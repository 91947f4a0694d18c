"""The largest, or smallest, of several."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe_propagation.compared.rule import DifferenceRule, Met, difference

_SMALLEST = {"amin", "min", "minimum"}


class Winner(DifferenceRule):
    """The whole Δy belongs to the place that makes the larger of the two maxima.

    Where the image has the larger one, x is at its maximum there and x' at most at its own, so that Δx is at least Δy;
    and the same the other way round. So multipliers lie between 0 and 1, and none divides by zero. That is the rule of
    SHAP's DeepExplainer (Lundberg, Lee: A Unified Approach to Interpreting Model Predictions, 2017).
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        op, here, there = met.op, met.here, met.there
        rise = op.run(*here) - op.run(*there)
        of_image = rise <= 0 if op.name in _SMALLEST else rise >= 0
        nothing = torch.zeros_like(rise)
        own = op.gradient(here, arriving * torch.where(of_image, rise, nothing))
        other = op.gradient(there, arriving * torch.where(of_image, nothing, rise))
        level = op.gradient(here, arriving * (rise == 0))
        runs = [difference(a, b) for a, b in zip(here, there, strict=True)]
        return [
            torch.where(run == 0, same, (first + second) / torch.where(run == 0, torch.ones_like(run), run))
            for first, second, same, run in zip(own, other, level, runs, strict=True)
        ]
