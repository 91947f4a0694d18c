"""The base of methods that read a vision transformer's attention, and whose cells are its patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from xaipipe import Batch, Explainer, Explanation, Model
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation import Gradient, gradient_with
from xaipipe_propagation.attention_maps import Attention, Noted, asked_noting, attention_of
from xaipipe_propagation.places import Place, Places


class AttentionExplainer(Explainer):
    """One forward pass under the gradient's rules; of it a subclass makes the map [N, 1, h, w] of each question."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._places = Places()

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
        place = self._places.of(model, batch.pixels, attention.patches.operation.layer)
        maps = self.maps(batch, model, attention, selections)
        return [
            _explanation(batch, selection, values, attention, place)
            for selection, values in zip(selections, maps, strict=True)
        ]


def _explanation(batch: Batch, selection: Selection, values: Tensor, attention: Attention, place: Place) -> Explanation:
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
