"""A ReLU made one with the operation whose output it reads.

Where a method hands relevance through ReLUs as it is, and gives nothing to what is zero, nobody asks what a ReLU cut
off. So its output is kept in the place of what it read, and is written over that where the model does so too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.function import Derived
from xaipipe.propagation.marks import Maker, Marks
from xaipipe.propagation.memory import of_its_own
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators import Described
from xaipipe.propagation.rules import InParts, Rule, Rules
from xaipipe.propagation.weighted import Weighted


def keeps_idle(rule: Rule | InParts | None, op: Operation) -> bool:
    """Whether zeros that an operation reads get nothing, as long as zeros of its output do."""
    if rule is None:
        return op.kind == "max"
    return isinstance(rule, Rule) and rule.keeps_idle(op)


@dataclass(frozen=True, eq=False, slots=True)
class Merged:
    """A ReLU and the operation before it, as one."""

    found: Described
    rule: Rule
    derived: Derived | None


def with_its_maker(call: Call, found: Described, rule: Rule, rules: Rules, marks: Marks) -> Merged | None:
    """For a ReLU, where nothing speaks against it: with the operation before it."""
    if found.operation.name != "relu" or not rule.passes or len(call.operands) != 1:
        return None
    (mark,) = call.marks
    maker = mark.maker
    if maker is None or not mark.behind:
        return None
    of_maker = rules.rule_for(maker.operation)
    if not isinstance(of_maker, Rule) or not of_maker.skips_idle:
        return None
    ready = found.ready or _ready(call, maker)
    if maker.output is not None and maker.reads == 1:
        maker.output.leave()
    operation = maker.operation
    if isinstance(operation, Weighted):
        operation = replace(operation, rectified=True)
    after = replace(found.mark, zeros_idle=True)
    return Merged(Described(operation, after, maker.operands, ready), of_maker, _derived(maker, marks))


def _ready(call: Call, maker: Maker) -> Callable[[], Tensor]:
    """What makes the ReLU's output: over what it reads, where the model writes there, and nobody else has read it."""
    (x,) = call.operands
    if call.overwrites and maker.reads == 1 and not x._is_view():
        return lambda: _overwritten(x)
    run = call.again()
    return lambda: run(x)


def _overwritten(x: Tensor) -> Tensor:
    return of_its_own(x.detach().relu_())


def into_its_summand(call: Call, found: Described, rule: Rule, marks: Marks) -> Merged | None:
    """A sum that the model writes over its first operand: so it is, where nobody else has read that."""
    if not call.overwrites or found.ready is not None or not rule.keeps_operands or rule.keeps_output:
        return None
    if found.operation.kind != "sum" or found.operands[0] is not call.args[0]:
        return None
    if not _is_plain_sum(found.operation, found.operands) or found.operands[0]._is_view():
        return None
    a, b = found.operands
    maker = _maker_of(a, marks)
    if maker is None or maker.reads != 1:
        return None
    if maker.output is not None:
        maker.output.leave()
    derived = Derived(0, maker.output, everywhere=True)
    if found.mark.maker is not None:
        found.mark.maker.derived = derived
    return Merged(replace(found, ready=lambda: of_its_own(a.detach().add_(b))), rule, derived)


def _derived(maker: Maker, marks: Marks) -> Derived | None:
    """Of a plain sum of two that only the ReLU reads, the one that nobody else reads."""
    if maker.derived is not None:  # its memory holds the sum
        return replace(maker.derived, everywhere=False)
    if maker.operation.kind != "sum" or maker.reads != 1 or not _is_plain_sum(maker.operation, maker.operands):
        return None
    makers = [_maker_of(operand, marks) for operand in maker.operands]
    unread = [(i, one) for i, one in enumerate(makers) if one is not None and one.reads == 1]
    if not unread:
        return None
    position, chosen = next(((i, one) for i, one in unread if one.output is not None), unread[0])
    if chosen.output is not None:
        chosen.output.leave()
        maker.left = (chosen.output, maker.operands[position])
    return Derived(position, chosen.output, everywhere=False)


def _is_plain_sum(op: Operation, operands: Sequence[Tensor]) -> bool:
    """Of two different tensors that are alike."""
    if list(op.factors) != [1, 1] or operands[0] is operands[1]:
        return False
    a, b = operands
    return a.shape == b.shape and a.dtype == b.dtype


def _maker_of(tensor: Tensor, marks: Marks) -> Maker | None:
    mark = marks.of(tensor)
    return None if mark is None else mark.maker
