"""Rules that tell positive contributions from negative ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.ops import alpha_beta_shares_and_kept, gamma_shares_and_kept, multiply_combine
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe_propagation.rules.dividing import by_kernel, shares
from xaipipe_propagation.rules.split import Split
from xaipipe_propagation.rules.weighted import note_bias


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """α times what positive contributions get, minus β times what negative ones do; α − β = 1.

    α = 1, β = 0 is z⁺. Contributions are positive where input and weight are of one sign.
    """

    alpha: float
    beta: float
    eps: float
    skips_idle = leaves_idle = True

    @property
    def keeps_output(self) -> bool:  # type: ignore[override]
        return self.beta != 0

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        if not op.nonnegative[0]:
            return [self._signed(op, x, output, arriving, books)]
        if not self.beta:
            s = shares(arriving, op.forward(x, "positive"), self.eps, books)
            note_bias(books, op, s, "positive")
            return [op.pull(s, x, "positive").mul_(x)]
        assert output is not None
        weights = (self.alpha, self.beta, self.eps)
        positive, negative = by_kernel(
            alpha_beta_shares_and_kept, books, arriving, output, op.forward(x, "positive"), *weights
        )
        note_bias(books, op, positive, "positive")
        note_bias(books, op, negative, "negative", -1)
        gained = op.pull(positive, x, "positive")
        del positive  # what is let go of early need not be there twice
        lost = op.pull(negative, x, "negative")
        del negative
        return [_combined(x, gained, lost, 1, -1)]

    def _signed(self, op: Weighted, x: Tensor, output: Tensor | None, arriving: Tensor, books: Books) -> Tensor:
        split = Split.of(op, x)
        z_plus = with_bias(op, split.forward(), "positive")
        if not self.beta:
            s = shares(arriving, z_plus, self.eps, books)
            note_bias(books, op, s, "positive")
            return split.shared(s)
        assert output is not None
        weights = (self.alpha, self.beta, self.eps)
        positive, negative = by_kernel(alpha_beta_shares_and_kept, books, arriving, output, z_plus, *weights)
        note_bias(books, op, positive, "positive")
        note_bias(books, op, negative, "negative", -1)
        return split.shared(positive).sub_(split.shared(negative, others=True))


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of an output's own sign count 1 + γ times."""

    gamma: float
    eps: float
    skips_idle = leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        assert output is not None
        (x,) = operands
        known = op.nonnegative[0]
        if known and op.rectified:
            return [self._of_one_sign(op, x, arriving, books)]
        split = None if known else Split.of(op, x)
        z_plus = op.forward(x, "positive") if split is None else with_bias(op, split.forward(), "positive")
        s, s_plus = by_kernel(gamma_shares_and_kept, books, arriving, output, z_plus, self.gamma, self.eps)
        note_bias(books, op, s)
        note_bias(books, op, s_plus, "positive")
        every = op.pull(s, x)
        del s  # what is let go of early need not be there twice
        if split is not None:
            return [every.mul_(x).add_(split.shared(s_plus))]
        more = op.pull(s_plus, x, "positive")
        del s_plus
        return [_combined(x, every, more, 1, 1)]

    def _of_one_sign(self, op: Weighted, x: Tensor, arriving: Tensor, books: Books) -> Tensor:
        """Where something arrives at positive outputs only, one layer says it all: that with w + γ·w⁺."""
        weight, bias = op.weights.made(f"gamma {self.gamma}", self._raised)
        s = shares(arriving, op.form.beside(x, weight, bias), self.eps, books)
        if bias is not None:
            books.absorb("bias", op.absorbed_by(bias, s))
        return op.form.pull(s, weight, x).mul_(x)

    def _raised(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return tuple(t if t is None else t + self.gamma * t.clamp(min=0) for t in (weight, bias))  # type: ignore[return-value]


def with_bias(op: Weighted, z: Tensor, part: str) -> Tensor:
    """z with a part of the layer's bias added, in its memory."""
    bias = op.weights.bias(part)
    if bias is None:
        return z
    shape = [1] * z.ndim
    shape[op.form.channels] = -1
    return z.add_(bias.to(z.dtype).reshape(shape))


def _combined(x: Tensor, first: Tensor, second: Tensor, a: float, b: float) -> Tensor:
    if x.dtype == torch.half:
        return x * (a * first + b * second)
    return multiply_combine(x, first, second, a, b)
