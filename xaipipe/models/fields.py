"""How each operator moves and resizes the cells of a map.

A rule takes the field of an operator's input and the call, and returns the field of its output, or None where cells
have no place any more. An operator without a rule hands on the field of its input where it keeps the spatial size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xaipipe.types import Grid


@dataclass(frozen=True, slots=True)
class Field:
    """Geometry of one tensor's cells; `axes` are its y and x dimensions."""

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    receptive: tuple[float, float] = (1.0, 1.0)
    axes: tuple[int, int] = (2, 3)
    sees_more: bool = False
    """Beside its window a cell depends on the rest of the image, by attention, gates or norms over space."""
    apart: float = 0.0
    """How far from each other branches had their cells that met on the way here, in pixels."""

    @property
    def grid(self) -> Grid:
        """Rounded to what can be told apart: sums of fractions leave remains."""
        scale, offset = ((round(y, 9) + 0.0, round(x, 9) + 0.0) for y, x in (self.scale, self.offset))
        return Grid(scale, offset)

    def windowed(self, axis: int, size: float, stride: float, padding: float, dilation: float = 1) -> Field:
        """After a window of `size` taps slides along one axis (0: y, 1: x)."""
        scale = self.scale[axis]
        reach = (size - 1) * dilation
        return replace(
            self,
            scale=_with(self.scale, axis, scale * stride),
            offset=_with(self.offset, axis, self.offset[axis] + (reach / 2 - padding) * scale),
            receptive=_with(self.receptive, axis, self.receptive[axis] + reach * scale),
        )


@dataclass(frozen=True, slots=True)
class Call:
    """An operator's call as rules look at it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: torch.Size
    """of the input that carried the field"""
    output: Tensor

    def get(self, position: int, name: str, default: Any = None) -> Any:
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


def merged_field(fields: Sequence[Field]) -> Field | None:
    """Of maps that meet in one operator: their cells lie in the middle, and see what any of them saw.

    None where their cells are of different widths or lie along other dimensions.
    """
    first = fields[0]
    if any(other.scale != first.scale or other.axes != first.axes for other in fields):
        return None
    offset = tuple(sum(f.offset[axis] for f in fields) / len(fields) for axis in (0, 1))
    receptive = tuple(
        max(f.receptive[axis] + 2 * abs(f.offset[axis] - offset[axis]) for f in fields) for axis in (0, 1)
    )
    return replace(first, offset=(offset[0], offset[1]), receptive=(receptive[0], receptive[1]))


def field_after(operator: str, field: Field, call: Call) -> Field | None:
    """The field of an operator's output."""
    if operator in MOVES_CELLS or (operator in SEES_WINDOWS and field.axes != (2, 3)):
        return None
    return _RULES.get(operator, _keep)(field, call)


def _keep(field: Field, call: Call) -> Field | None:
    """An operator without a rule of its own: the field goes on where the spatial size does."""
    y, x = field.axes
    shape = call.output.shape
    same = len(shape) == len(call.shape) and shape[y] == call.shape[y] and shape[x] == call.shape[x]
    return field if same else None


def _convolution(field: Field, call: Call) -> Field:
    kernel = call.get(1, "weight").shape[-2:]
    stride, dilation = _pair(call.get(3, "stride", 1)), _pair(call.get(5, "dilation", 1))
    padding = call.get(4, "padding", 0)
    for axis in (0, 1):
        if padding == "same":
            # torch pads one more behind than before where the total is odd
            before = ((kernel[axis] - 1) * dilation[axis]) // 2
        else:
            before = 0 if padding == "valid" else _pair(padding)[axis]
        field = field.windowed(axis, kernel[axis], stride[axis], before, dilation[axis])
    return field


def _transposed_convolution(field: Field, call: Call) -> Field:
    kernel = call.get(1, "weight").shape[-2:]
    stride, padding = _pair(call.get(3, "stride", 1)), _pair(call.get(4, "padding", 0))
    dilation = _pair(call.get(7, "dilation", 1))
    for axis in (0, 1):
        fine = field.scale[axis] / stride[axis]
        reach = (kernel[axis] - 1) * dilation[axis]
        field = replace(
            field,
            scale=_with(field.scale, axis, fine),
            offset=_with(field.offset, axis, field.offset[axis] + (padding[axis] - reach / 2) * fine),
            receptive=_with(field.receptive, axis, field.receptive[axis] + reach * fine),
        )
    return field


def _max_pool(field: Field, call: Call) -> Field:
    dilation = _pair(call.get(4, "dilation", 1))
    return _pool(field, call, dilation)


def _avg_pool(field: Field, call: Call) -> Field:
    return _pool(field, call, (1, 1))


def _pool(field: Field, call: Call, dilation: tuple[float, float]) -> Field:
    kernel = _pair(call.get(1, "kernel_size"))
    stride, padding = _pair(call.get(2, "stride") or kernel), _pair(call.get(3, "padding", 0))
    for axis in (0, 1):
        field = field.windowed(axis, kernel[axis], stride[axis], padding[axis], dilation[axis])
    return field


def _resized(field: Field, call: Call) -> Field | None:
    """Adaptive pooling and interpolation: the new cells share out the extent of the old ones evenly."""
    if call.output.ndim != 4 or (call.output.shape[2] == 1 and call.output.shape[3] == 1):
        return None
    for axis in (0, 1):
        old, new = call.shape[2 + axis], call.output.shape[2 + axis]
        if call.get(4, "align_corners") and new > 1:
            field = replace(field, scale=_with(field.scale, axis, field.scale[axis] * (old - 1) / (new - 1)))
        else:
            stride = _stated_stride(call, axis) or old / new
            field = field.windowed(axis, stride, stride, 0)
    return field


def _stated_stride(call: Call, axis: int) -> float | None:
    """torch samples by the scale factor that it was given, not by the sizes that came of it."""
    factor = call.kwargs.get("scale_factor") or (call.args[2] if len(call.args) > 2 else None)
    recomputed = call.get(5, "recompute_scale_factor")
    return None if factor is None or recomputed else 1 / _pair(factor)[axis]


def _shuffled(field: Field, call: Call) -> Field:
    """Channels become cells: each cell is divided evenly."""
    factor = call.get(1, "upscale_factor")
    return field.windowed(0, 1 / factor, 1 / factor, 0).windowed(1, 1 / factor, 1 / factor, 0)


def _unshuffled(field: Field, call: Call) -> Field:
    """Cells become channels of the wider cell that they make up."""
    factor = call.get(1, "downscale_factor")
    return field.windowed(0, factor, factor, 0).windowed(1, factor, factor, 0)


def _padded(field: Field, call: Call) -> Field:
    pads = list(call.get(1, "pad"))
    for axis in (0, 1):
        before = 2 * (len(call.shape) - 1 - field.axes[axis])  # the last dimension comes first
        field = field.windowed(axis, 1, 1, pads[before] if before < len(pads) else 0)
    return field


def _linear(field: Field, call: Call) -> Field | None:
    """Over the last dimension: of cells along it, each becomes a mixture of all."""
    return None if len(call.shape) - 1 in field.axes else field


def _normed(field: Field, call: Call) -> Field:
    """By what is the same for a whole map."""
    return replace(field, sees_more=True)


def _permuted(field: Field, call: Call) -> Field:
    given = call.get(1, "dims")
    order = given if isinstance(given, tuple | list) else call.args[1:]
    order = [d % len(call.shape) for d in order]
    return replace(field, axes=(order.index(field.axes[0]), order.index(field.axes[1])))


def _transposed(field: Field, call: Call) -> Field:
    a, b = call.get(1, "dim0") % len(call.shape), call.get(2, "dim1") % len(call.shape)
    swap = {a: b, b: a}
    return replace(field, axes=(swap.get(field.axes[0], field.axes[0]), swap.get(field.axes[1], field.axes[1])))


def _reshaped(field: Field, call: Call) -> Field | None:
    """Channels in groups, and joined again: the last two dimensions stay what they are."""
    last, now = len(call.shape) - 2, call.output.ndim - 2
    same = now >= 1 and field.axes == (last, last + 1) and call.output.shape[-2:] == call.shape[-2:]
    return replace(field, axes=(now, now + 1)) if same else _keep(field, call)


def slices_of(call: Call) -> tuple[slice, ...] | None:
    """What `[…]` takes of each dimension, from the first on; None where it is something else than slices."""
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if Ellipsis in index:
        gap = index.index(Ellipsis)
        missing = len(call.shape) - (len(index) - 1)
        index = (*index[:gap], *[slice(None)] * missing, *index[gap + 1 :])
    return index if all(isinstance(part, slice) for part in index) else None


def _sliced(field: Field, call: Call) -> Field | None:
    index = slices_of(call)
    if index is None:
        return None
    for axis in (0, 1):
        dimension = field.axes[axis]
        if dimension < len(index):
            start, _, step = index[dimension].indices(call.shape[dimension])
            field = field.windowed(axis, 1, step, -start)
    return field


def _pair(value: Any) -> tuple[float, float]:
    if isinstance(value, tuple | list | torch.Size):
        return (value[0], value[1]) if len(value) > 1 else (value[0], value[0])
    return value, value


def _with(pair: tuple[float, float], axis: int, value: float) -> tuple[float, float]:
    return (value, pair[1]) if axis == 0 else (pair[0], value)


_RULES: dict[str, Callable[[Field, Call], Field | None]] = {
    "conv2d": _convolution,
    "conv_transpose2d": _transposed_convolution,
    "max_pool2d": _max_pool,
    "_max_pool2d": _max_pool,
    "boolean_dispatch": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _resized,
    "adaptive_max_pool2d": _resized,
    "interpolate": _resized,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "pad": _padded,
    "linear": _linear,
    **dict.fromkeys(("group_norm", "instance_norm"), _normed),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten"), _reshaped),
    "permute": _permuted,
    "transpose": _transposed,
    "__getitem__": _sliced,
}
_ANY_ORDER = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "__getitem__", "pad", "linear"),
    *("group_norm", "instance_norm"),
}
SEES_WINDOWS = {name for name in _RULES if name not in _ANY_ORDER}
"""Operators that take the last two dimensions for space, whatever the model means by them."""
MOVES_CELLS = {
    *("flip", "fliplr", "flipud", "roll", "rot90", "grid_sample", "swapaxes", "swapdims", "movedim", "moveaxis"),
    *("sort", "gather", "index_select", "take_along_dim", "scatter", "matmul", "__matmul__", "bmm", "einsum"),
    *("scaled_dot_product_attention", "cumsum", "fft_fft2", "fft_ifft2"),
}
"""Operators that keep the size of a map but not the places of its cells."""
