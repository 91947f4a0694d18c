"""Which layer is explained where none is named: the last one with space.

It is the last layer that all goes through which the model's output takes from the image, and on whose cells the output
depends. Of a vision transformer that reads its class token these are the tokens that go into the last block, not those
that come out of it. Where they are normalised before anything reads them, they are taken as normalised: to a norm the
length of a token means nothing, so no gradient in front of it points along the token, and the products of gradient and
activation cancel in the sum over channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from xaipipe.errors import UsageError
from xaipipe.models.forward import forward
from xaipipe.models.layers import graph_from, watch
from xaipipe.models.model import Model
from xaipipe.models.outputs import chosen_output
from xaipipe.models.survey import SeenLayer
from xaipipe.models.tracing import tensors_in

_RESHAPERS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Identity, nn.Dropout, nn.Dropout2d)
"""What a layer before them put out, once more."""
_DOUBTFUL = 3
"""Layers that may not matter before it is asked whether any does, which takes a pass through all of the model."""


def last_with_space(model: Model, layers: Sequence[SeenLayer], pixels: Tensor) -> SeenLayer:
    """The layer that 'auto' stands for."""
    spatial = candidates(layers)
    if not spatial:
        raise UsageError(
            "no layer of the model puts out maps [N, C, h, w] or tokens that lie on the image",
            where=type(model.module).__name__,
            hint="name a layer, or use a method that needs none (saliency)",
        )
    alone = [seen for seen in spatial if seen.alone]
    last = _last_that_matters(model, alone, pixels) if alone else _any_that_matters(model, spatial, pixels)
    return _normed(model, last, spatial, pixels) or last


def candidates(layers: Sequence[SeenLayer]) -> list[SeenLayer]:
    """Layers that put out maps of more than one cell; those whose place is known, where there are any.

    Of nested ones that put out the same, the outermost.
    """
    outer = [seen for seen in layers if not seen.inner and not isinstance(seen.layer.module, _RESHAPERS)]
    spatial = [seen for seen in outer if seen.is_spatial]
    return [seen for seen in spatial if seen.field is not None] or spatial


def _last_that_matters(model: Model, alone: Sequence[SeenLayer], pixels: Tensor) -> SeenLayer:
    """Just the last one where not even the first one matters: a head of zeros, or an output without a gradient."""
    for back, seen in enumerate(reversed(alone)):
        if _matters(model, seen, pixels):
            return seen
        if back == _DOUBTFUL and not _matters(model, alone[0], pixels):
            break
    return alone[-1]


def _any_that_matters(model: Model, spatial: Sequence[SeenLayer], pixels: Tensor) -> SeenLayer:
    """The last one where there is no layer that all goes through."""
    return next((seen for seen in reversed(spatial) if _matters(model, seen, pixels)), spatial[-1])


def _normed(model: Model, last: SeenLayer, spatial: Sequence[SeenLayer], pixels: Tensor) -> SeenLayer | None:
    """The layer behind the last one that hands on all its cells, where there is one: a norm that all readers share."""
    after = spatial[spatial.index(last) + 1 :]
    if not after or (after[0].size, after[0].channels) != (last.size, last.channels):
        return None
    return None if _matters(model, last, pixels, without=after[0]) else after[0]


def _matters(model: Model, seen: SeenLayer, pixels: Tensor, without: SeenLayer | None = None) -> bool:
    """Whether the model's output depends on a layer's cells; with `without`: past that other layer."""
    with ExitStack() as looking:
        captured = looking.enter_context(graph_from(seen.layer))
        if without is not None:
            looking.enter_context(watch(without.layer.module, torch.Tensor.detach))
        answer = forward(model.module, pixels[:1], model.source)
    score = _uneven_sum(answer if model.output is None else chosen_output(answer, model.output, model.source))
    if captured.activation is None or not score.requires_grad:
        return False
    (slope,) = torch.autograd.grad(score, captured.activation, allow_unused=True)
    return slope is not None and bool(slope.any())


def _uneven_sum(answer: Any) -> Tensor:
    """Of all that a model answered; uneven, since probabilities sum to one whatever they depend on."""
    parts = [part for part in tensors_in([answer]) if part.is_floating_point()]
    sums = [(part * torch.linspace(1, 2, part.numel()).to(part).reshape(part.shape)).sum() for part in parts]
    return torch.stack(sums).sum() if sums else torch.zeros(())
