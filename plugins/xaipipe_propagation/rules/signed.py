"""Rules that tell positive contributions from negative ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.ops import alpha_beta_shares_and_kept, gamma_shares_and_kept, multiply_combine
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe_propagation.rules.dividing import by_kernel, shares
from xaipipe_propagation.rules.weighted import note_bias


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """α times what positive contributions get, minus β times what negative ones do; α − β = 1.

    α = 1, β = 0 is z⁺. Contributions are positive where input and weight are of one sign.
    """

    alpha: float
    beta: float
    eps: float

    @property
    def keeps_output(self) -> bool:  # type: ignore[override]
        return self.beta != 0

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        if not op.nonnegative[0]:
            return [self._signed(op, x, arriving, books)]
        z_plus = op.forward(x, "positive")
        if not self.beta:
            s = shares(arriving, z_plus, self.eps, books)
            note_bias(books, op, s, "positive")
            return [op.pull(s, x, "positive").mul_(x)]
        assert output is not None
        weights = (self.alpha, self.beta, self.eps)
        s_plus, s_minus = by_kernel(alpha_beta_shares_and_kept, books, arriving, output, z_plus, *weights)
        note_bias(books, op, s_plus, "positive")
        note_bias(books, op, s_minus, "negative", -1)
        return [_combined(x, op.pull(s_plus, x, "positive"), op.pull(s_minus, x, "negative"), 1, -1)]

    def _signed(self, op: Weighted, x: Tensor, arriving: Tensor, books: Books) -> Tensor:
        positive, negative = x.clamp(min=0), x.clamp(max=0)
        z_plus = op.forward(positive, "positive") + op.forward(negative, "negative", bias=False)
        s = shares(self.alpha * arriving, z_plus, self.eps, books)
        note_bias(books, op, s, "positive")
        gained = positive * op.pull(s, x, "positive") + negative * op.pull(s, x, "negative")
        if not self.beta:
            return gained
        z_minus = op.forward(positive, "negative") + op.forward(negative, "positive", bias=False)
        s = shares(-self.beta * arriving, z_minus, self.eps, books)
        note_bias(books, op, s, "negative")
        return gained + positive * op.pull(s, x, "negative") + negative * op.pull(s, x, "positive")


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of an output's own sign count 1 + γ times."""

    gamma: float
    eps: float

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        assert output is not None
        (x,) = operands
        known = op.nonnegative[0]
        positive, negative = (x, None) if known else (x.clamp(min=0), x.clamp(max=0))
        z_plus = op.forward(positive, "positive")
        if negative is not None:
            z_plus = z_plus + op.forward(negative, "negative", bias=False)
        s, s_plus = by_kernel(gamma_shares_and_kept, books, arriving, output, z_plus, self.gamma, self.eps)
        note_bias(books, op, s)
        note_bias(books, op, s_plus, "positive")
        if negative is None:
            return [_combined(x, op.pull(s, x), op.pull(s_plus, x, "positive"), 1, 1)]
        more = positive * op.pull(s_plus, x, "positive") + negative * op.pull(s_plus, x, "negative")
        return [op.pull(s, x).mul_(x).add_(more)]


def _combined(x: Tensor, first: Tensor, second: Tensor, a: float, b: float) -> Tensor:
    if x.dtype == torch.half:
        return x * (a * first + b * second)
    return multiply_combine(x, first, second, a, b)
