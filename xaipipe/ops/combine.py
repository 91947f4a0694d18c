"""What an input receives, from what several sets of weights hand back to it."""

from torch import Tensor

from xaipipe.ops import _checks, _elementwise

_NAME = "multiply_combine"
_op = _elementwise.define(
    _elementwise.Elementwise(
        _NAME,
        ("x", "g1", "g2"),
        repeated=frozenset({"g1", "g2"}),
        outputs=1,
        parameters={"a": None, "b": None},
    )
)


def multiply_combine(x: Tensor, g1: Tensor, g2: Tensor, a: float, b: float) -> Tensor:
    """x·(a·g1 + b·g2).

    `g1` and `g2` have the shape of `x`, or the same axes for targets before it. Types and layouts as in
    `stabilised_divide`. Not differentiable.
    """
    _checks.require_tensors(_NAME, x=x, g1=g1, g2=g2)
    _checks.refuse_forward_mode(_NAME)
    _checks.refuse_gradients(_NAME, x=x, g1=g1, g2=g2)
    result: Tensor = _op(x, g1, g2, a, b)
    return result
