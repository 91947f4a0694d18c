"""What a rule for differences is, and what it knows of the operator that it is for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from xaipipe.propagation import Books, Operation, Rule


class DifferenceRule(ABC):
    """How multipliers get through an operator. It keeps nothing to itself between calls."""

    @abstractmethod
    def multipliers(self, met: Met, arriving: Tensor) -> Sequence[Tensor]:
        """Of what arrives [K, *output], what each operand gets [K, *operand]."""


class Met(Rule):
    """One operator of a forward pass: what it read for the images, and what for their references."""

    keeps_operands = keeps_output = absorbs = False

    def __init__(self, rule: DifferenceRule, op: Operation) -> None:
        self.rule, self.op = rule, op
        self.here: tuple[Tensor, ...] = ()
        self.there: tuple[Tensor, ...] = ()
        self.precision: torch.dtype | None = None
        """Of the output."""
        self.maker: Met | None = None
        """Whose very output the first operand is."""
        self.apart: Tensor | None = None
        """What arrives for negative contributions to the output [K, *output], less what does for positive ones."""

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        self.here = tuple(operand.detach() for operand in operands)
        self.precision = result.dtype
        self.maker = getattr(operands[0], _MAKER, None)
        setattr(result, _MAKER, self)

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor]:
        return self.rule.multipliers(self, arriving)


_MAKER = "_xaipipe_maker"


def difference(here: Tensor, there: Tensor) -> Tensor:
    """Exactly zero where both are the same infinity, as in masked attention."""
    return torch.where(here == there, torch.zeros_like(here), here - there)
