"""The basic rule of convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe_propagation.rules.dividing import shares


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = Σ_j x_i w_ij / (z_j + ε·sign z_j) · R_j; ε = 0 is LRP-0."""

    eps: float
    skips_idle = leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        assert output is not None
        (x,) = operands
        s = shares(arriving, output, self.eps, books)
        note_bias(books, op, s)
        return [op.pull(s, x).mul_(x)]


def note_bias(books: Books, op: Weighted, shares: Tensor, part: str = "", factor: float = 1) -> None:
    """Σ b·s is what the bias keeps."""
    amounts = op.bias_absorbs(shares, part)
    if amounts is not None:
        books.absorb("bias", amounts, factor)
