"""Layers by name, and seeing what one of them puts out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, WithJsonSchema
from torch import Tensor, nn

from xaipipe.errors import InputError, UsageError, did_you_mean
from xaipipe.models.layout import MAPS, Layout

_EXPECTED = "a layer's dotted name, a module of the model, 'auto', or a list of these"
_LISTED = "`xaipipe layers` lists those that have one; 'auto' is the last"


def _parse(value: Any) -> Any:
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",")]
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed or not all(isinstance(one, str | nn.Module) for one in listed):
        raise ValueError(_EXPECTED)
    return tuple(listed) if isinstance(value, list | tuple) else value


_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
OneLayer = str | nn.Module
Layer = Annotated[OneLayer | tuple[OneLayer, ...], BeforeValidator(_parse), WithJsonSchema(_SCHEMA)]
"""A layer's dotted name, 'auto' for the last one with space, or (from Python) the module itself; or a list of these."""


@dataclass(frozen=True, slots=True)
class NamedLayer:
    name: str
    module: nn.Module
    layout: Layout = MAPS
    """How its output becomes maps."""


def named_layer(model: nn.Module, layer: OneLayer) -> NamedLayer:
    """The layer that a name or a module stands for."""
    named = dict(model.named_modules())
    if isinstance(layer, str):
        if layer not in named or not layer:
            hint = did_you_mean(layer, [name for name in named if name])
            raise UsageError(f"the model has no layer '{layer}'", where=type(model).__name__, hint=hint)
        return NamedLayer(layer, named[layer])
    for name, module in named.items():
        if module is layer:
            return NamedLayer(name or "the model", module)
    raise UsageError("the layer is not part of the model", got=type(layer).__name__, where=type(model).__name__)


def require_map(layer: NamedLayer, output: Any) -> None:
    """Refuse a layer that puts out something else than maps."""
    if not layer.layout.fits(output):
        raise no_maps(layer, tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__)


def no_maps(layer: NamedLayer, got: object, around: str | None = None) -> UsageError:
    """`around`: the layer around it that has maps."""
    expected = "a tensor [N, C, h, w], or tokens that lie on the image" if layer.layout == MAPS else layer.layout.words
    return UsageError(
        f"layer '{layer.name}' has no spatial output",
        got=got,
        expected=expected,
        hint=_LISTED if around is None else f"name '{around}', the layer around it, whose output has",
    )


@dataclass(slots=True)
class Captured:
    """The maps [N, C, h, w] that a layer put out, whatever its layout is: what gradients can be taken for."""

    activation: Tensor | None = None


@contextmanager
def graph_from(layer: NamedLayer) -> Iterator[Captured]:
    """Inside, a forward pass records gradients only from this layer on, for its maps as a leaf.

    What lies before the layer costs no memory. A module that runs several times counts with its last run. Tokens that
    have no place on the image, such as class tokens, go on as they are.
    """
    captured = Captured()

    def cut(output: Any) -> Tensor:
        require_map(layer, output)
        torch.set_grad_enabled(True)  # until the surrounding no_grad ends
        captured.activation = layer.layout.to_maps(output).detach().requires_grad_()
        # a copy goes on, so that an in-place operator behind the layer cannot overwrite what was kept
        return layer.layout.from_maps(captured.activation, output).clone()

    with torch.no_grad(), watch(layer.module, cut):
        yield captured


def arrived(gradient: Tensor | None, layer: NamedLayer) -> Tensor:
    """What `torch.autograd.grad(…, allow_unused=True)` found for a layer's maps; refused where the target is not there.

    Of tokens a gradient of zeros is refused too: what reads the class token only leaves the others none.
    """
    if gradient is None:
        raise independent(layer)
    if not torch.isfinite(gradient).all():
        raise InputError("the gradient holds NaN or infinity", where=f"layer '{layer.name}'")
    if layer.layout.start and not gradient.any():
        raise independent(layer)
    return gradient


def not_run(layer: NamedLayer) -> UsageError:
    return UsageError(
        f"layer '{layer.name}' was not run by the model's forward pass",
        hint="name one that is run; `xaipipe layers` lists those with maps",
    )


def independent(layer: NamedLayer) -> UsageError:
    return UsageError(
        f"the target does not depend on layer '{layer.name}' by differentiable operators",
        hint="name another layer, 'auto' is one; or look for torch.no_grad, detach, argmax or numpy behind it",
    )


@contextmanager
def watch(module: nn.Module, look: Callable[[Any], Any]) -> Iterator[None]:
    """Call `look(output)` after the module ran in this thread; what it returns, if anything, replaces the output."""
    owner = threading.get_ident()

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        return look(output) if threading.get_ident() == owner else None

    try:
        handle = module.register_forward_hook(hook)
    except RuntimeError:
        raise UsageError(
            "a scripted model does not let its layers be seen",
            got=type(module).__name__,
            hint="explain the model that it was scripted from, or use a method that needs no layer (saliency)",
        ) from None
    try:
        yield
    finally:
        handle.remove()
