"""Functions of one element: m = Δy / Δx."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Operation, sum_to
from xaipipe_propagation.compared.rule import DifferenceRule, Met

_BROKEN = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "hardtanh", "hardsigmoid", "hardswish", "threshold", "abs"),
    *("clamp", "clamp_min", "clamp_max", "hardshrink", "softshrink", "maximum", "minimum", "max", "min", "elu", "selu"),
}
"""Functions with a kink somewhere: however near x and x' are, one may lie on either side of it."""


class Rescale(DifferenceRule):
    """The slope between the two inputs; where they are the same or nearly so, the derivative halfway between them.

    Nearly so: both x and y differ by less than the cube root of the precision (6e-6 in float64, 5e-3 in float32) of
    what they are, or of 1 for x. There the derivative errs less than the quotient would lose by cancellation.
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        (here,), (there,) = met.here, met.there
        return (sum_to(arriving * slope(met.op, here, there), here.shape),)


def slope(op: Operation, here: Tensor, there: Tensor) -> Tensor:
    """Δy / Δx, of the output's shape."""
    y_here, y_there = op.run(here), op.run(there)
    here, there = here.expand_as(y_here), there.expand_as(y_here)
    run, rise = here - there, y_here - y_there
    flat = run == 0 if op.name in _BROKEN else _near(here, there, y_here, y_there)
    quotient = rise / torch.where(flat, torch.ones_like(run), run)
    return torch.where(flat, derivative(op, (here + there) / 2), quotient) if bool(flat.any()) else quotient


def derivative(op: Operation, at: Tensor) -> Tensor:
    """Zero where it is infinite: nothing differs there."""
    (found,) = op.gradient((at,), torch.ones_like(at)[None])
    return torch.where(found.isfinite(), found, torch.zeros_like(found))[0]


def _near(here: Tensor, there: Tensor, y_here: Tensor, y_there: Tensor) -> Tensor:
    tiny = torch.finfo(y_here.dtype).eps ** (1 / 3)
    x_is_near = (here - there).abs() <= tiny * torch.maximum(here.abs(), there.abs()).clamp(min=1)
    return x_is_near & ((y_here - y_there).abs() <= tiny * torch.maximum(y_here.abs(), y_there.abs()))
