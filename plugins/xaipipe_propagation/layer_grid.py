"""Where the relevance of a layer lies on the input."""

from __future__ import annotations

from torch import Tensor, nn

from xaipipe.models.places import find_place
from xaipipe.types import Grid


def on_layer(values: Tensor, module: nn.Module, layer: str, pixels: Tensor) -> tuple[Tensor, Grid]:
    """A layer's relevance as maps [N, C, h, w] and their grid. A layer without space has one cell: all of the input."""
    if values.ndim == 2:
        size = (float(pixels.shape[2]), float(pixels.shape[3]))
        return values[:, :, None, None], Grid(size, ((size[0] - 1) / 2, (size[1] - 1) / 2))
    place = find_place(module, layer, pixels)
    return place.layer.layout.to_maps(values), place.grid
