"""Which operator gets which rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xaipipe.propagation import IN_PARTS, Gradient, InParts, Operation, Rule
from xaipipe_propagation.compared.activations import Rescale
from xaipipe_propagation.compared.cancelling import RevealCancel, SplitSum, SplitWeights
from xaipipe_propagation.compared.maxima import Winner
from xaipipe_propagation.compared.products import Halfway, Product
from xaipipe_propagation.compared.rule import DifferenceRule
from xaipipe_propagation.compared.softmax import LogarithmicMean, LogarithmicShares

_LINEAR: dict[str, Rule | None] = {
    **dict.fromkeys(("convolution", "linear"), Gradient()),
    **dict.fromkeys(("scale", "sum", "average", "join")),
}
"""What the gradient is exact for; where it is a rule, several targets share its work."""
_QUADRATIC = {"var"}


@dataclass(frozen=True)
class How:
    """The rules of a method, by the kinds of operators."""

    rules: Mapping[str, DifferenceRule]

    def knows(self, op: Operation) -> bool:
        return op.parts is not None or op.kind in self.rules or op.kind in _LINEAR or op.name in _QUADRATIC

    def rule_for(self, op: Operation) -> DifferenceRule | Rule | InParts | None:
        if op.parts is not None:
            return IN_PARTS
        if op.kind in self.rules:
            return self.rules[op.kind]
        if op.name in _QUADRATIC:
            return Halfway()
        # torch's own gradient of a batch norm is wrong on the CPU for single images with channels last
        return Gradient() if op.name == "batch_norm" else _LINEAR.get(op.kind)


RESCALE = How(
    {
        "activation": Rescale(),
        "max": Winner(),
        "product": Product(),
        "matmul": Halfway(),
        "softmax": LogarithmicMean(),
        "logsumexp": LogarithmicShares(),
    }
)
_SPLIT = {"activation": RevealCancel(), "convolution": SplitWeights(), "linear": SplitWeights(), "sum": SplitSum()}
REVEAL_CANCEL = How({**RESCALE.rules, **_SPLIT})
