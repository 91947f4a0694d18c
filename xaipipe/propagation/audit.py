"""Finding the operator at which a sum stopped coming out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xaipipe.propagation.books import Books
from xaipipe.propagation.calls import Call
from xaipipe.propagation.gradient import Gradient
from xaipipe.propagation.marks import merged
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators.described import Described, Route
from xaipipe.propagation.operators.elementwise import described
from xaipipe.propagation.rules import InParts, OfAnother, Rule, Rules

_ROUTE = "route"


@dataclass(frozen=True, eq=False)
class Audit:
    """Rules as they are, but what arrives at an operator, and neither leaves it nor is absorbed, is entered as lost.

    Operators without a rule are looked at too. This takes longer, so it is done once a sum did not come out.
    """

    rules: Rules
    precisions: dict[int, torch.dtype] = field(default_factory=dict)
    """Of what arrived at an operation, by its id."""

    @property
    def strict(self) -> bool:
        return self.rules.strict

    def rule_for(self, op: Operation) -> Rule | InParts:
        rule = None if op.kind == _ROUTE else self.rules.rule_for(op)
        if isinstance(rule, InParts):
            return rule
        return _Audited(rule or Gradient(), self.precisions)

    def of_route(self, call: Call, route: Route) -> Described | Route:
        """An operator that moves values, as one to be looked at; views stay views, since models write through them."""
        with torch.no_grad():
            result = call.function(*call.args, **call.kwargs)
        if not isinstance(result, Tensor) or not result.is_floating_point() or _shows(result, call.operands):
            return route
        mark = merged(call.marks)
        nonnegative = mark.nonnegative if route.nonnegative is None else route.nonnegative
        return described(_ROUTE, call, mark.passed_on(nonnegative, mark.gate))


class _Audited(OfAnother):
    def __init__(self, rule: Rule, precisions: dict[int, torch.dtype]) -> None:
        self.rule, self._precisions = rule, precisions

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        parts = super().propagate(op, operands, output, arriving, books)
        absorbed = list(books.amounts.values())
        books.absorb("lost", arriving)
        for part in parts:
            if part is not None:
                books.absorb("lost", part, -1)
        for amounts in absorbed:
            books.amounts["lost"] = books.amounts["lost"] - amounts
        self._precisions[id(op)] = arriving.dtype
        return parts


def _shows(result: Tensor, operands: Sequence[Tensor]) -> bool:
    """Whether it shows the memory of an operand."""
    memory = result.untyped_storage().data_ptr()
    return any(operand.untyped_storage().data_ptr() == memory for operand in operands)
