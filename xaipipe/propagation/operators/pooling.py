"""Operators that average, add up or pick the largest."""

from __future__ import annotations

from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import merged
from xaipipe.propagation.operators.described import Described, Describer, Route, Surroundings
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


def _largest(call: Call, surroundings: Surroundings) -> Described | Route | None:
    if call.name in ("max", "min") and isinstance(call.get(1, "other"), Tensor):
        return larger(call, surroundings)
    mark = merged(call.marks)
    with_places = call.name in ("max", "min") and (len(call.args) > 1 or "dim" in call.kwargs)
    if with_places or call.kwargs.get("return_indices"):
        return Route(mark.nonnegative)
    return described("max", call, mark.passed_on(mark.nonnegative, mark.gate))


def _statistic(call: Call, _: Surroundings) -> Described:
    """A length or a spread: what things are divided by."""
    (mark,) = call.marks
    return described("statistic", call, mark.passed_on(True, _STATISTIC))


_STATISTIC = 3

POOLING: dict[str, Describer] = {
    **dict.fromkeys(_AVERAGES, _average),
    **dict.fromkeys(_LARGEST, _largest),
    **dict.fromkeys(("norm", "vector_norm", "linalg_vector_norm", "linalg_norm", "std", "var"), _statistic),
}
