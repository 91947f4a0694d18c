"""Layers by name: finding them, choosing one, and seeing what one of them puts out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, WithJsonSchema
from torch import Tensor, nn

from xaipipe.errors import InputError, UsageError, did_you_mean
from xaipipe.models.forward import forward


def _parse(value: Any) -> Any:
    if not isinstance(value, str | nn.Module):
        raise ValueError("a layer's dotted name, a module of the model, or 'auto'")
    return value


Layer = Annotated[str | nn.Module, BeforeValidator(_parse), WithJsonSchema({"type": "string"})]
"""A layer's dotted name, 'auto' for the last one with space, or (from Python) the module itself."""

_RESHAPERS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Identity, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True, slots=True)
class NamedLayer:
    name: str
    module: nn.Module


def find_layer(model: nn.Module, layer: str | nn.Module, pixels: Tensor) -> NamedLayer:
    """The layer that a name, a module or 'auto' stands for."""
    if layer == "auto":
        return last_spatial_layer(model, pixels)
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


def last_spatial_layer(model: nn.Module, pixels: Tensor) -> NamedLayer:
    """The last layer to put out maps with more than one cell; of nested ones the outermost."""
    last: list[NamedLayer] = []

    def note(layer: NamedLayer, output: Any) -> None:  # returns nothing, so that outputs stay as they are
        if is_map(output) and output.shape[-1] * output.shape[-2] > 1:
            last[:] = [layer]

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if name and not isinstance(module, _RESHAPERS):
                hooks.enter_context(watch(module, partial(note, NamedLayer(name, module))))
        forward(model, pixels[:1])
    if not last:
        raise UsageError(
            "no layer of the model puts out maps [N, C, h, w]",
            where=type(model).__name__,
            hint="name a layer, or use a method that needs none (saliency)",
        )
    return last[0]


def require_map(layer: NamedLayer, output: Any) -> None:
    """Refuse a layer that puts out something else than maps."""
    if not is_map(output):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(f"layer '{layer.name}' has no spatial output", got=got, expected="a tensor [N, C, h, w]")


def is_map(output: Any) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4


@dataclass(slots=True)
class Captured:
    """What a layer put out: a leaf of the graph that starts there."""

    activation: Tensor | None = None


@contextmanager
def graph_from(layer: NamedLayer) -> Iterator[Captured]:
    """Inside, a forward pass records gradients only from this layer on, for its output as a leaf.

    What lies before the layer costs no memory. A module that runs several times counts with its last run.
    """
    captured = Captured()

    def cut(output: Any) -> Tensor:
        require_map(layer, output)
        torch.set_grad_enabled(True)  # until the surrounding no_grad ends
        captured.activation = output.detach().requires_grad_()
        # a copy goes on, so that an in-place operator behind the layer cannot overwrite the leaf
        return captured.activation.clone()

    with torch.no_grad(), watch(layer.module, cut):
        yield captured


def activation_and_gradient(
    captured: Captured, layer: NamedLayer, scores: Tensor, gradient: bool = True
) -> tuple[Tensor, Tensor | None]:
    """The captured map and, where wanted, the gradient of the summed scores with respect to it."""
    activation = captured.activation
    if activation is None:
        raise UsageError(f"layer '{layer.name}' was not run by the model's forward pass")
    if not scores.requires_grad:
        raise _independent(layer)
    slope = _gradient(activation, layer, scores) if gradient else None
    return activation.detach(), slope


def _gradient(activation: Tensor, layer: NamedLayer, scores: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(scores.sum(), activation, allow_unused=True)
    if gradient is None:
        raise _independent(layer)
    if not torch.isfinite(gradient).all():
        raise InputError("the gradient holds NaN or infinity", where=f"layer '{layer.name}'")
    return gradient


def _independent(layer: NamedLayer) -> UsageError:
    return UsageError(
        f"the target does not depend on layer '{layer.name}' by differentiable operators",
        hint="name another layer, or look for torch.no_grad, detach, argmax or numpy behind it",
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
