"""Rules for operators without weights: each operand gets what it contributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.ops import residual_shares_and_kept
from xaipipe.propagation import Books, Operation, Rule, Weighted, sum_to
from xaipipe_propagation.rules.dividing import by_kernel, shares


class Pass(Rule):
    """Relevance goes through as it is."""

    keeps_operands = keeps_output = absorbs = False
    passes = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        return [arriving]


class Join(Rule):
    """Each operand gets what arrives at its place; what stands beside them is a bias."""

    keeps_output = False
    leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        parts = op.pullback(operands, arriving)
        books.absorb("bias", arriving)
        for part in parts:
            books.absorb("bias", part, -1)
        return parts


@dataclass(frozen=True)
class Contributions(Rule):
    """R_i = x_i · ∂z/∂x_i · R/z: for what is linear in its operand, or is so once its statistics are held."""

    eps: float
    leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert output is not None
        s = shares(arriving, output, self.eps, books)
        parts = [pulled * x for pulled, x in zip(op.pullback(operands, s), operands, strict=True)]
        if op.kind == "norm" or isinstance(op, Weighted):  # its own bias, whatever its statistics are
            books.absorb("bias", s * output)
            books.absorb("bias", parts[0], -1)
        return parts


@dataclass(frozen=True)
class Scale(Rule):
    """z = c·x + d. Without d there is nobody to share with."""

    eps: float
    keeps_output = False
    leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        (x,) = operands
        if op.shift is None:
            return [sum_to(arriving, x.shape)]
        z = (op.linearised or op.run)(x)
        s = shares(arriving, z, self.eps, books)
        books.absorb("bias", s * op.shift)
        return [s * (z - op.shift)]


@dataclass(frozen=True)
class Sum(Rule):
    """Residual connections: each summand gets its part; what is no operand is a bias."""

    eps: float
    keeps_output = False
    skips_idle = leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        alike = all(x.shape == operands[0].shape and x.dtype == arriving.dtype for x in operands)
        if len(operands) == 2 and op.factors == (1, 1) and alike and self.eps:
            return list(by_kernel(residual_shares_and_kept, books, arriving, *operands, self.eps))
        z = op.run(*operands)
        s = shares(arriving, z, self.eps, books)
        parts = [factor * x * s for factor, x in zip(op.factors, operands, strict=True)]
        if len(operands) == 1:
            books.absorb("bias", s * z)
            books.absorb("bias", parts[0], -1)
        return [sum_to(part, x.shape) for part, x in zip(parts, operands, strict=True)]


@dataclass(frozen=True)
class BalancedSum(Rule):
    """Summands get what they contribute, scaled for each image to ± all there is: R_a · sign(ΣR_a) · ΣR / Σ|ΣR_·|.

    So what cancels in a sum makes no relevance out of nothing.
    """

    eps: float
    keeps_output = False

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        if len(operands) == 1:
            return Sum(self.eps).propagate(op, operands, output, arriving, books)
        parts = Sum(self.eps).propagate(op, operands, output, arriving, Books(books.images))
        totals = [_per_image(part, books) for part in parts]
        most = sum(total.abs() for total in totals)
        share = torch.where(most > 0, _per_image(arriving, books) / most, 0)
        balanced = [_scaled(part, total.sign() * share) for part, total in zip(parts, totals, strict=True)]
        books.absorb("stabiliser", arriving)
        for part in balanced:
            books.absorb("stabiliser", part, -1)
        return balanced


def _per_image(values: Tensor, books: Books) -> Tensor:
    """[K, N, …] summed to [K, N]; over all images together where they do not come first."""
    wide = values if values.dtype == torch.float64 else values.float()
    if values.shape[1] != books.images:
        return wide.flatten(1).sum(dim=1, keepdim=True)
    return wide.flatten(2).sum(dim=2)


def _scaled(part: Tensor, factors: Tensor) -> Tensor:
    """Times a factor for each image."""
    return part * factors.to(part.dtype).reshape(*factors.shape, *[1] * (part.ndim - 2))
