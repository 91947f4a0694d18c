"""Excitation backprop: a probability that walks from the target back to what excites it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from xaipipe import Batch, Model
from xaipipe.propagation import Rules
from xaipipe.propagation.passes import Start
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.relevance import RelevanceExplainer
from xaipipe_propagation.rules import Contrast, Excite, ExciteAverage, ExciteMixed, ExciteSum, Pass, Through


class ExcitationBackprop(RelevanceExplainer):
    """The probability that a random walk from the target back through what excites it ends at each cell.

    One at the target; each winner hands its probability to its inputs in proportion to x_i w_ij⁺, so that every layer
    sums to one. Biases take no part, as in the paper; batch norms are folded, and of a maximum the winner gets all.
    Where inputs or outputs are negative, contributions below zero excite an output below zero, those above zero any
    other; in the last weighted layer those above zero count, whatever the score. Norms and activations hand on what
    they get; of attention and gates the signal gets all. `contrastive` takes off, at the input of the last weighted
    layer, what would excite the negated target: both are probabilities there, so the map sums to zero.

    Misleads when: classes share what they rest on, where their maps look alike without `contrastive`; at the pixels,
    where winners are single: a layer in the middle shows objects; and where biases hold up much, since what nothing
    excites has nobody to hand on to. Depthwise convolutions with folded norms lose most of it on the way to the pixels.
    `bias` in the diagnostics says how much; it holds what class tokens keep, too, and what the contrast takes off.

    Example: `xaipipe.explain(model, x, method="excitation_backprop", target=281, layer="layer3", contrastive=True)`

    Reference: Zhang et al.: Top-Down Neural Attention by Excitation Backprop, 2016.
    """

    name = "excitation_backprop"
    start: ClassVar[Start] = "probability"

    class Params(RelevanceExplainer.Params):
        contrastive: bool = Field(False, description="less what would excite the negated target")

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
