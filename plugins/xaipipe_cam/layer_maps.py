"""What class activation methods start from: a layer's maps, the target's gradient there, and where the cells lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Layer, Model
from xaipipe.models.layers import activation_and_gradient, graph_from
from xaipipe.models.places import Place, find_place
from xaipipe.models.targets import Selection


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
        place = self._place(model, batch.pixels)
        with graph_from(place.layer) as captured:
            selection = model.score(batch.pixels.detach(), self.params.question)
            activation, slope = activation_and_gradient(captured, place.layer, selection.scores, gradient)
        return LayerMaps(activation, slope, selection, place, batch)

    def _place(self, model: Model, pixels: Tensor) -> Place:
        key = (id(model.module), *pixels.shape[1:])
        if key not in self._places:
            self._places[key] = find_place(model, self.params.layer, pixels)
        return self._places[key]
