"""Networks that end in a global average pooling and a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from xaipipe.errors import UsageError
from xaipipe.propagation import Gradient, Operation, Rule
from xaipipe.propagation.graph import reaches
from xaipipe.propagation.layer_pass import LayerPass

_CELL_BY_CELL = {"activation", "scale"}
_LINEAR = {"linear", "convolution", "scale"}


class PooledHead:
    """Rules that take the gradient, and note which operators lead from a layer to the model's output."""

    strict = False

    def __init__(self) -> None:
        self._noting = _Noting()

    def rule_for(self, op: Operation) -> Rule:
        return self._noting

    def pooled(self, passed: LayerPass) -> Tensor:
        """The maps that are pooled, in the graph of the scores; refused where the head is another."""
        seen = self._noting.behind(passed.outputs[0])
        kinds = [op.kind for op, _ in seen]
        first = next((place for place, kind in enumerate(kinds) if kind not in _CELL_BY_CELL), len(kinds))
        behind = next((place for place in range(first, len(kinds)) if kinds[place] != "average"), len(kinds))
        layer = passed.outputs[0]
        is_head = (
            first < behind
            and not passed.undescribed
            and _LINEAR.issuperset(kinds[behind:])
            and all(operand.numel() == layer.shape[:2].numel() for _, operand in seen[behind : behind + 1])
        )
        if not is_head:
            raise _other_head(passed, seen)
        return seen[first][1]


class _Noting(Gradient):
    def __init__(self) -> None:
        self._seen: list[tuple[Operation, tuple[Tensor, ...]]] = []

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        self._seen.append((op, tuple(operands)))

    def behind(self, layer: Tensor) -> list[tuple[Operation, Tensor]]:
        """Operators that changed what the layer put out, in the order in which they ran, and their first operands.

        A layer may run several times; what follows its last run counts.
        """
        start = get_gradient_edge(layer).node
        return [
            (op, operands[0])
            for op, operands in self._seen
            if any(reaches(operand.grad_fn, start) for operand in operands)
        ]


def _other_head(passed: LayerPass, seen: Sequence[tuple[Operation, Tensor]]) -> UsageError:
    names = [op.name for op, _ in seen] + list(passed.undescribed)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return UsageError(
        "cam is for networks in which only a global average pooling and a linear layer follow the maps",
        got=f"behind layer '{passed.layers[0].name}': {shown or 'nothing that is known'}",
        where=passed.source,
        hint="use gradcam, which gives the same map where cam has one, or name the layer that is pooled",
    )
