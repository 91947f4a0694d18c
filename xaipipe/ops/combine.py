"""What an input receives, from what several sets of weights hand back to it."""

from torch import Tensor

from xaipipe.ops import _elementwise

_combine = _elementwise.Elementwise(
    "multiply_combine",
    ("x", "g1", "g2"),
    repeated=frozenset({"g1", "g2"}),
    outputs=1,
    parameters={"a": None, "b": None},
)
_op = _elementwise.define(_combine)


def multiply_combine(x: Tensor, g1: Tensor, g2: Tensor, a: float, b: float) -> Tensor:
    """x·(a·g1 + b·g2).

    `g1` and `g2` have the shape of `x`, or the same axes for targets before it. Types and layouts as in
    `stabilised_divide`. Not differentiable.
    """
    _elementwise.prepare(_combine, x, g1, g2)
    result: Tensor = _op(x, g1, g2, a, b)
    return result
