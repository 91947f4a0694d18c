"""Rules that hand relevance to what excites an output, as probabilities: biases take no part.

A contribution excites an output that is not negative where it is positive, and one below zero where it is negative.
Where inputs and outputs are nowhere negative this is z⁺ with the positive weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.propagation import Books, Operation, Rule, Weighted, sum_to
from xaipipe_propagation.rules.attention import SplitProduct, the_signal


@dataclass(frozen=True)
class Excite(Rule):
    """R_i = Σ_j c_ij⁺ / Σ_i' c_i'j⁺ · R_j of contributions c_ij = x_i w_ij, without the bias.

    Without `own_sign` an output below zero is excited by positive contributions too, as if it wanted to rise: right for
    what has to speak for a class. What nothing excites is absorbed, as by a bias.
    """

    own_sign: bool = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        assert output is not None
        (x,) = operands
        if not self.own_sign:
            return [_excited(op, x, arriving, 1, books)]
        above, below = _by_sign(arriving, output)
        part = _excited(op, x, above, 1, books)
        return [part if below is None else part + _excited(op, x, below, -1, books)]


class Contrast(Rule):
    """What excites an output, less what would excite it were its weights negated: two probabilities.

    What the second one takes off is entered as a bias's.
    """

    keeps_output = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        books.absorb("bias", arriving)
        return [_excited(op, x, arriving, 1, books) + _excited(op, x, -arriving, -1, books)]


class ExciteSum(Rule):
    """Of several summands; what is no operand gets nothing, as a bias does."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert output is not None
        if len(operands) == 1:
            return [sum_to(arriving, operands[0].shape)]
        parts: list[Tensor | float] = [0.0] * len(operands)
        for sign, some in zip((1, -1), _by_sign(arriving, output), strict=True):
            if some is None:
                continue
            summands = [_of_sign(factor * x, sign) for factor, x in zip(op.factors, operands, strict=True)]
            s = _shares(some, sum(summands), books)  # type: ignore[arg-type]
            parts = [part + sum_to(c * s, c.shape) for part, c in zip(parts, summands, strict=True)]
        return parts  # type: ignore[return-value]


class ExciteAverage(Rule):
    """Of poolings and means."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert output is not None
        (x,) = operands
        if op.nonnegative == (True,):
            return [x * op.pullback(operands, _shares(arriving, output, books))[0]]
        if op.name == "whole_image_pool":
            raise UsageError(
                "a share of the slide cannot tell what excites the mean of maps that are negative in places",
                where=str(op),
                hint="explain every tile on its own: [run] mode = 'approximate'",
            )
        return [_excited_linear(op.run, lambda s: op.pullback(operands, s)[0], x, arriving, output, books)]


class ExciteMixed(Rule):
    """Of attention: its weights mix the values, and get nothing; a product of equals is halved by contribution."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        signal = the_signal(op, operands)
        if signal is None:
            return SplitProduct(gates=False, eps=0).propagate(op, operands, output, arriving, books)
        assert output is not None

        def mixed(value: Tensor) -> Tensor:
            return op.run(*(value if i == signal else operand for i, operand in enumerate(operands)))

        def pull(s: Tensor) -> Tensor:
            return op.pullback(operands, s)[signal]

        part = _excited_linear(mixed, pull, operands[signal], arriving, output, books)
        return [part if i == signal else None for i in range(len(operands))]


class Through(Rule):
    """All of it to the one operand, whatever is added to or multiplied with it."""

    keeps_output = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        return [sum_to(arriving, operands[0].shape)]


def _excited(op: Weighted, x: Tensor, arriving: Tensor, sign: int, books: Books) -> Tensor:
    """By the contributions of one sign."""
    same, other = ("positive", "negative") if sign > 0 else ("negative", "positive")
    if op.nonnegative[0]:
        s = _shares(arriving, op.forward(x, same, bias=False), books)
        return op.pull(s, x, same) * x
    rising, falling = x.clamp(min=0), x.clamp(max=0)
    s = _shares(arriving, op.forward(rising, same, bias=False) + op.forward(falling, other, bias=False), books)
    return op.pull(s, x, same) * rising + op.pull(s, x, other) * falling


def _excited_linear(
    run: Callable[[Tensor], Tensor],
    pull: Callable[[Tensor], Tensor],
    x: Tensor,
    arriving: Tensor,
    output: Tensor,
    books: Books,
) -> Tensor:
    """By what is linear in x without negative weights."""
    above, below = _by_sign(arriving, output)
    rising = x.clamp(min=0)
    part = rising * pull(_shares(above, run(rising), books))
    if below is None:
        return part
    falling = x.clamp(max=0)
    return part + falling * pull(_shares(below, run(falling), books))


def _by_sign(arriving: Tensor, output: Tensor) -> tuple[Tensor, Tensor | None]:
    """What arrives where the output is not negative, and where it is; None where nothing does."""
    below = torch.where(output < 0, arriving, 0)
    return (arriving - below, below) if bool(below.any()) else (arriving, None)


def _of_sign(x: Tensor, sign: int) -> Tensor:
    return x.clamp(min=0) if sign > 0 else x.clamp(max=0)


def _shares(relevance: Tensor, z: Tensor, books: Books) -> Tensor:
    """R / z [K, *z], and 0 where nothing contributes; what is lost there is entered."""
    wide = z.float() if z.dtype in (torch.half, torch.bfloat16) else z
    smallest = torch.finfo(wide.dtype).tiny * 1e4  # of smaller ones the quotient is too large for the type
    s = torch.where(wide.abs() > smallest, relevance.to(wide.dtype) / wide, 0)
    books.absorb("bias", relevance)
    books.give_back("bias", s, wide)
    return s.to(z.dtype)
