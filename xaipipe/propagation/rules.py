"""What a rule is, and the table that says which rule an operator gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor

from xaipipe.propagation.books import Books
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators import OPERATORS


class Rule(ABC):
    """How relevance, or whatever flows backwards, gets through an operator."""

    keeps_operands: ClassVar[bool] = True
    """Whether `propagate` is handed the operands; where False, memory is saved."""
    keeps_output: ClassVar[bool] = True
    absorbs: ClassVar[bool] = True
    """Whether it may enter anything into the books; where False, nobody looks."""
    passes: ClassVar[bool] = False
    """Whether it hands on what arrives as it is. A ReLU that does so becomes one with the operation before it."""
    skips_idle: ClassVar[bool] = False
    """Whether it makes no difference what the output is where nothing arrives: a ReLU may then take its place."""

    leaves_idle: ClassVar[bool] = False
    """Whether zeros among the operands get nothing, as long as zeros of the output do, whatever the operator."""

    def keeps_idle(self, op: Operation) -> bool:
        """The same for one operator. Where that is so, what a ReLU cut off is not kept."""
        return self.leaves_idle or (self.passes and op.kind == "activation" and op.keeps_zero)

    @abstractmethod
    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        """What each operand gets, [K, *operand], of what arrives at the output for K targets, [K, *output].

        `operands` is empty, `output` None where the rule does not keep them. What gets lost on purpose is entered into
        the books.
        """

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        """Called on the way forward; for rules that have to remember something, or to know what made an operand."""
        return


class OfAnother(Rule):
    """A rule that goes by another; of zeros and outputs it claims nothing, whatever the other does."""

    rule: Rule

    @property
    def keeps_operands(self) -> bool:  # type: ignore[override]
        return self.rule.keeps_operands

    @property
    def keeps_output(self) -> bool:  # type: ignore[override]
        return self.rule.keeps_output

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        return self.rule.propagate(op, operands, output, arriving, books)


class InParts:
    """In the place of a rule: the operator is run as its `parts`, each of which gets a rule of its own."""


IN_PARTS = InParts()


class Rules(Protocol):
    """Which rule an operator gets."""

    @property
    def strict(self) -> bool:
        """Whether an operator that nobody has described is refused; its gradient is taken where not."""

    def rule_for(self, op: Operation) -> Rule | InParts | None:
        """The rule; None for the gradient."""


@dataclass(frozen=True)
class RuleTable:
    """Rules by an operator's name, or by its kind."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    strict: bool = False

    def __post_init__(self) -> None:
        OPERATORS.require_known(self.rules)

    def rule_for(self, op: Operation) -> Rule | None:
        return self.rules.get(op.name) or self.rules.get(op.kind)
