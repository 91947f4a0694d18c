"""What class activation methods start from: a layer's maps, the target's gradient there, and where the cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Layer, Model
from xaipipe.models.geometry import derived_field, measured_grid
from xaipipe.models.layers import NamedLayer, activation_and_gradient, find_layer, graph_from
from xaipipe.models.targets import Selection


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
    gradient: Tensor | None
    """None where it was not asked for."""
    selection: Selection
    place: Place
    batch: Batch

    @property
    def cells(self) -> int:
        return self.activation.shape[2] * self.activation.shape[3]

    def explanation(self, values: Tensor) -> Explanation:
        """Values [N, C, h, w] on the layer's cells."""
        return Explanation(
            values=values,
            grid=self.place.grid,
            targets=self.selection.targets,
            scores=self.selection.scores.detach(),
            input_size=tuple(self.batch.pixels.shape[2:]),
            diagnostics={"layer": self.place.layer.name, "grid": self.place.source, **self.selection.asked},
            tiles=self.batch.tiles,
        )


class LayerExplainer(Explainer):
    """Base of methods that read one layer. Finding it and its grid is done once for inputs of one size."""

    class Params(ExplainerParams):
        layer: Layer = Field("auto", description="dotted name of a layer with maps; auto: the last one")

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._places: dict[tuple[int, ...], Place] = {}

    def layer_maps(self, batch: Batch, model: Model, gradient: bool = True) -> LayerMaps:
        """One forward pass, and where wanted a backward pass from the score to the layer only."""
        place = self._place(model.module, batch.pixels)
        with graph_from(place.layer) as captured:
            selection = model.score(batch.pixels.detach(), self.params.question)
            activation, slope = activation_and_gradient(captured, place.layer, selection.scores, gradient)
        return LayerMaps(activation, slope, selection, place, batch)

    def _place(self, module: nn.Module, pixels: Tensor) -> Place:
        key = (id(module), *pixels.shape[1:])
        if key not in self._places:
            self._places[key] = _find_place(module, self.params.layer, pixels)
        return self._places[key]


def _find_place(module: nn.Module, layer: str | nn.Module, pixels: Tensor) -> Place:
    found = find_layer(module, layer, pixels)
    field = derived_field(module, found, pixels)
    if field is not None:
        return Place(found, field.grid, "derived from the network's operators")
    return Place(found, measured_grid(module, found, pixels), "measured by gradients: an operator has no rule")
