"""What is said of operators that rules know nothing of."""

from __future__ import annotations

from torch import Tensor

from xaipipe.errors import InputError
from xaipipe.propagation.calls import Call
from xaipipe.propagation.operation import Operation

_HINT = (
    "tell rules what it is by xaipipe.propagation.register('NAME', kind=…), see docs/plugins.md; "
    "or use a gradient method"
)


class UnknownOperatorError(InputError):
    """A method that goes by rules met an operator without one."""


def unknown_operator(call: Call) -> UnknownOperatorError:
    return UnknownOperatorError(
        "this method has no rule for an operator of the model",
        got=f"{call.name}, {len(call.operands)} operands that depend on the input",
        where=_where(call.layer),
        hint=_HINT.replace("NAME", call.name),
    )


def operator_without_rule(op: Operation) -> UnknownOperatorError:
    """One that was described, but as something that the method knows no rule for."""
    return UnknownOperatorError(
        "this method has no rule for an operator of the model",
        got=f"{op.name}, of the kind '{op.kind}'",
        where=f"layer '{op.layer}'" if op.layer else "the model's own forward",
        hint=_HINT.replace("NAME", op.name),
    )


def foreign(tensor: Tensor, layer: str) -> UnknownOperatorError:
    """A tensor with a gradient of its own that no operator in sight has made."""
    made_by = type(tensor.grad_fn).__name__
    if made_by == "BackwardHookFunctionBackward":
        return UnknownOperatorError(
            "a backward hook on a layer of the model hides what comes through it",
            got="a module with register_full_backward_hook, or register_full_backward_pre_hook",
            where=_where(layer),
            hint="remove the hook (its handle's remove()) while explaining, or use a gradient method",
        )
    return UnknownOperatorError(
        "the model computes with operators that cannot be seen",
        got=f"a tensor made by {made_by}",
        expected="torch's own operators: no autograd.Function, no scripted function",
        where=_where(layer),
        hint="use torch's operators in its place, or a gradient method (saliency, input_x_gradient)",
    )


def overwritten(tensor: Tensor, layer: str) -> UnknownOperatorError:
    """Something computed out of sight from memory which the model has written into."""
    return UnknownOperatorError(
        "the model writes into a tensor in place, and then hands it to operators that cannot be seen",
        got=f"a tensor made by {type(tensor.grad_fn).__name__}",
        where=_where(layer),
        hint="hand on what the writing operator returns, or a clone",
    )


def reshaped(call: Call) -> UnknownOperatorError:
    """An operator that gives a tensor another shape under the same name."""
    return UnknownOperatorError(
        "the model changes the shape of a tensor in place",
        got=f"{call.name}_",
        where=_where(call.layer),
        hint=f"use what {call.name} (without the underscore) returns",
    )


def _where(layer: str) -> str:
    return f"layer '{layer}'" if layer else "the model's own forward"
