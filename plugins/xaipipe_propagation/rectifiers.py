"""Which activations are rectifiers, and what two methods do at them on the way back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Books, Operation, Rule, RuleTable, gradient_with

RECTIFIERS = (
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
    *("softplus", "threshold"),
)
"""Activations that let large values pass; sigmoid, tanh and other squashing functions are none."""
_CUT = ("relu", "relu6")
"""Their derivative at exactly zero depends on how they are spelt: here it is 0."""


def with_rectifiers(rule: Rule) -> RuleTable:
    """The gradient, but at rectifiers the rule."""
    return gradient_with(dict.fromkeys(RECTIFIERS, rule))


class OnlyPositive(Rule):
    """R · 1(R > 0), whatever the rectifier did on the way forward."""

    keeps_operands = keeps_output = absorbs = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        return (arriving.clamp(min=0),)


class Guided(Rule):
    """f'(X) · R · 1(R > 0), which for a ReLU is R · 1(X > 0) · 1(R > 0)."""

    keeps_output = absorbs = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        (x,) = operands
        positive = arriving.clamp(min=0)
        if op.name == "relu":
            return (positive * (x > 0),)
        (derivative,) = op.gradient(operands, torch.ones_like(x)[None])
        return (positive * (derivative * (x > 0) if op.name in _CUT else derivative),)
