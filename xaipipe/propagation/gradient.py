"""The gradient, as rules."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xaipipe.propagation.books import Books
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.rules import Rule, RuleTable


class Gradient(Rule):
    """The operator's own gradient, several targets at once."""

    keeps_output = False
    absorbs = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        return op.gradient(operands, arriving)


def gradient_with(rules: dict[str, Rule] | None = None) -> RuleTable:
    """The gradient everywhere, but for some operators or kinds of operators.

    Weighted layers, which cost the most, and batch norms have it as a rule: several targets then share the work, and
    batch norms are folded, whose own gradient torch gets wrong on the CPU for single images with channels last.
    """
    own = dict.fromkeys(("convolution", "linear", "batch_norm"), Gradient())
    return RuleTable({**own, **(rules or {})})
