"""Looking into autograd's graph, for what was computed out of sight of the interception."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.autograd.function import BackwardCFunction


def reaches(start: Any, goal: Any) -> bool:
    """Whether a gradient would get from one node to another."""
    waiting, seen = [start], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node is goal:
            return True
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
    return False


def reads(start: Any, stale: Sequence[Tensor], latest: Sequence[Tensor]) -> bool:
    """Whether a node, or one out of sight before it, reads tensors that stand for others by now.

    The inputs of an `autograd.Function` are known; of other nodes (a scripted function's) anything on the way counts
    that does not lead through what the tensors stand for.
    """
    places = {(tensor.grad_fn, tensor.output_nr) for tensor in stale if tensor.grad_fn is not None}
    leaves = {id(tensor) for tensor in stale if tensor.grad_fn is None}
    known = {tensor.grad_fn for tensor in latest}
    only_functions = isinstance(start, BackwardCFunction)
    waiting, seen = [start], set()
    while waiting:
        node = waiting.pop()
        if node in seen or node in known or (only_functions and not _is_foreign_function(node)):
            continue
        seen.add(node)
        for following, number in node.next_functions:
            if (following, number) in places or id(getattr(following, "variable", None)) in leaves:
                return True
            if following is not None:
                waiting.append(following)
    return False


def is_rerun(node: Any) -> bool:
    """Whether a part of the model is run again on the way back, out of sight: reentrant checkpointing."""
    return type(node).__name__ == "CheckpointFunctionBackward"


def _is_foreign_function(node: Any) -> bool:
    made_by = getattr(node, "_forward_cls", None)
    return made_by is not None and not made_by.__module__.startswith("xaipipe.")
