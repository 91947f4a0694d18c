"""Where a layer's cells lie on the input, derived from the operators that the model really runs.

Every tensor of a forward pass carries a `Field`: the input position of its cell 0, the distance between cells and how
far a cell sees. `fields` has a rule for each operator that moves or resizes maps. `measured_grid` finds the same from
gradients: it stands in where an operator has no rule, and tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.errors import UsageError
from xaipipe.models.fields import Call, Field, field_after, merged_field
from xaipipe.models.forward import forward
from xaipipe.models.layers import NamedLayer, graph_from, require_map, watch
from xaipipe.types import Grid

_FIELD = "_xaipipe_field"


def derived_field(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> Field | None:
    """The field of a layer's output, or None where an operator without a rule stands before it."""
    outputs: list[Any] = []
    with watch(layer.module, outputs.append), torch.no_grad(), _Tracer():
        image = pixels[:1].detach().clone()
        setattr(image, _FIELD, Field())
        forward(module, image)
    if not outputs:
        raise UsageError(f"layer '{layer.name}' was not run by the model's forward pass")
    require_map(layer, outputs[-1])
    field: Field | None = getattr(outputs[-1], _FIELD, None)
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
        _require_plausible(scale[axis], int(pixels.shape[2 + axis]) / size[axis], layer)
        offset[axis] = ends[0] - near * scale[axis]
    return Grid((scale[0], scale[1]), (offset[0], offset[1]))


def _require_plausible(scale: float, even: float, layer: NamedLayer) -> None:
    """Cells that share out the input lie about evenly; otherwise the layer's axes are not [N, C, h, w]."""
    if not even / 2 <= scale <= even * 2:
        raise UsageError(
            f"where the cells of layer '{layer.name}' lie cannot be told",
            got=f"neighbouring cells {scale:.1f} pixels apart by their gradients",
            expected=f"about {even:.1f}, from the sizes of input and map",
            hint="choose another layer; its output has to be [N, C, h, w]",
        )


def cell_centroid(module: nn.Module, layer: NamedLayer, pixels: Tensor, cell: tuple[int, int]) -> tuple[float, float]:
    """The centre (y, x) of what one cell of a layer sees, weighted by its squared gradient."""
    image = pixels[:1].detach().clone().requires_grad_()
    kept: list[Tensor] = []
    with watch(layer.module, kept.append), torch.enable_grad():
        forward(module, image)
        (gradient,) = torch.autograd.grad(kept[-1][0, :, cell[0], cell[1]].sum(), image)
    weight = gradient[0].double().square().sum(dim=0)
    total = weight.sum()
    if total == 0:
        raise UsageError(f"cell {cell} of layer '{layer.name}' does not depend on the input")
    ys = torch.arange(weight.shape[0], dtype=torch.float64, device=weight.device)
    xs = torch.arange(weight.shape[1], dtype=torch.float64, device=weight.device)
    return float((weight.sum(1) * ys).sum() / total), float((weight.sum(0) * xs).sum() / total)


def _map_size(module: nn.Module, layer: NamedLayer, pixels: Tensor) -> tuple[int, int]:
    with graph_from(layer) as captured:
        forward(module, pixels[:1])
    assert captured.activation is not None
    return int(captured.activation.shape[2]), int(captured.activation.shape[3])


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
            for output in result if isinstance(result, tuple | list) else (result,):
                if isinstance(output, Tensor):
                    setattr(output, _FIELD, field_after(name, field, Call(args, kwargs, shape, output)))
        return result


def _shared_field(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Field, torch.Size] | None:
    """The field of an operator's inputs and the shape it goes with; branches that disagree meet in the middle."""
    carriers = [t for t in _tensors([*args, *kwargs.values()]) if getattr(t, _FIELD, None) is not None]
    if not carriers:
        return None
    merged = merged_field([getattr(t, _FIELD) for t in carriers])
    return None if merged is None else (merged, carriers[0].shape)


def _tensors(values: list[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(list(value))
