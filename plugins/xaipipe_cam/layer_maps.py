"""What every class activation method starts from: a layer's maps, the target's gradient there, and where they lie."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xaipipe import Batch, Explanation, Grid, Layer, Model
from xaipipe.models.geometry import derived_field, measured_grid
from xaipipe.models.layers import NamedLayer, activation_and_gradient, find_layer, graph_from
from xaipipe.models.targets import Selection, Target


@dataclass(frozen=True)
class Place:
    """A layer and the grid of its cells; `source` says how the grid was found."""

    layer: NamedLayer
    grid: Grid
    source: str


@dataclass(frozen=True)
class LayerMaps:
    """A layer's activation A, ∂y/∂A, and what is needed to make an explanation of them."""

    activation: Tensor
    gradient: Tensor
    selection: Selection
    place: Place
    batch: Batch

    def explanation(self, values: Tensor) -> Explanation:
        """Values [N, C, h, w] on the layer's cells."""
        return Explanation(
            values=values,
            grid=self.place.grid,
            targets=self.selection.targets,
            scores=self.selection.scores.detach(),
            input_size=tuple(self.batch.pixels.shape[2:]),
            diagnostics={"layer": self.place.layer.name, "grid": self.place.source},
            tiles=self.batch.tiles,
        )


def layer_maps(batch: Batch, model: Model, layer: Layer, target: Target) -> LayerMaps:
    """One forward pass, and a backward pass from the score to the layer only."""
    place = _place(model.module, layer, batch.pixels)
    with graph_from(place.layer) as captured:
        selection = model.score(batch.pixels.detach(), target)
        activation, gradient = activation_and_gradient(captured, place.layer, selection.scores)
    return LayerMaps(activation, gradient, selection, place, batch)


_places: WeakKeyDictionary[nn.Module, dict[object, Place]] = WeakKeyDictionary()
"""Per model: finding a layer and its grid costs forward passes, and is the same for every batch of one size."""


def _place(module: nn.Module, layer: Layer, pixels: Tensor) -> Place:
    known = _places.setdefault(module, {})
    key = (layer, tuple(pixels.shape[1:]))
    if key not in known:
        known[key] = _find_place(module, layer, pixels)
    return known[key]


def _find_place(module: nn.Module, layer: Layer, pixels: Tensor) -> Place:
    found = find_layer(module, layer, pixels)
    with (
        graph_from(found),
        torch.no_grad(),
    ):  # a layer without maps is refused here, before its grid is asked for
        module(pixels[:1])
    field = derived_field(module, found, pixels)
    if field is not None:
        return Place(found, field.grid, "derived from the network's operators")
    return Place(found, measured_grid(module, found, pixels), "measured by gradients: an operator has no rule")
