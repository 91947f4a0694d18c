"""What a model does to its pixels before its first layer: it may scale them, or change their order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Mark, Step
from xaipipe.propagation.operators import Decomposed, Described, Route

_ORDERLY = {"scale", "sum", "average", "max", "join", "route"}
"""Kinds that make larger results of larger pixels everywhere, or smaller ones everywhere."""
_ORDERLY_ACTIVATIONS = {"clamp", "clamp_min", "clamp_max", "hardtanh", "relu", "relu6", "sigmoid", "tanh"}
_ELEMENTWISE_ROUTES = {"to", "type", "type_as", "float", "half", "bfloat16", "double", "clone", "contiguous"}


def since_input(call: Call, found: Described | Route | Decomposed | None, result: Any, mark: Mark) -> Mark:
    """The mark of a result with the steps that led to it, where all of them are known."""
    before = call.marks[0].since_input
    if before is None or len(call.operands) != 1 or not isinstance(result, Tensor):
        return mark
    kind = found.operation.kind if isinstance(found, Described) else "route"
    if kind not in _ORDERLY and call.name not in _ORDERLY_ACTIVATIONS:
        return mark
    elementwise = kind in ("scale", "sum", "activation") or call.name in _ELEMENTWISE_ROUTES
    return replace(mark, since_input=(*before, Step(call.again(), elementwise)))
