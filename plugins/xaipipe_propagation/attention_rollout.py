"""Attention rollout: where the tokens that the head reads took their content from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, ExplainerParams, Model
from xaipipe_propagation.attention_explainer import AttentionExplainer
from xaipipe_propagation.attention_maps import Asked, Attention

Heads = Literal["mean", "min", "max"]


class AttentionRollout(AttentionExplainer):
    """How much of each patch reaches the tokens that the model's head reads, if only attention mixed them.

    Each layer is A = ½ (heads together + I), its rows made to sum to 1; the layers are multiplied. The map is the
    row of the class token, or the mean over the patches where the head averages them, or what a head that pools by
    attention takes of each; class token and registers are left out of it (`on_patches` says what share is left).
    Tokens that are not patches stand before them, as they do in timm and torchvision.

    Misleads when: it is read as evidence for a class: it is the same for every target, since scores, values and the
    layers between attentions play no part; in deep models, whose rollout tends to the same for all tokens; and with
    registers or patches that serve as storage, to which much attention goes for no reason in the picture.

    Example: `xaipipe.explain(vit, x, method="attention_rollout", heads="max", discard_ratio=0.9)`

    Reference: Abnar, Zuidema: Quantifying Attention Flow in Transformers, 2020.
    """

    name = "attention_rollout"

    class Params(ExplainerParams):
        heads: Heads = Field("mean", description="how the heads of a layer are put together")
        discard_ratio: float = Field(
            0.0, ge=0, lt=1, description="share of a layer's weakest weights between patches that are left out"
        )

    def maps(self, batch: Batch, model: Model, attention: Attention, asked: Asked) -> Iterator[Tensor]:
        with torch.no_grad():
            values = attention.on_patches(self.rolled_out(attention))
        yield from repeat(values, len(asked.selections))

    def rolled_out(self, attention: Attention) -> Tensor:
        """The product of the layers [N, tokens, tokens]; rows sum to 1."""
        patches = attention.size[0] * attention.size[1]
        rolled: Tensor | None = None
        for weights in attention.weights:
            together = _together(attention.of_heads(weights.detach()), self.params.heads)
            layer = _with_residual(_without_weakest(together, patches, self.params.discard_ratio))
            rolled = layer if rolled is None else layer @ rolled
        assert rolled is not None
        return rolled


def _together(weights: Tensor, heads: Heads) -> Tensor:
    """[N, heads, tokens, tokens] → [N, tokens, tokens]"""
    wide = weights if weights.dtype == torch.float64 else weights.float()
    if heads == "mean":
        return wide.mean(dim=1)
    return wide.amin(dim=1) if heads == "min" else wide.amax(dim=1)


def _without_weakest(together: Tensor, patches: int, ratio: float) -> Tensor:
    """Without a share of the weights from token to patch; those to class token and registers stay."""
    count = int(ratio * together.shape[-1] * patches)
    if not count:
        return together
    first = together.shape[-1] - patches
    to_patches = together[..., first:].flatten(1)
    weakest = to_patches.topk(count, dim=1, largest=False).indices
    kept = to_patches.scatter(1, weakest, 0.0).unflatten(1, (-1, patches))
    return torch.cat([together[..., :first], kept], dim=2)


def _with_residual(together: Tensor) -> Tensor:
    """½ (A + I) with rows that sum to 1."""
    layer = 0.5 * (together + torch.eye(together.shape[-1], dtype=together.dtype, device=together.device))
    return layer / layer.sum(dim=-1, keepdim=True)
