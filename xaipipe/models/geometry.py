"""Where a layer's cells lie on the input, derived from the operators that the model really runs.

Every tensor of a forward pass carries a `Field`: the input position of its cell 0, the distance between cells and
how far a cell sees. Each operator that moves or resizes maps has a rule here; an operator that keeps the spatial
size hands on the field of its inputs. `measured_grid` checks the derivation by gradients, and stands in where an
operator has no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.errors import UsageError
from xaipipe.models.layers import NamedLayer, graph_from
from xaipipe.types import Grid

_FIELD = "_xaipipe_field"


@dataclass(frozen=True, slots=True)
class Field:
    """Geometry of one tensor's cells; `axes` are its y and x dimensions."""

    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    receptive: tuple[float, float] = (1.0, 1.0)
    axes: tuple[int, int] = (2, 3)

    @property
    def grid(self) -> Grid:
        return Grid(self.scale, self.offset)

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


def derived_field(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> Field | None:
    """The field of a layer's output, or None where an operator without a rule stands before it."""
    found: list[Field | None] = []

    def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found[:] = [getattr(output, _FIELD, None)]

    handle = layer.module.register_forward_hook(look)
    try:
        with torch.no_grad(), _tracing():
            image = pixels[:1].detach().clone()
            setattr(image, _FIELD, Field())
            module(image)
    finally:
        handle.remove()
    field = found[0] if found else None
    return field if field is not None and field.axes == (2, 3) else None


def measured_grid(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> Grid:
    """The grid as gradients show it: the centroid of the squared gradient of inner cells, a line through two."""
    size = _map_size(module, layer, pixels)
    scale, offset = [1.0, 1.0], [0.0, 0.0]
    for axis in (0, 1):
        near, far = size[axis] // 3, max(size[axis] - 1 - size[axis] // 3, size[axis] // 3)
        if near == far:
            raise UsageError(f"layer '{layer.name}' has too few cells to measure where they lie", got=size)
        middle = size[1 - axis] // 2
        ends = [
            cell_centroid(module, layer, pixels, (i, middle) if axis == 0 else (middle, i))[axis] for i in (near, far)
        ]
        scale[axis] = (ends[1] - ends[0]) / (far - near)
        offset[axis] = ends[0] - near * scale[axis]
    return Grid((scale[0], scale[1]), (offset[0], offset[1]))


def cell_centroid(module: nn.Module, layer: NamedLayer, pixels: Tensor, cell: tuple[int, int]) -> tuple[float, float]:
    """The centre (y, x) of what one cell of a layer sees, weighted by its squared gradient."""
    image = pixels[:1].detach().clone().requires_grad_()
    kept: list[Tensor] = []
    handle = layer.module.register_forward_hook(lambda _m, _i, output: kept.append(output))
    try:
        with torch.enable_grad():
            module(image)
            (gradient,) = torch.autograd.grad(kept[-1][0, :, cell[0], cell[1]].sum(), image)
    finally:
        handle.remove()
    weight = gradient[0].double().square().sum(dim=0)
    total = weight.sum()
    if total == 0:
        raise UsageError(f"cell {cell} of layer '{layer.name}' does not depend on the input")
    ys = torch.arange(weight.shape[0], dtype=torch.float64, device=weight.device)
    xs = torch.arange(weight.shape[1], dtype=torch.float64, device=weight.device)
    return float((weight.sum(1) * ys).sum() / total), float((weight.sum(0) * xs).sum() / total)


def _map_size(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> tuple[int, int]:
    with graph_from(layer) as captured:
        module(pixels[:1])
    assert captured.activation is not None
    return int(captured.activation.shape[2]), int(captured.activation.shape[3])


@contextmanager
def _tracing() -> Iterator[None]:
    with _Tracer():
        yield


class _Tracer(TorchFunctionMode):
    """Runs every operator as it is and writes the field of its result onto it."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        before = _shared_field(args, kwargs) if name != "__get__" else None
        result = func(*args, **kwargs)
        if before is not None:
            field, shape = before
            rule = _RULES.get(name, _keep)
            for output in result if isinstance(result, tuple | list) else (result,):
                if isinstance(output, Tensor):
                    setattr(output, _FIELD, rule(field, _Call(args, kwargs, shape, output)))
        return result


@dataclass(frozen=True, slots=True)
class _Call:
    """An operator's call as rules look at it."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    shape: torch.Size
    """of the input that carried the field"""
    output: Tensor

    def get(self, position: int, name: str, default: Any = None) -> Any:
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)


def _shared_field(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Field, torch.Size] | None:
    """The field of an operator's inputs and the shape it goes with; branches that disagree meet in the middle."""
    carriers = [t for t in _tensors([*args, *kwargs.values()]) if getattr(t, _FIELD, None) is not None]
    if not carriers:
        return None
    fields: list[Field] = [getattr(t, _FIELD) for t in carriers]
    first = fields[0]
    if any(other.scale != first.scale or other.axes != first.axes for other in fields):
        return None
    count = len(fields)
    merged = replace(
        first,
        offset=(sum(f.offset[0] for f in fields) / count, sum(f.offset[1] for f in fields) / count),
        receptive=(max(f.receptive[0] for f in fields), max(f.receptive[1] for f in fields)),
    )
    return merged, carriers[0].shape


def _tensors(values: list[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(list(value))


def _keep(field: Field, call: _Call) -> Field | None:
    """An operator without a rule of its own: the field goes on where the spatial size does."""
    y, x = field.axes
    shape = call.output.shape
    same = len(shape) == len(call.shape) and shape[y] == call.shape[y] and shape[x] == call.shape[x]
    return field if same else None


def _convolution(field: Field, call: _Call) -> Field:
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


def _transposed_convolution(field: Field, call: _Call) -> Field:
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


def _max_pool(field: Field, call: _Call) -> Field:
    dilation = _pair(call.get(4, "dilation", 1))
    return _pool(field, call, dilation)


def _avg_pool(field: Field, call: _Call) -> Field:
    return _pool(field, call, (1, 1))


def _pool(field: Field, call: _Call, dilation: tuple[float, float]) -> Field:
    kernel = _pair(call.get(1, "kernel_size"))
    stride, padding = _pair(call.get(2, "stride") or kernel), _pair(call.get(3, "padding", 0))
    for axis in (0, 1):
        field = field.windowed(axis, kernel[axis], stride[axis], padding[axis], dilation[axis])
    return field


def _resized(field: Field, call: _Call) -> Field | None:
    """Adaptive pooling and interpolation: the new cells share out the extent of the old ones evenly."""
    if call.output.ndim != 4 or (call.output.shape[2] == 1 and call.output.shape[3] == 1):
        return None
    for axis in (0, 1):
        old, new = call.shape[2 + axis], call.output.shape[2 + axis]
        if call.get(4, "align_corners") and new > 1:
            field = replace(field, scale=_with(field.scale, axis, field.scale[axis] * (old - 1) / (new - 1)))
        else:
            field = field.windowed(axis, old / new, old / new, 0)
    return field


def _padded(field: Field, call: _Call) -> Field | None:
    pads = list(call.get(1, "pad"))
    pads += [0] * (4 - len(pads))
    if call.output.ndim != 4 or field.axes != (2, 3):
        return None
    left, top = pads[0], pads[2]
    return field.windowed(0, 1, 1, top).windowed(1, 1, 1, left)


def _permuted(field: Field, call: _Call) -> Field:
    order = call.args[1] if isinstance(call.args[1], tuple | list) else call.args[1:]
    order = [d % len(call.shape) for d in order]
    return replace(field, axes=(order.index(field.axes[0]), order.index(field.axes[1])))


def _transposed(field: Field, call: _Call) -> Field:
    a, b = call.args[1] % len(call.shape), call.args[2] % len(call.shape)
    swap = {a: b, b: a}
    return replace(field, axes=(swap.get(field.axes[0], field.axes[0]), swap.get(field.axes[1], field.axes[1])))


def _sliced(field: Field, call: _Call) -> Field | None:
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if Ellipsis in index:
        gap = index.index(Ellipsis)
        missing = len(call.shape) - (len(index) - 1)
        index = (*index[:gap], *[slice(None)] * missing, *index[gap + 1 :])
    if not all(isinstance(part, slice) for part in index):
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


_RULES: dict[str, Callable[[Field, _Call], Field | None]] = {
    "conv2d": _convolution,
    "conv_transpose2d": _transposed_convolution,
    "max_pool2d": _max_pool,
    "_max_pool2d": _max_pool,
    "boolean_dispatch": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _resized,
    "adaptive_max_pool2d": _resized,
    "interpolate": _resized,
    "pad": _padded,
    "permute": _permuted,
    "transpose": _transposed,
    "__getitem__": _sliced,
}
