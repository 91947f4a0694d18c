"""What is known of operators: which look at one cell only, which at a window, which keep cells where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from xaipipe.models.fields import Call, Field, field_after, slices_of

_ARITHMETIC = ("add", "sub", "mul", "div", "pow", "true_divide", "subtract", "multiply", "divide", "neg", "negative")
_ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh"),
    *("hardswish", "hardsigmoid", "hardshrink", "softshrink", "tanhshrink", "softplus", "softsign", "threshold"),
    *("logsigmoid", "sigmoid", "tanh", "clamp", "clip", "clamp_min", "clamp_max"),
)
_FUNCTIONS = (
    *("exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "abs", "absolute", "sign", "erf"),
    *("sin", "cos", "maximum", "minimum", "where", "lerp", "addcmul", "addcdiv", "masked_fill"),
)
_COPIES = (
    *("clone", "contiguous", "detach", "to", "type", "type_as", "float", "half", "bfloat16", "double", "cpu", "cuda"),
    *("requires_grad_", "positive", "alias", "expand_as"),
)
_DUNDERS = ("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "rtruediv", "itruediv")
_JOINS = ("cat", "concat", "concatenate")


def _spelled(*names: str) -> set[str]:
    return {*names, *(f"{name}_" for name in names)}


_COMBINES = _spelled(*_ARITHMETIC, *_FUNCTIONS) | {f"__{name}__" for name in (*_DUNDERS, "neg", "pow", "rpow", "abs")}

POINTWISE = _COMBINES | _spelled(*_ACTIVATIONS, *_COPIES)
"""A cell of the result depends on the same cell of the operands."""

MEETINGS = _COMBINES | {*_JOINS, "expand_as"}
"""Operators in which maps meet other tensors cell by cell."""

WINDOWS = {"conv2d", "conv_transpose2d", "max_pool2d", "_max_pool2d", "avg_pool2d", "pad"}
"""A cell depends on a window of cells, by the rules of `fields`."""

ATTENDS = {"scaled_dot_product_attention", "multi_head_attention_forward", "softmax", "matmul", "bmm", "einsum"}
"""Every cell may look at every other; the names that say most about why a network is not local."""


def pooled_dimensions(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[int, int] | None:
    """The two dimensions that a call pools away, where it looks like a global pooling of maps [N, …]."""
    dimensions = getattr(args[0], "ndim", 0) if args else 0
    if dimensions != 4:
        return None
    if name == "adaptive_avg_pool2d":
        size = args[1] if len(args) > 1 else kwargs.get("output_size")
        return (2, 3) if size in (1, (1, 1), [1, 1]) else None
    if name in ("mean", "sum"):
        given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
        pooled = tuple(sorted(d % 4 for d in given)) if isinstance(given, tuple | list) else ()
        return (pooled[0], pooled[1]) if len(pooled) == 2 else None
    return None


def keeps_space(name: str, field: Field, call: Call) -> Field | None:
    """The field behind an operator that works along other dimensions than space; None where it is none of these."""
    rule = _RULES.get(name)
    return None if rule is None else rule(field, call)


def _in_evaluation(position: int) -> Callable[[Field, Call], Field | None]:
    """Batch norm by its running statistics, dropout that drops nothing."""

    def rule(field: Field, call: Call) -> Field | None:
        return None if call.get(position, "training", True) else field

    return rule


def _last_dimension(field: Field, call: Call) -> Field | None:
    return None if len(call.shape) - 1 in field.axes else field


def _last_dimensions(field: Field, call: Call) -> Field | None:
    """Layer norm, whose second argument is the shape that it normalises over."""
    first = len(call.shape) - len(call.get(1, "normalized_shape"))
    return field if max(field.axes) < first else None


def _along(position: int, default: int | None = None) -> Callable[[Field, Call], Field | None]:
    """Works along one dimension and keeps all of them."""

    def rule(field: Field, call: Call) -> Field | None:
        given = call.get(position, "dim", default)
        return field if isinstance(given, int) and given % len(call.shape) not in field.axes else None

    return rule


def _reduces(field: Field, call: Call) -> Field | None:
    """Takes some dimensions away, or leaves them with one cell."""
    given = call.get(1, "dim")
    if not isinstance(given, int | tuple | list):
        return None
    gone = {d % len(call.shape) for d in ([given] if isinstance(given, int) else given)}
    if gone & set(field.axes):
        return None
    if call.output.ndim == len(call.shape):
        return field
    y, x = (axis - sum(d < axis for d in gone) for axis in field.axes)
    return replace(field, axes=(y, x))


def _sliced(field: Field, call: Call) -> Field | None:
    """Cut so that a tile is cut like the whole: counted from the start at the start, from the end at the end."""
    for part in (slices_of(call) or ())[min(field.axes) : max(field.axes) + 1]:
        if (part.start or 0) < 0 or (part.stop is not None and part.stop >= 0):
            return None
    return field_after("__getitem__", field, call)


def _moved(name: str) -> Callable[[Field, Call], Field | None]:
    return lambda field, call: field_after(name, field, call)


_RULES: dict[str, Callable[[Field, Call], Field | None]] = {
    "batch_norm": _in_evaluation(5),
    "dropout": _in_evaluation(2),
    "dropout2d": _in_evaluation(2),
    "feature_dropout": _in_evaluation(2),
    "alpha_dropout": _in_evaluation(2),
    "linear": _last_dimension,
    "layer_norm": _last_dimensions,
    "softmax": _along(1),
    "log_softmax": _along(1),
    **dict.fromkeys(_JOINS, _along(1, 0)),
    "chunk": _along(2, 0),
    "split": _along(2, 0),
    "tensor_split": _along(2, 0),
    "normalize": _along(2, 1),
    "local_response_norm": lambda field, _: field if field.axes == (2, 3) else None,
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std"), _reduces),
    **{name: _moved(name) for name in ("view", "reshape", "flatten", "unflatten", "transpose", "permute")},
    "__getitem__": _sliced,
}
