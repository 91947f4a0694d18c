"""Putting rules behind the operators of a forward pass."""

from __future__ import annotations

from typing import Any

import torch

from xaipipe.propagation.calls import Call
from xaipipe.propagation.captured import Captured
from xaipipe.propagation.function import Derived, OnlyChannels, Ruled
from xaipipe.propagation.ledger import Account, Ledger
from xaipipe.propagation.marks import Mark, Marks
from xaipipe.propagation.merging import Merged, into_its_summand, keeps_idle, with_its_maker
from xaipipe.propagation.operators import Described
from xaipipe.propagation.outputs import Output, WayBack
from xaipipe.propagation.rules import InParts, Rule, Rules


class Ruling:
    """Of one forward pass. With `merges`, ReLUs become one with what they read, where that makes no difference."""

    def __init__(self, rules: Rules, images: int, marks: Marks, merges: bool = False) -> None:
        self._rules, self._images, self._marks, self.merges = rules, images, marks, merges
        self.captured = Captured()
        self.ledger = Ledger(images)
        self.way_back = WayBack()
        self.lost_zeros = False
        """Whether a rule may give something to zeros that a merged ReLU made: the pass is of no use then."""

    def rule_for(self, call: Call, found: Described) -> Rule | InParts | None:
        if not torch.is_grad_enabled():
            return None
        rule = self._rules.rule_for(found.operation)
        if not keeps_idle(rule, found.operation):
            self.look_after_zeros(call)
        return rule

    def look_after_zeros(self, call: Call) -> None:
        """Of a call that may give something to zeros among its operands."""
        self.lost_zeros |= any(mark.zeros_idle for mark in call.marks)

    def run(self, call: Call, found: Described, rule: Rule) -> tuple[Any, Mark]:
        """What the model gets, and its mark."""
        merged = self._merged(call, found, rule) if self.merges else None
        if merged is not None:
            return self._run(call, merged.found, merged.rule, merged.derived)
        return self._run(call, found, rule)

    def _merged(self, call: Call, found: Described, rule: Rule) -> Merged | None:
        merged = with_its_maker(call, found, rule, self._rules, self._marks)
        return into_its_summand(call, found, rule, self._marks) if merged is None else merged

    def _run(self, call: Call, found: Described, rule: Rule, derived: Derived | None = None) -> tuple[Any, Mark]:
        self.captured.keep(call)
        output = Output(self.way_back) if rule.keeps_output or derived is not None else None
        account = self._account(found, rule)
        ruled = Ruled(found.operation, rule, self._images, output, derived, account)
        result = ruled.run(found.operands, found.ready, None if account is None else self.ledger.sink)
        rule.ran(found.operation, found.operands, result)
        if found.mark.maker is not None:
            found.mark.maker.output = output
        through = call.marks[0].through
        if through is not None and found.operands[0] is not call.operands[0]:  # folded: the channels were not met
            result = OnlyChannels.apply(result, list(through))  # type: ignore[no-untyped-call]
        return (result if found.finish is None else found.finish(result)), found.mark

    def _account(self, found: Described, rule: Rule) -> Account | None:
        """For what the rule absorbs."""
        return self.ledger.opened(found.operation, found.operands[0].dtype) if rule.absorbs else None
