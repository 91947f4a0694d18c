"""One look at all layers of a model: what each puts out, where its cells lie, whether anything comes past it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from xaipipe.errors import InputError
from xaipipe.models.fields import Field
from xaipipe.models.forward import forward
from xaipipe.models.layers import NamedLayer, watch
from xaipipe.models.meeting import Energy, Slope, spread
from xaipipe.models.model import Model
from xaipipe.models.outputs import chosen_output
from xaipipe.models.scattered import laid_out
from xaipipe.models.tracing import Nowhere, Trace, Tracer, tensors_in

_SEED = 0
_MOST_PIXELS = 3 << 20
"""Of all channels of an image that is differentiated, which keeps what every operator has seen."""


@dataclass(frozen=True)
class SeenLayer:
    """What a layer put out, when it last ran, for one image."""

    layer: NamedLayer
    output: torch.Size | str
    """Its shape; where it is no tensor, what it is."""
    field: Field | None
    """Where its cells lie; None where that cannot be derived."""
    alone: bool
    """All that the model's output takes from the image goes through it."""
    inner: bool
    """A layer around it puts out the very same."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of its maps; None where it puts out none."""
        layout = self.layer.layout
        if isinstance(self.output, str) or len(self.output) != len(layout.axes):
            return None
        return layout.size or (self.output[layout.axes[2]], self.output[layout.axes[3]])

    @property
    def channels(self) -> int:
        assert not isinstance(self.output, str)
        return self.output[self.layer.layout.axes[1]]

    @property
    def is_spatial(self) -> bool:
        """Whether its maps have more than one cell."""
        return self.size is not None and self.size != (1, 1)


def survey(model: nn.Module | Model, pixels: Tensor) -> list[SeenLayer]:
    """The layers of a model in the order in which they (last) put something out.

    One image of noise is looked at: where branches disagree about where their cells lie, it depends on what they
    contribute, and that must not change from one batch to the next. Only then it is looked at with gradients too.
    """
    handle = model if isinstance(model, Model) else Model.of(model)
    image = noise(pixels)
    with torch.no_grad():
        seen = _looked_at(handle, image, spread)
    if image[0].numel() > _MOST_PIXELS or not any(one.field and one.field.apart for one in seen):
        return seen
    with torch.enable_grad(), suppress(InputError):  # a model that cannot be differentiated is told elsewhere
        image.requires_grad_()
        seen = _looked_at(handle, image, Slope(image))
    return seen


def _looked_at(model: Model, image: Tensor, energy: Energy) -> list[SeenLayer]:
    layers = [NamedLayer(name, module) for name, module in model.module.named_modules() if name]
    looking = _Looking(layers, Tracer(energy))
    looking.tracer.begin(image)
    with ExitStack() as hooks, looking.tracer:
        for index, layer in enumerate(layers):
            if not isinstance(layer.module, torch.jit.ScriptModule):  # which does not let itself be watched
                hooks.enter_context(watch(layer.module, partial(looking.look, index)))
        answer = forward(model.module, image, model.source)
    through = _through(looking.tracer, answer, model)
    return [_seen(layers[index], glimpse, index in through) for index, glimpse in looking.glimpses.items()]


@dataclass(eq=False)
class _Glimpse:
    """What was seen of one layer."""

    output: torch.Size | str
    trace: Trace | None
    inner: bool = False


class _Looking:
    """What the layers of one forward pass put out, the last one last."""

    def __init__(self, layers: Sequence[NamedLayer], tracer: Tracer) -> None:
        self.tracer = tracer
        self.glimpses: dict[int, _Glimpse] = {}
        self._layers = layers
        self._before: tuple[Callable[[], Tensor | None], int, int] = (lambda: None, 0, 0)

    def look(self, index: int, output: Any) -> None:
        self.glimpses.pop(index, None)  # a layer's last run counts, also in the order
        if not isinstance(output, Tensor):
            self.glimpses[index] = _Glimpse(type(output).__name__, None)
            return
        self.tracer.passed(output, index)
        self.glimpses[index] = _Glimpse(output.shape, self.tracer.of(output))
        before, version, last = self._before
        written = 0 if output.is_inference() else output._version
        if before() is output and version == written and self._is_within(last, index):
            self.glimpses[last].inner = True
        self._before = (ref(output), written, index)

    def _is_within(self, inner: int, outer: int) -> bool:
        return self._layers[inner].name.startswith(f"{self._layers[outer].name}.")


def _seen(layer: NamedLayer, glimpse: _Glimpse, alone: bool) -> SeenLayer:
    output, trace = glimpse.output, glimpse.trace
    if isinstance(output, str) or trace is None or isinstance(trace.places, Nowhere):
        return SeenLayer(layer, output, None, alone, glimpse.inner)
    layout, field = laid_out(trace.places, output) or (layer.layout, None)
    return SeenLayer(replace(layer, layout=layout), output, field, alone, glimpse.inner)


def _through(tracer: Tracer, answer: Any, model: Model) -> frozenset[int]:
    """The layers that all goes through of what is asked of the model; of all its outputs where none is chosen."""
    asked = answer if model.output is None else chosen_output(answer, model.output, model.source)
    traces = [trace for tensor in tensors_in([asked]) if (trace := tracer.of(tensor)) is not None]
    return frozenset.intersection(*(trace.through for trace in traces)) if traces else frozenset()


def noise(pixels: Tensor, images: int = 1) -> Tensor:
    """The same normally distributed images whenever they are asked for, of the size of some pixels."""
    drawn = torch.randn((images, *pixels.shape[1:]), generator=torch.Generator().manual_seed(_SEED))
    return drawn.to(pixels.device, pixels.dtype)
