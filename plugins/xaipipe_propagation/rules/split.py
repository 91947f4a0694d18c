"""A layer's input in its positive and its negative part, each with the weights by which it speaks for an output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.propagation import Weighted
from xaipipe.propagation.weighted import Convolution, Linear


@dataclass(frozen=True, eq=False)
class Split:
    """Σ x⁺w⁺ + x⁻w⁻, or with `others` Σ x⁺w⁻ + x⁻w⁺, without a bias.

    Where it can be, that is one layer of twice as many inputs, which takes less than two.
    """

    op: Weighted
    x: Tensor
    rising: Tensor
    falling: Tensor

    @classmethod
    def of(cls, op: Weighted, x: Tensor) -> Split:
        return cls(op, x, x.clamp(min=0), x.clamp(max=0))

    def forward(self, others: bool = False) -> Tensor:
        same, other = ("negative", "positive") if others else ("positive", "negative")
        axis = self._axis
        if axis is None:
            return self.op.forward(self.rising, same, bias=False) + self.op.forward(self.falling, other, bias=False)
        both = torch.cat([self.rising, self.falling], dim=axis)
        return self.op.form.beside(both, self._weights(others), None)

    def shared(self, shares: Tensor, others: bool = False) -> Tensor:
        """What the input gets [K, *x] of shares [K, *z]: each element times what its contributions were divided by."""
        same, other = ("negative", "positive") if others else ("positive", "negative")
        axis = self._axis
        if axis is None:
            gained = self.op.pull(shares, self.x, same).mul_(self.rising)
            return gained.add_(self.op.pull(shares, self.x, other).mul_(self.falling))
        pulled = self.op.form.pull(shares, self._weights(others), self._twice(axis))
        first, second = pulled.chunk(2, dim=axis if axis < 0 else axis + 1)
        return (first * self.rising).addcmul_(second, self.falling)

    def _twice(self, axis: int) -> Tensor:
        """Of the shape that both parts beside each other have, and in hardly any memory."""
        shape = list(self.x.shape)
        shape[axis] *= 2
        return self.x.new_empty(()).expand(shape)

    @property
    def _axis(self) -> int | None:
        """The axis of inputs, where two of them can stand beside each other."""
        form = self.op.form
        if isinstance(form, Linear):
            return -1
        return 1 if isinstance(form, Convolution) and form.groups == 1 and not form.transposed else None

    def _weights(self, others: bool) -> Tensor:
        made: Tensor = self.op.weights.made("split others" if others else "split", _beside(others))
        return made


def _beside(others: bool) -> Callable[[Tensor, Tensor | None], Tensor]:
    def make(weight: Tensor, _: Tensor | None) -> Tensor:
        parts = [weight.clamp(min=0), weight.clamp(max=0)]
        return torch.cat(parts[::-1] if others else parts, dim=1)

    return make
