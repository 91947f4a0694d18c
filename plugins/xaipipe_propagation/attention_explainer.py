"""The base of methods that read a vision transformer's attention, and whose cells are its patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor

from xaipipe import Batch, Explainer, Explanation, Grid, Model
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation import Gradient, gradient_with
from xaipipe_propagation.attention_maps import Asked, Attention, Noted, asked_noting, attention_of
from xaipipe_propagation.layer_grid import on_layer


class AttentionExplainer(Explainer):
    """One forward pass under the gradient's rules; of it a subclass makes the map [N, 1, h, w] of each question."""

    @abstractmethod
    def maps(self, batch: Batch, model: Model, attention: Attention, asked: Asked) -> Iterator[Tensor]:
        """In the order of the questions."""

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, (self.params.question,))[0]

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        noted = Noted(Gradient())
        rules = gradient_with({"softmax": noted, "convolution": noted})
        asked = asked_noting(model, batch.pixels, questions, rules)
        attention = attention_of(noted.seen, asked.selections[0].outputs, len(batch.pixels), model.source)
        patches = attention.patches
        _, grid = on_layer(patches.output, model.module, patches.operation.layer, batch.pixels)
        maps = self.maps(batch, model, attention, asked)
        return [
            _explanation(batch, selection, values, attention, grid)
            for selection, values in zip(asked.selections, maps, strict=True)
        ]


def _explanation(batch: Batch, selection: Selection, values: Tensor, attention: Attention, grid: Grid) -> Explanation:
    facts = {
        "layers": len(attention.weights),
        "tokens": int(attention.weights[0].shape[-1]),
        "patch_embedding": attention.patches.operation.layer,
        "on_patches": values.sum(dim=(1, 2, 3)).tolist(),
    }
    return Explanation(
        values=values.to(batch.pixels.dtype),
        grid=grid,
        targets=selection.targets,
        scores=selection.scores.detach(),
        input_size=(int(batch.pixels.shape[2]), int(batch.pixels.shape[3])),
        diagnostics={**selection.asked, **facts},
        tiles=batch.tiles,
    )
