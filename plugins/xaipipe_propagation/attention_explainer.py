"""The base of methods that read a vision transformer's attention, and whose cells are its patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xaipipe import Batch, Explainer, Explanation, Grid, Model
from xaipipe.models.geometry import derived_field, measured_grid
from xaipipe.models.layers import NamedLayer
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation import Gradient, gradient_with
from xaipipe_propagation.attention_maps import Attention, Noted, asked_noting, attention_of


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches lie, and how that was found."""

    layer: str
    grid: Grid
    source: str


class AttentionExplainer(Explainer):
    """One forward pass under the gradient's rules; of it a subclass makes the map [N, 1, h, w] of each question."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._grids: dict[tuple[int, ...], PatchGrid] = {}

    @abstractmethod
    def maps(
        self, batch: Batch, model: Model, attention: Attention, selections: Sequence[Selection]
    ) -> Iterator[Tensor]:
        """In the order of the selections."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, (self.params.question,))[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        noted = Noted(Gradient())
        rules = gradient_with({"softmax": noted, "convolution": noted})
        selections = asked_noting(model, batch.pixels, questions, rules)
        attention = attention_of(noted.seen, selections[0].outputs, len(batch.pixels), model.source)
        grid = self._grid(model, batch.pixels, attention.patches.operation.layer)
        maps = self.maps(batch, model, attention, selections)
        return [
            _explanation(batch, selection, values, attention, grid)
            for selection, values in zip(selections, maps, strict=True)
        ]

    def _grid(self, model: Model, pixels: Tensor, layer: str) -> PatchGrid:
        key = (id(model.module), *pixels.shape[1:])
        if key not in self._grids:
            self._grids[key] = _find_grid(model, pixels, layer)
        return self._grids[key]


def _find_grid(model: Model, pixels: Tensor, name: str) -> PatchGrid:
    layer = NamedLayer(name, dict(model.module.named_modules())[name])
    field = derived_field(model.module, layer, pixels)
    if field is not None:
        return PatchGrid(name, field.grid, "derived from the network's operators")
    return PatchGrid(name, measured_grid(model.module, layer, pixels), "measured by gradients: an operator has no rule")


def _explanation(
    batch: Batch, selection: Selection, values: Tensor, attention: Attention, place: PatchGrid
) -> Explanation:
    facts = {
        "layers": len(attention.weights),
        "tokens": int(attention.weights[0].shape[-1]),
        "patch_embedding": place.layer,
        "grid": place.source,
        "on_patches": values.sum(dim=(1, 2, 3)).tolist(),
    }
    return Explanation(
        values=values.to(batch.pixels.dtype),
        grid=place.grid,
        targets=selection.targets,
        scores=selection.scores.detach(),
        input_size=(int(batch.pixels.shape[2]), int(batch.pixels.shape[3])),
        diagnostics={**selection.asked, **facts},
        tiles=batch.tiles,
    )
