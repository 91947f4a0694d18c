"""Explaining a model from Python, on tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from xaipipe.asked import one_each
from xaipipe.errors import InputError, UsageError
from xaipipe.models.model import Model, as_found
from xaipipe.models.weight_cache import WeightCache
from xaipipe.registry import Registry
from xaipipe.running.checks import check_result, checked, named_failures
from xaipipe.stages import Explainer
from xaipipe.types import Batch, Explanation


@overload
def explain(
    model: nn.Module | Model,
    x: Tensor,
    method: str = "gradcam",
    *,
    target: list[Any] | tuple[Any, ...],
    output: int | str | None = None,
    **params: Any,
) -> list[Explanation]: ...


@overload
def explain(
    model: nn.Module | Model, x: Tensor, method: str = "gradcam", *, output: int | str | None = None, **params: Any
) -> Explanation: ...


def explain(
    model: nn.Module | Model, x: Tensor, method: str = "gradcam", *, output: int | str | None = None, **params: Any
) -> Explanation | list[Explanation]:
    """Explain what a model sees in a batch of preprocessed images.

    `method` is a name from `xaipipe methods`; `params` are that method's parameters, such as `target` and `layer`.
    A list of targets gives a list of explanations, in its order, each of all the images. `output` says which output is
    explained where the model returns several: a key, a position, or a dotted path of them.
    The model is left as it was found.

    >>> e = xaipipe.explain(model, x, method="gradcam", target=281, layer="features.18")
    >>> e.values, e.grid, e.scores, e.diagnostics
    >>> e.to_input()            # [N, C, H, W] at input resolution, geometry-true
    >>> dog, cat = xaipipe.explain(model, x, target=[243, 281])
    """
    target = params.get("target")
    if isinstance(target, list | tuple):
        others = {name: value for name, value in params.items() if name != "target"}
        return explain_each_with(installed(), model, x, method, target, output=output, **others)
    return explain_with(installed(), model, x, method, output=output, **params)


def explain_with(
    registry: Registry, model: nn.Module | Model, x: Tensor, method: str, output: int | str | None = None, **params: Any
) -> Explanation:
    """`explain` of one target, with the plugins of a registry."""
    explainer = _explainer(registry, method, params)
    with _ready(model, x, output) as (batch, handle):
        return checked(explainer, batch, lambda batch: explainer.explain(batch, handle))


def explain_each_with(
    registry: Registry,
    model: nn.Module | Model,
    x: Tensor,
    method: str,
    targets: Sequence[Any],
    output: int | str | None = None,
    **params: Any,
) -> list[Explanation]:
    """`explain` of several targets, with the plugins of a registry."""
    if not targets:
        raise UsageError("there is no target in the list", expected="at least one")
    asking = [_explainer(registry, method, {**params, "target": target}) for target in targets]
    with _ready(model, x, output) as (batch, handle):
        with named_failures(asking[0], batch):
            explanations = asking[0].explain_each(batch, handle, [one.params.question for one in asking])
        for explanation in one_each(method, explanations, len(targets)):
            check_result(asking[0], batch, explanation)
    return explanations


def _explainer(registry: Registry, method: str, params: dict[str, Any]) -> Explainer:
    kind = registry.method("explain", method)
    return cast(Explainer, kind(kind.Params.parse(params, f"explain method '{method}'", registry)))


@contextmanager
def _ready(model: nn.Module | Model, x: Tensor, output: int | str | None) -> Iterator[tuple[Batch, Model]]:
    """The images as a batch and the model as stages want them; the model is left as it was found."""
    if not isinstance(model, nn.Module | Model):
        raise InputError("the model is not a model", got=type(model).__name__, expected="a torch.nn.Module")
    handle = model if isinstance(model, Model) else Model.of(model)
    if output is None:
        output = handle.output
    handle = replace(handle, output=output, weights=handle.weights or WeightCache())
    pixels = _checked_pixels(x, handle.device)
    # inside inference mode nothing has a gradient; leaving it, where it is off already, would switch gradients on
    outside = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
    with outside, as_found(handle.module):
        own = pixels.clone() if pixels.is_inference() else pixels
        everywhere = torch.ones(len(own), *own.shape[2:], dtype=torch.bool, device=own.device)
        yield Batch(tiles=(), pixels=own, valid=everywhere), handle


def _checked_pixels(x: object, device: torch.device) -> Tensor:
    if isinstance(x, list | tuple):
        raise _not_stacked(x)
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


def _not_stacked(images: Sequence[Any]) -> InputError:
    kinds = [str(tuple(image.shape)) if isinstance(image, Tensor) else type(image).__name__ for image in images]
    mixed = len(set(kinds)) > 1
    return InputError(
        "the images of a batch are of several sizes" if mixed else "the images are not a batch, but one by one",
        got=f"{type(images).__name__} of {len(images)}: {', '.join(dict.fromkeys(kinds))}",
        expected="a tensor [N, C, H, W]",
        hint="explain each size in a call of its own, or resize them" if mixed else "torch.stack makes them one",
    )


@cache
def installed() -> Registry:
    """The plugins that are installed."""
    return Registry()
