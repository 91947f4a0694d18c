"""The base of methods that show a class activation map in the detail of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Layer, Model, Question
from xaipipe.nested import NestedMethod
from xaipipe_cam.layer_maps import LayerReader


class GuidedExplainer(Explainer):
    """A map of the pixels, times a layer's map at input resolution."""

    maps: ClassVar[type[LayerReader]]

    class Params(ExplainerParams):
        layer: Layer = LayerReader.Params.model_fields["layer"]
        pixels: NestedMethod = Field("guided_backprop", description="the method that makes the map of the pixels")

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._where = self.maps(layer=self.params.layer)
        self._what = self.params.pixels.build()

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        fine = self._what.explain_each(batch, model, questions)
        coarse = self._where.explain_each(batch, model, questions)
        return [_product(one, other) for one, other in zip(fine, coarse, strict=True)]


def _product(fine: Explanation, coarse: Explanation) -> Explanation:
    diagnostics = {**coarse.diagnostics, **fine.diagnostics}
    return fine.replace(values=fine.to_input() * coarse.to_input(), grid=Grid(), diagnostics=diagnostics)
