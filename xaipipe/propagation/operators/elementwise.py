"""Operators that work on each element: activations, sums, products with constants."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Maker, Mark, merged
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Surroundings

_GROWING = (
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh"),
    *("hardswish", "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign", "threshold"),
    *("logsigmoid", "sigmoid", "tanh", "clamp", "clamp_min", "clamp_max", "exp", "expm1", "log", "log1p", "log2"),
    *("sqrt", "rsqrt", "square", "reciprocal", "abs", "erf", "sin", "cos", "pow", "rpow", "rdiv", "logit"),
    *("nan_to_num", "log10", "exp2", "erfc", "atan", "sinh", "cosh", "float_power", "round", "floor", "ceil", "trunc"),
)
_NONNEGATIVE = {"relu", "relu6", "sigmoid", "hardsigmoid", "softplus", "exp", "sqrt", "rsqrt", "square", "abs"}
_LOWEST = {"clamp": (1, "min"), "clamp_min": (1, "min"), "hardtanh": (1, "min_val"), "maximum": (1, "other")}
_LARGEST = {"clamp": (2, "max"), "clamp_max": (1, "max"), "hardtanh": (2, "max_val"), "minimum": (1, "other")}
_KEEP_SIGN = {
    *("leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "hardshrink"),
    *("softshrink", "tanhshrink", "softsign", "tanh", "expm1", "log1p", "erf", "pow", "reciprocal"),
    *("clamp", "clamp_min", "clamp_max", "hardtanh", "maximum", "minimum"),
}
"""Of what is not negative they make nothing negative."""
_KEEP_ZERO = {
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish"),
    *("hardshrink", "softshrink", "tanhshrink", "softsign", "tanh", "expm1", "log1p", "sqrt", "square", "abs", "erf"),
    *("sin", "sinh", "atan", "round", "floor", "ceil", "trunc"),
}
"""Of zero they make zero; of others nothing is claimed."""
_SQUASHES = {"sigmoid": 2, "hardsigmoid": 2, "tanh": 2, "relu6": 1, "hardtanh": 1, "clamp": 1}
"""How much the result looks like a factor rather than a signal."""


def activation(call: Call, _: Surroundings) -> Described | None:
    """A function of one operand."""
    if len(call.operands) != 1:
        return None
    (before,) = call.marks
    mark = Mark(
        nonnegative=_is_nonnegative(call, before),
        gate=max(before.gate, _SQUASHES.get(call.name, 0)),
        behind=before.behind,
        zeros_idle=before.zeros_idle,
    )
    name = _spelt_alike(call)
    return described("activation", call, mark, name=name, keeps_zero=name in _KEEP_ZERO)


def _spelt_alike(call: Call) -> str:
    """One name for a ReLU however it is spelt, and for one with a ceiling."""
    if call.name == "threshold":
        return "relu" if (call.get(1, "threshold"), call.get(2, "value")) == (0, 0) else call.name
    if call.name in ("maximum", "max"):
        constant = call.args[0] if call.depends(1, "other") else call.get(1, "other")
        (x,) = call.operands
        widens = torch.broadcast_shapes(constant.shape, x.shape) != x.shape  # type: ignore[no-untyped-call]
        return call.name if widens or bool(constant.any()) else "relu"
    if call.name not in _LOWEST:
        return call.name
    low = call.get(*_LOWEST[call.name])
    if low is None or (bool(low.any()) if isinstance(low, Tensor) else low != 0):
        return call.name
    has_ceiling = call.name == "hardtanh" or (call.name == "clamp" and call.get(2, "max") is not None)
    return "relu6" if has_ceiling else "relu"


def described(kind: str, call: Call, mark: Mark, run: Callable[..., Tensor] | None = None, **more: Any) -> Described:
    """An operation on the call's operands."""
    operation = Operation(
        kind=kind,
        name=more.pop("name", call.name),
        run=run or call.again(),
        layer=call.layer,
        nonnegative=tuple(m.nonnegative for m in call.marks),
        gates=tuple(m.gate for m in call.marks),
        **more,
    )
    return Described(operation, mark, call.operands)


def _is_nonnegative(call: Call, before: Mark) -> bool:
    if call.name in _NONNEGATIVE:
        return True
    if call.name in _LARGEST:
        largest = call.get(*_LARGEST[call.name])
        if largest is not None and not _is_at_least_zero(largest):
            return False
    if call.name in _LOWEST and _is_at_least_zero(call.get(*_LOWEST[call.name])):
        return True
    return before.nonnegative and call.name in _KEEP_SIGN


def summed(signs: Callable[[Call], tuple[float, float]]) -> Describer:
    """a + b and its like: `signs` are the factors of the two arguments."""

    def describer(call: Call, _: Surroundings) -> Described:
        factors = signs(call)
        mark = merged(call.marks)
        constants_fit = not call.constants and all(
            _nonnegative_constant(part, f) for part, f in zip(call.args[:2], factors, strict=False)
        )
        nonnegative = mark.nonnegative and constants_fit and min(factors) >= 0
        of_operands = tuple(factors[int(key == 1 or key in ("other", "alpha"))] for key, _ in call.slots)
        after = mark.passed_on(nonnegative, mark.gate)
        found = described("sum", call, after, factors=of_operands)
        after.maker = Maker(found.operation, call.operands)
        return found

    return describer


def _nonnegative_constant(part: Any, factor: float) -> bool:
    return isinstance(part, Tensor) or (isinstance(part, Real) and float(part) * factor >= 0)


def _is_at_least_zero(value: Any) -> bool:
    return isinstance(value, Real) and float(value) >= 0


def multiplied(call: Call, _: Surroundings) -> Described | Decomposed | None:
    """Times a constant, or the product of two that depend on the input."""
    mark = merged(call.marks)
    gate = min(m.gate for m in call.marks)
    if len(call.operands) == 2:
        return described("product", call, mark.passed_on(mark.nonnegative, gate))
    other = call.get(1, "other") if call.slots[0][0] == 0 else call.args[0]
    nonnegative = mark.nonnegative and isinstance(other, Real) and float(other) >= 0
    return described("scale", call, mark.passed_on(nonnegative, gate))


def divided(call: Call, _: Surroundings) -> Described | None:
    if call.get(2, "rounding_mode") is not None:
        return None
    mark = merged(call.marks)
    if len(call.operands) == 2:
        done = described("product", call, mark.passed_on(mark.nonnegative, call.marks[0].gate))
        done.operation.gates = (done.operation.gates[0], _DENOMINATOR)
        return done
    if call.depends(1, "other"):  # a constant divided
        return described("activation", call, mark.passed_on(False, call.marks[0].gate))
    other = call.get(1, "other")
    nonnegative = mark.nonnegative and isinstance(other, Real) and float(other) > 0
    return described("scale", call, mark.passed_on(nonnegative, call.marks[0].gate))


_DENOMINATOR = 9
"""Always the factor, never the signal."""


def _negated(call: Call, _: Surroundings) -> Described:
    return described("scale", call, merged(call.marks).passed_on(False, call.marks[0].gate))


def larger(call: Call, surroundings: Surroundings) -> Described | None:
    """Of two tensors; of a tensor and a constant it is an activation."""
    if len(call.operands) == 1:
        return activation(call, surroundings)
    return described("max", call, merged(call.marks).passed_on(merged(call.marks).nonnegative))


def _gated(call: Call, _: Surroundings) -> Decomposed:
    """GLU: one half times the sigmoid of the other."""

    def run() -> Tensor:
        first, second = call.get(0, "input").chunk(2, dim=call.get(1, "dim", -1))
        gated: Tensor = first * torch.sigmoid(second)
        return gated

    return Decomposed(run)


def _combined(call: Call, _: Surroundings) -> Decomposed:
    """addcmul and addcdiv: a + value · b · c, or b / c."""
    value = call.kwargs.get("value", 1)

    added, first, second = (call.get(i, name) for i, name in enumerate(("input", "tensor1", "tensor2")))

    def run() -> Any:
        product = first * second if call.name == "addcmul" else first / second
        return added + (product if value == 1 else value * product)

    return Decomposed(run)


def _between(call: Call, _: Surroundings) -> Decomposed:
    """lerp: a + weight · (b - a)."""
    start, end, weight = (call.get(i, name) for i, name in enumerate(("input", "end", "weight")))
    return Decomposed(lambda: start + weight * (end - start))


def _alpha(call: Call) -> float:
    return float(call.kwargs.get("alpha", 1))


ELEMENTWISE: dict[str, Describer] = {
    **dict.fromkeys(_GROWING, activation),
    **dict.fromkeys(("maximum", "minimum"), larger),
    "add": summed(lambda call: (1.0, _alpha(call))),
    "sub": summed(lambda call: (1.0, -_alpha(call))),
    "rsub": summed(lambda call: (-_alpha(call), 1.0)),
    "mul": multiplied,
    "div": divided,
    "neg": _negated,
    **dict.fromkeys(("addcmul", "addcdiv"), _combined),
    "glu": _gated,
    "lerp": _between,
}
