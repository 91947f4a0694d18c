"""One forward pass that is recorded from a layer on, and the gradients of many questions there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xaipipe.models.differentiable import require_differentiable
from xaipipe.models.forward import Forward
from xaipipe.models.layers import NamedLayer, arrived, independent, not_run, require_map, watch
from xaipipe.models.model import Model
from xaipipe.models.targets import Question, Selection
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation.answers import mapped
from xaipipe.propagation.compiled import uncompiled
from xaipipe.propagation.gradient import gradient_with
from xaipipe.propagation.interception import Interception
from xaipipe.propagation.passes import AT_ONCE, BackwardError, beginning, for_each, going_back
from xaipipe.propagation.rules import Rules


@dataclass(frozen=True, eq=False)
class LayerPass:
    """What some layers put out, and the scores that were made of it. What lies before the layers cost no memory."""

    outputs: tuple[Tensor, ...]
    """Maps [N, C, h, w], one a layer, in the graph of the scores; of a layer that ran several times the last.

    What of the layer's output has no place on the image, such as a class token, goes on as it is."""
    selections: tuple[Selection, ...]
    layers: tuple[NamedLayer, ...]
    source: str
    undescribed: tuple[str, ...]
    """Operators behind the layers that nobody has described, whose gradient is torch's."""
    batches: bool
    """Whether torch can take the gradients of several questions at once."""

    def gradients(self, ends: Sequence[Tensor] | None = None) -> list[tuple[Tensor, ...]]:
        """For every question ∂(Σ scores)/∂output, one a layer; or at other tensors of the graph in their place."""
        ends = self.outputs if ends is None else ends
        for selection in self.selections:
            self._require_dependent(selection)
        size = max(1, AT_ONCE // len(self.selections[0].scores)) if self.batches else 1
        chunks = [self.selections[first : first + size] for first in range(0, len(self.selections), size)]
        return [found for chunk in chunks for found in self._of(chunk, ends)]

    def _of(self, selections: Sequence[Selection], ends: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        try:
            return self._pulled(selections, ends)
        except BackwardError:
            if len(selections) == 1:
                raise
            return [self._pulled([one], ends)[0] for one in selections]

    def _pulled(self, selections: Sequence[Selection], ends: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        outputs = selections[0].outputs

        def back(begun: Tensor) -> tuple[Tensor, ...]:
            found = torch.autograd.grad(outputs, ends, begun, retain_graph=True, allow_unused=True)
            for layer, part in zip(self.layers, found, strict=True):
                if part is None:
                    raise independent(layer)
            return found

        with going_back(self.source):
            begins = [beginning(selection, "gradient", self.source) for selection in selections]
            each = for_each(back, begins)
        for found in each:
            for layer, gradient in zip(self.layers, found, strict=True):
                arrived(gradient, layer)
        return each

    def _require_dependent(self, selection: Selection) -> None:
        if not selection.outputs.requires_grad:
            raise independent(self.layers[0])
        require_differentiable(selection, self.source)


def pass_from(
    model: Model,
    pixels: Tensor,
    questions: Sequence[Question],
    layers: Sequence[NamedLayer],
    rules: Rules | None = None,
) -> LayerPass:
    """Run the model once; of its operators only those behind the first of the layers are recorded."""
    recording = _Recording(model, len(pixels), layers, rules or gradient_with(), len(questions) > 1)
    with torch.no_grad():
        selections = model.ask(pixels.detach(), questions, recording.run)
    recording.mode.ruling.captured.require_unchanged()
    return LayerPass(
        outputs=recording.outputs,
        selections=selections,
        layers=tuple(layers),
        source=model.source,
        undescribed=tuple(recording.mode.undescribed),
        batches=not recording.mode.saw_foreign,
    )


class _Recording:
    def __init__(self, model: Model, images: int, layers: Sequence[NamedLayer], rules: Rules, several: bool) -> None:
        cache = WeightCache() if model.weights is None else model.weights
        self.mode = Interception(model.module, rules, cache, images, lambda: "", several)
        self._layers = layers
        self._found: dict[int, Tensor] = {}

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        for index, layer in enumerate(self._layers):
            if index not in self._found:
                raise not_run(layer)
        return tuple(self._found[index] for index in range(len(self._layers)))

    def run(self, call: Forward, pixels: Tensor) -> Any:
        try:
            with uncompiled(), self._watched(), self.mode:
                return mapped(self.mode.current, call(pixels))
        finally:
            self.mode.forget()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with ExitStack() as hooks:
            for index, layer in enumerate(self._layers):
                hooks.enter_context(watch(layer.module, partial(self._look, index)))
            yield

    def _look(self, index: int, output: Any) -> Tensor:
        """Of a layer's output: where it does not depend on another layer before it, the graph begins with its maps."""
        layer = self._layers[index]
        require_map(layer, output)
        output = self.mode.current(output)
        torch.set_grad_enabled(True)  # until the surrounding no_grad ends
        others = self._found.keys() - {index}
        if others and self.mode.marks.of(output) is not None:
            self._found[index] = maps = self.mode.tapped(layer.layout.to_maps(output))
        else:
            with torch._C.DisableTorchFunction():  # for the mode a leaf is a parameter
                self._found[index] = leaf = layer.layout.to_maps(output).detach().requires_grad_()
                maps = leaf.clone()  # what writes into it out of sight does not reach the leaf
            self.mode.begin(maps)
        return layer.layout.from_maps(maps, output)
