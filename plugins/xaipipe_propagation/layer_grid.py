"""Where the relevance of a layer lies on the input."""

from __future__ import annotations

from torch import Tensor, nn

from xaipipe.errors import UsageError
from xaipipe.models.geometry import derived_field, measured_grid
from xaipipe.models.layers import find_layer
from xaipipe.types import Grid


def on_layer(values: Tensor, module: nn.Module, layer: str, pixels: Tensor) -> tuple[Tensor, Grid]:
    """A layer's relevance as maps [N, C, h, w] and their grid. A layer without space has one cell: all of the input."""
    if values.ndim == 2:
        size = (float(pixels.shape[2]), float(pixels.shape[3]))
        return values[:, :, None, None], Grid(size, ((size[0] - 1) / 2, (size[1] - 1) / 2))
    if values.ndim != 4:
        raise UsageError(
            f"the relevance of layer '{layer}' is no map",
            got=f"a tensor {list(values.shape)}",
            expected="a layer that puts out [N, C, h, w] or [N, C]",
            hint="choose a layer before its maps become tokens",
        )
    named = find_layer(module, layer, pixels)
    field = derived_field(module, named, pixels)
    return values, field.grid if field is not None else measured_grid(module, named, pixels)
