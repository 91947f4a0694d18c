"""Explaining a model from Python, on tensors."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from xaipipe.errors import InputError
from xaipipe.models.model import Model, as_found
from xaipipe.registry import Registry
from xaipipe.running.checks import checked
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Explanation


def explain(model: nn.Module | Model, x: Tensor, method: str = "gradcam", **params: Any) -> Explanation:
    """Explain what a model sees in a batch of preprocessed images.

    `method` is a name from `xaipipe methods`; `params` are that method's parameters, such as `target` and `layer`.
    The model is left as it was found.

    >>> e = xaipipe.explain(model, x, method="gradcam", target=281, layer="features.18")
    >>> e.values, e.grid, e.scores, e.diagnostics
    >>> e.to_input()            # [N, C, H, W] at input resolution, geometry-true
    """
    return explain_with(_installed(), model, x, method, **params)


def explain_with(registry: Registry, model: nn.Module | Model, x: Tensor, method: str, **params: Any) -> Explanation:
    """`explain` with the plugins of a registry."""
    kind = registry.method("explain", method)
    explainer = cast(Explainer, kind(kind.Params.parse(params, f"explain method '{method}'")))
    if not isinstance(model, nn.Module | Model):
        raise InputError("the model is not a model", got=type(model).__name__, expected="a torch.nn.Module")
    handle = model if isinstance(model, Model) else Model.of(model)
    pixels = _checked_pixels(x, handle.device)
    # inside inference mode nothing has a gradient; leaving it, where it is off already, would switch gradients on
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outside, as_found(handle.module):
        own = pixels.clone() if pixels.is_inference() else pixels
        everywhere = torch.ones(len(own), *own.shape[2:], dtype=torch.bool, device=own.device)
        batch = Batch(tiles=(), pixels=own, valid=everywhere)
        return checked(explainer, batch, lambda batch: explainer.explain(batch, handle))


def _checked_pixels(x: Tensor, device: torch.device) -> Tensor:
    if not isinstance(x, Tensor) or x.ndim != 4 or len(x) == 0:
        got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            "the input is not a batch of images",
            got=got,
            expected="a tensor [N, C, H, W]",
            hint="add the batch's axis: x[None]" if isinstance(x, Tensor) and x.ndim == 3 else None,
        )
    if not x.is_floating_point():
        raise InputError(
            "the input is not what a model sees",
            got=x.dtype,
            expected="floating point",
            hint="scale and normalise it as the model was trained",
        )
    if x.device != device:
        raise InputError("the input lies on another device than the model", got=x.device, expected=device)
    finite = torch.isfinite(x).flatten(1).all(dim=1)
    if not finite.all():
        bad = int((~finite).nonzero()[0, 0])
        raise InputError("the input holds NaN or infinity", got=f"image {bad}", expected="finite pixels")
    return x


@cache
def _installed() -> Registry:
    return Registry()
