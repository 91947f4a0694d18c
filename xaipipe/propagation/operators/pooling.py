"""Operators that average, add up or pick the largest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Mark, merged
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Surroundings
from xaipipe.propagation.operators.elementwise import described, larger

_AVERAGES = (
    *("mean", "sum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"),
    *("adaptive_avg_pool3d", "interpolate", "upsample", "upsample_nearest", "upsample_bilinear", "fold", "cumsum"),
    *("trace", "whole_image_pool"),
)
_LARGEST = (
    *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
    *("amax", "amin", "max", "min"),
)


def _average(call: Call, _: Surroundings) -> Described | None:
    if len(call.operands) != 1:
        return None
    positive = call.get(3, "mode", "nearest") != "bicubic"
    (mark,) = call.marks
    return described("average", call, mark.passed_on(mark.nonnegative and positive, mark.gate))


def _sampled(call: Call, _: Surroundings) -> Described | None:
    """grid_sample, at places that do not depend on the input."""
    if len(call.operands) != 1 or not call.depends(0, "input"):
        return None
    positive = call.get(2, "mode", "bilinear") != "bicubic"
    (mark,) = call.marks
    return described("average", call, mark.passed_on(mark.nonnegative and positive, mark.gate))


def _power_sum(call: Call, _: Surroundings) -> Decomposed | None:
    """lp_pool: the root of a sum of powers."""
    if len(call.operands) != 1:
        return None
    pool, space = _AVERAGING[call.name]
    x, p, window, stride = (call.get(i, n) for i, n in enumerate(("input", "norm_type", "kernel_size", "stride")))
    ceil, p = call.get(4, "ceil_mode", False), float(p)
    sides = (window,) * space if isinstance(window, int) else window

    def run() -> Any:
        powers = x.square() if p == 2 else x.pow(p)
        total = pool(powers, window, stride, 0, ceil) * math.prod(sides)
        return total.sqrt() if p == 2 else total.pow(1 / p)

    return Decomposed(run, parts=("activation", "average", "scale"))


def _soft_maximum(call: Call, _: Surroundings) -> Described | None:
    if len(call.operands) != 1:
        return None
    (mark,) = call.marks
    dim = call.get(1, "dim")
    dimensions = (dim,) if isinstance(dim, int) else tuple(dim)
    return described("logsumexp", call, mark.passed_on(mark.nonnegative, mark.gate), dimensions=dimensions)


def _largest(call: Call, surroundings: Surroundings) -> Described | None:
    mark = merged(call.marks)
    if call.name in ("max", "min") and isinstance(call.get(1, "other"), Tensor):
        return larger(call, surroundings)
    after = mark.passed_on(mark.nonnegative, mark.gate)
    with_places = call.name in ("max", "min") and (len(call.args) > 1 or "dim" in call.kwargs)
    if with_places or call.get(6, "return_indices", False):
        return _with_places(call, after)
    return described("max", call, after)


def _with_places(call: Call, after: Mark) -> Described:
    """Of what the model gets, only the values are the operator's output; where they come from is told beside them."""
    run, operands = call.again(), call.operands

    def finish(values: Tensor) -> Any:
        with torch.no_grad():
            _, places = answer = run(*operands)
        return type(answer)((values, places))

    return replace(described("max", call, after, run=lambda x: run(x)[0]), finish=finish)


def _statistic(call: Call, _: Surroundings) -> Described | None:
    """A length or a spread: what things are divided by."""
    if len(call.operands) != 1:
        return None
    (mark,) = call.marks
    return described("statistic", call, mark.passed_on(True, _STATISTIC), parts=_PARTS.get(call.name, _length)(call))


def _root(call: Call) -> Callable[..., Tensor]:
    """A standard deviation as the root of the variance."""
    args, kwargs = call.args[1:], {name: value for name, value in call.kwargs.items() if name != "input"}

    def parts(x: Tensor) -> Tensor:
        variance: Tensor = torch.var(x, *args, **kwargs)
        return variance.sqrt()

    return parts


def _length(call: Call) -> Callable[..., Tensor] | None:
    """A vector's norm as the root of a sum of powers; nothing for norms of matrices, and for maxima."""
    p = call.get(1, "ord" if "linalg" in call.name or call.name == "vector_norm" else "p", 2)
    dim, keep = call.get(2, "dim"), call.get(3, "keepdim", False)
    matrix = call.name == "linalg_norm" and (len(dim) if isinstance(dim, tuple | list) else call.operands[0].ndim) == 2
    p = 2 if p is None or p == "fro" else p
    if isinstance(p, str) or not 1 <= p < math.inf or (matrix and call.get(1, "ord") is not None):
        return None

    def parts(x: Tensor) -> Tensor:
        powers = x.square() if p == 2 else x.abs().pow(p)
        total = powers.sum() if dim is None else powers.sum(dim=dim, keepdim=keep)
        return total.sqrt() if p == 2 else total.pow(1 / p)

    return parts


_PARTS: dict[str, Callable[[Call], Callable[..., Tensor] | None]] = {"std": _root, "var": lambda _: None}
"""Of statistics that are no norm; a variance is as simple as it gets."""
_STATISTIC = 3

_AVERAGING: dict[str, tuple[Callable[..., Tensor], int]] = {
    "lp_pool1d": (F.avg_pool1d, 1),
    "lp_pool2d": (F.avg_pool2d, 2),
    "lp_pool3d": (F.avg_pool3d, 3),
}
"""Of a pooling of powers: the mean that is taken, and over how many dimensions."""

POOLING: dict[str, Describer] = {
    **dict.fromkeys(_AVERAGES, _average),
    **dict.fromkeys(_LARGEST, _largest),
    **dict.fromkeys(_AVERAGING, _power_sum),
    "grid_sample": _sampled,
    "logsumexp": _soft_maximum,
    **dict.fromkeys(("norm", "vector_norm", "linalg_vector_norm", "linalg_norm", "std", "var"), _statistic),
}
