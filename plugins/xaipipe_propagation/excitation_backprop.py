"""Excitation backprop: a probability that walks from the target back to what excites it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field

from xaipipe import Batch, ExplainerParams, Explanation, Grid, Model
from xaipipe.errors import UsageError
from xaipipe.models.targets import Question
from xaipipe.propagation import BackwardExplainer, Pulled, Rules, Where
from xaipipe.propagation.passes import Start
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.places import Places
from xaipipe_propagation.rules import Contrast, Excite, ExciteAverage, ExciteMixed, ExciteSum, Pass, Through


class ExcitationBackprop(BackwardExplainer):
    """The probability that a random walk from the target back through what excites it ends at each cell.

    One at the target; each winner hands its probability to its inputs by x_i w_ij⁺, so that every layer sums to one.
    Biases take no part, batch norms are folded, and of a maximum the winner gets all. Where inputs or outputs are
    negative, a contribution excites an output that is below zero when it is negative, any other when it is positive;
    the last weighted layer speaks for the target by positive contributions whatever its score. Norms and activations
    hand on what they get; of attention and gates the signal gets all. `contrastive` takes off, at the input of the last
    weighted layer, what would excite the negated target; both begin there as probabilities, so the map sums to zero.

    Misleads when: classes share what they rest on, where the maps of all look the same without `contrastive`; and at
    the pixels, where winners are single: a middle layer (`layer`) shows objects. A cell that only its bias holds up
    has nobody to hand on to (`lost`), and a class token keeps what reaches it (also `lost`).

    Example: `xaipipe.explain(model, x, method="excitation_backprop", target=281, layer="layer3", contrastive=True)`

    Reference: Zhang et al.: Top-Down Neural Attention by Excitation Backprop, 2016.
    """

    name = "excitation_backprop"
    start: ClassVar[Start] = "probability"

    class Params(ExplainerParams):
        contrastive: bool = Field(False, description="less what would excite the negated target")
        layer: str | None = Field(None, description="dotted name of the layer whose map is wanted; unset: pixels")

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._places = Places()

    def rules(self, batch: Batch, model: Model) -> Rules:
        own = {
            **dict.fromkeys(("convolution", "linear"), Excite()),
            **dict.fromkeys(("norm", "activation", "softmax"), Pass()),
            "average": ExciteAverage(),
            "matmul": ExciteMixed(),
            "scale": Through(),
            "sum": ExciteSum(),
        }
        last = Contrast() if self.params.contrastive else Excite(own_sign=False)
        return Composite({**around(0.0), **own}, last=last)

    def where(self) -> Where:
        return Where(self.params.layer)

    def diagnostics(self, pulled: Pulled) -> Mapping[str, Any]:
        arrived = pulled.values.reshape(len(pulled.values), -1).double().sum(dim=1)
        lost = torch.zeros_like(arrived)
        for part in pulled.absorbed:
            lost = lost + part.amounts.sum(dim=0)
        return {"arrived": arrived.tolist(), "lost": lost.tolist()}

    def contributions(self, batch: Batch, model: Model) -> Explanation:
        return self._placed(super().contributions(batch, model), batch, model)

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        return [self._placed(one, batch, model) for one in super().explain_each(batch, model, questions)]

    def _placed(self, explanation: Explanation, batch: Batch, model: Model) -> Explanation:
        """A layer's map on the layer's grid; the values of a layer without space are one cell."""
        values, layer = explanation.values, self.params.layer
        if layer is None:
            return explanation
        if values.ndim == 4:
            return explanation.replace(grid=self._places.of(model, batch.pixels, layer).grid)
        if values.ndim != 2:
            raise UsageError(f"layer '{layer}' has no maps", got=tuple(values.shape), expected="[N, C, h, w], [N, C]")
        height, width = batch.pixels.shape[2:]
        everywhere = Grid((float(height), float(width)), ((height - 1) / 2, (width - 1) / 2))
        return explanation.replace(values=values[:, :, None, None], grid=everywhere)
