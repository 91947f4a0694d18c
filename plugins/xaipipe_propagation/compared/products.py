"""Products and quotients of two that depend on the input, and squares."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xaipipe.propagation import sum_to
from xaipipe_propagation.compared.rule import DifferenceRule, Met


class Halfway(DifferenceRule):
    """The gradient halfway between image and reference: exact for whatever is quadratic.

    For a product, Δ(ab) = ā Δb + b̄ Δa with the means ā, b̄ of both; the same for products of matrices.
    """

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        return met.op.gradient([(a + b) / 2 for a, b in zip(met.here, met.there, strict=True)], arriving)


class Product(Halfway):
    """A quotient a/b is a times 1/b, and Δ(1/b) = −Δb / (b b')."""

    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        if met.op.name != "div":
            return super().multipliers(met, arriving)
        (a, b), (a_there, b_there) = met.here, met.there
        of_a = arriving * ((1 / b + 1 / b_there) / 2)
        of_b = arriving * (-(a + a_there) / 2 / b / b_there)
        return sum_to(of_a, a.shape), sum_to(of_b, b.shape)
