"""Where the cells of a layer lie."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from xaipipe import Grid, Model
from xaipipe.models.geometry import derived_field, measured_grid
from xaipipe.models.layers import NamedLayer


@dataclass(frozen=True)
class Place:
    """A layer's grid, and how it was found."""

    layer: str
    grid: Grid
    source: str


class Places:
    """Of the layers of models, each found once for inputs of one size."""

    def __init__(self) -> None:
        self._known: dict[tuple[int | str, ...], Place] = {}

    def of(self, model: Model, pixels: Tensor, layer: str) -> Place:
        key = (id(model.module), layer, *pixels.shape[1:])
        if key not in self._known:
            self._known[key] = _find(model, pixels, layer)
        return self._known[key]


def _find(model: Model, pixels: Tensor, name: str) -> Place:
    layer = NamedLayer(name, dict(model.module.named_modules())[name])
    field = derived_field(model.module, layer, pixels)
    if field is not None:
        return Place(name, field.grid, "derived from the network's operators")
    return Place(name, measured_grid(model.module, layer, pixels), "measured by gradients: an operator has no rule")
