"""Transformer attribution: relevance times gradient at every attention, rolled out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, ExplainerParams, Model
from xaipipe.propagation import Rules
from xaipipe_propagation.attention_explainer import AttentionExplainer
from xaipipe_propagation.attention_maps import Asked, Attention, Noted, asked_noting, between_tokens
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.rules import BalancedSum, Excite, Pass, Through


class TransformerAttribution(AttentionExplainer):
    """Which patches the head's tokens took from, by those attention weights that speak for the target.

    Each layer is Ā = I + E_h (∇A ⊙ R)⁺: of every attention weight the gradient of the score times its relevance, the
    mean over heads of what is positive. The layers are multiplied, and the map is the row of the tokens that the head
    reads, on the patches, less I: zero where no weight speaks for the target. Relevance goes by the paper's rules: of
    weighted layers only positive contributions count, without biases; both factors of a product of matrices get half;
    summands get what they contribute, scaled so that together they get all there is; norms, activations and softmaxes
    hand it through. It begins as one at the target.

    Misleads when: maps of two targets, images or models are held against each other by their numbers: products of
    gradient and relevance have no scale (`normalised` gives rows that sum to 1, and loses which of them matters); and
    when read as evidence against the target, which it leaves out at every layer.

    Example: `xaipipe.explain(vit, x, method="transformer_attribution", target=281)`

    Reference: Chefer, Gur, Wolf: Transformer Interpretability Beyond Attention Visualization, 2021.
    """

    name = "transformer_attribution"

    class Params(ExplainerParams):
        epsilon: float = Field(1e-6, ge=0, description="stabiliser of products of matrices, sums and means")
        normalised: bool = Field(False, description="make the rows of every layer sum to 1, as in a rollout")

    def maps(self, batch: Batch, model: Model, attention: Attention, asked: Asked) -> Iterator[Tensor]:
        noted = Noted(Pass())
        settled = [selection.settled for selection in asked.selections]
        again = asked_noting(model, batch.pixels, settled, self._relevance_rules(noted))
        relevant = [one.output for one in between_tokens(noted.seen)]
        each = zip(asked.arrivals(attention.weights), again.arrivals(relevant), strict=True)
        for slopes, relevances in each:
            with torch.no_grad():
                yield attention.on_patches(self._rolled_out(attention, slopes, relevances))

    def _relevance_rules(self, softmax: Noted) -> Rules:
        eps = self.params.epsilon
        own = {
            **dict.fromkeys(("convolution", "linear"), Excite(own_sign=False)),
            **dict.fromkeys(("norm", "activation"), Pass()),
            "scale": Through(),
            "sum": BalancedSum(eps),
            "softmax": softmax,
        }
        return Composite({**around(eps, gates=False), **own})

    def _rolled_out(self, attention: Attention, slopes: Sequence[Tensor], relevances: Sequence[Tensor]) -> Tensor:
        """The product of the layers [N, tokens, tokens], without I where rows are not normalised."""
        tokens = slopes[0].shape[-1]
        itself = torch.eye(tokens, dtype=_wide(slopes[0]).dtype, device=slopes[0].device)
        rolled = itself
        for slope, relevance in zip(slopes, relevances, strict=True):
            speaking = attention.of_heads(_wide(slope) * _wide(relevance)).clamp(min=0)
            layer = itself + speaking.mean(dim=1)
            if self.params.normalised:
                layer = layer / layer.sum(dim=-1, keepdim=True)
            rolled = layer @ rolled
        return rolled if self.params.normalised else rolled - itself


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
