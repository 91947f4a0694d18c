"""The rule of the first layer for pixels that are known to lie between two bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.ops import box_combine
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe.propagation.weighted import Convolution
from xaipipe_propagation.rules.dividing import shares


@dataclass(frozen=True, eq=False)
class Bounds:
    """The lowest and the highest value of each channel, [C], or [N, C] where every image has its own."""

    low: Tensor
    high: Tensor

    def like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both as images, without copies."""
        low, high = (
            b.to(x.device, x.dtype).reshape(-1, b.shape[-1], *[1] * (x.ndim - 2)) for b in (self.low, self.high)
        )
        shape = (len(low), *x.shape[1:])
        return low.expand(shape), high.expand(shape)

    @property
    def shared(self) -> bool:
        return self.low.ndim == 1


@dataclass(frozen=True, eq=False)
class ZBox(Rule):
    """z_ij = x_i w_ij − l_i w⁺_ij − h_i w⁻_ij: measured from the bound that speaks least for the output."""

    bounds: Bounds
    eps: float
    keeps_output = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        low, high = self.bounds.like(x)
        z = (
            op.forward(x, bias=False)
            - op.forward(low, "positive", bias=False)
            - op.forward(high, "negative", bias=False)
        )
        s = shares(arriving, z, self.eps, books)
        if not self._by_kernel(op, x):
            own, plus, minus = (op.pull(s, x, part) for part in ("", "positive", "negative"))
            return [x * own - low * plus - high * minus]
        stacked = op.weights.made("box", _stacked)
        tripled = x[:1].expand(3, *x.shape[1:]).flatten(0, 1)[None].expand(len(x), -1, *x.shape[2:])  # for its shape
        return [box_combine(x, op.form.pull(s, stacked, tripled), self.bounds.low, self.bounds.high)]

    def _by_kernel(self, op: Weighted, x: Tensor) -> bool:
        plain = isinstance(op.form, Convolution) and op.form.groups == 1 and not op.form.transposed
        return plain and self.bounds.shared and x.dtype != torch.half


def _stacked(weight: Tensor, bias: Tensor | None) -> Tensor:
    """w, w⁺ and w⁻ along the input channels: one transposed convolution for all three."""
    return torch.cat([weight, weight.clamp(min=0), weight.clamp(max=0)], dim=1)
