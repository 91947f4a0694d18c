"""What class activation methods start from: a layer's maps, the targets' gradients there, and where the cells lie."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from xaipipe import Batch, CellwiseExplainer, Explainer, ExplainerParams, Explanation, Layer, Model, Question
from xaipipe.errors import UsageError
from xaipipe.models.known_places import known_places
from xaipipe.models.places import Place
from xaipipe.models.targets import Selection
from xaipipe.propagation.layer_pass import LayerPass, pass_from
from xaipipe.resample import fused


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """A layer's activation A, ∂y/∂A for one question, and what is needed to make an explanation of them."""

    activation: Tensor
    """[N, K, h, w], whatever the layer's output looks like."""
    gradient: Tensor | None
    """None where it was not asked for."""
    selection: Selection
    place: Place
    batch: Batch

    @property
    def cells(self) -> int:
        return self.activation.shape[2] * self.activation.shape[3]

    @property
    def slope(self) -> Tensor:
        assert self.gradient is not None
        return self.gradient


class LayerReader(Explainer):
    """Base of methods that read one layer, or several of which each is explained and the maps are fused.

    All questions are answered by one forward pass.
    """

    needs_gradient: ClassVar[bool] = True

    class Params(ExplainerParams):
        layer: Layer = Field(
            "auto", description="dotted name of a layer with maps, or several with commas; auto: the last one"
        )

    @abstractmethod
    def values_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        """[N, C, h, w] of one layer, for every question; only gradient and scores are the question's own."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        layers = self.layer_maps(batch, model, questions)
        values = [self.values_of_each(each, model) for each in layers]
        by_question = zip(zip(*layers, strict=True), zip(*values, strict=True), strict=True)
        return [explanation(maps, own) for maps, own in by_question]

    def layer_maps(
        self, batch: Batch, model: Model, questions: Sequence[Question], gradient: bool | None = None
    ) -> list[list[LayerMaps]]:
        """Of every layer for each question, from one forward pass; the way back goes to the layers and no further."""
        places = known_places(model, self.params.layer, batch.pixels)
        passed, maps = self.recorded(batch, model, questions, places)
        wanted = self.needs_gradient if gradient is None else gradient
        slopes = passed.gradients(maps) if wanted else [(None,) * len(maps)] * len(questions)
        selections = [known(selection) for selection in passed.selections]
        return [
            [
                LayerMaps(own.detach(), slope[index], selection, place, batch)
                for slope, selection in zip(slopes, selections, strict=True)
            ]
            for index, (own, place) in enumerate(zip(maps, places, strict=True))
        ]

    def recorded(
        self, batch: Batch, model: Model, questions: Sequence[Question], places: Sequence[Place]
    ) -> tuple[LayerPass, Sequence[Tensor]]:
        """A pass from the layers on, and the maps in its graph that are explained."""
        passed = pass_from(model, batch.pixels, questions, [place.layer for place in places])
        return passed, passed.outputs


class LayerExplainer(LayerReader):
    """Methods that make a map of the activation and one question's gradient."""

    @abstractmethod
    def values(self, maps: LayerMaps) -> Tensor:
        """[N, C, h, w]"""

    def values_of_each(self, each: Sequence[LayerMaps], model: Model) -> list[Tensor]:
        return [self.values(maps) for maps in each]


class CellExplainer(LayerExplainer, CellwiseExplainer):
    """Methods whose map at a cell is made of the activation and the gradient there, and of nothing else."""

    def require_exact(self) -> None:
        require_one_layer(self)


def require_one_layer(reader: LayerReader) -> None:
    """Refuse several, whose cells do not lie side by side."""
    layers = reader.params.layer
    if isinstance(layers, tuple) and len(layers) > 1:
        raise UsageError(f"an exact run of '{reader.name}' explains one layer", got=", ".join(map(str, layers)))


def explanation(layers: Sequence[LayerMaps], values: Sequence[Tensor]) -> Explanation:
    """One question's values on the cells of a layer, or of the finest of several."""
    first, places = layers[0], [maps.place for maps in layers]
    together, grid = (values[0], places[0].grid) if len(layers) == 1 else fused(values, [p.grid for p in places])
    return Explanation(
        values=together,
        grid=grid,
        targets=first.selection.targets,
        scores=first.selection.scores,
        input_size=(int(first.batch.pixels.shape[2]), int(first.batch.pixels.shape[3])),
        diagnostics={
            "layer": ", ".join(place.layer.name for place in places),
            "grid": "; ".join(dict.fromkeys(place.source for place in places)),
            **first.selection.asked,
        },
        tiles=first.batch.tiles,
    )


def known(selection: Selection) -> Selection:
    """A selection without its graph."""
    return replace(selection, scores=selection.scores.detach(), outputs=selection.outputs.detach())
