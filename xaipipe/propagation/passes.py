"""One forward pass under rules, and backward from it for as many questions as are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.models.differentiable import require_differentiable
from xaipipe.models.forward import Forward
from xaipipe.models.model import Model
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation.compiled import uncompiled
from xaipipe.propagation.interception import Interception, Sink
from xaipipe.propagation.layers import Layers
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.rules import Rules

Start = Literal["gradient", "relevance"]
"""What begins at the output: ∂score/∂outputs, or that times the outputs, which for a logit is the logit itself."""
_AT_ONCE = 16
"""Images that go backwards together, over all targets."""


@dataclass(frozen=True, eq=False, slots=True)
class Absorbed:
    """What an operation kept to itself, per image: `amounts` [absorbers, N]."""

    operation: Operation
    amounts: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class Pulled:
    """What arrived for one question."""

    values: Tensor
    """[N, …] at the pixels, or at the layer that was asked for."""
    selection: Selection
    begun: Tensor
    """[N]: the sum of what began at the outputs."""
    absorbed: tuple[Absorbed, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """Which part of the way back is looked at."""

    layer: str | None = None
    """Stop at this layer's output; None for the pixels."""
    channels: Mapping[str, Sequence[int]] | None = None
    """Layers through whose outputs only these channels let anything pass."""


def pull_back(
    model: Model,
    pixels: Tensor,
    questions: Sequence[Question],
    rules: Rules,
    start: Start = "gradient",
    where: Where | None = None,
) -> list[Pulled]:
    """Run the model once, and go back by rules for every question."""
    run = ForwardPass(model, len(pixels), rules, where or Where())
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        selections = model.ask(leaf, questions, run.forward)
        for selection in selections:
            require_differentiable(selection, model.source)
        begins = [_beginning(selection, start) for selection in selections]
    at = run.end(leaf)
    chunk = max(1, _AT_ONCE // len(pixels))
    pulled: list[Pulled] = []
    for first in range(0, len(questions), chunk):
        some = slice(first, first + chunk)
        last = first + chunk >= len(questions)
        pulled += pulled_from(selections[some], begins[some], at, run.sinks, keep=not last)
    return pulled


def _beginning(selection: Selection, start: Start) -> Tensor:
    (gradient,) = torch.autograd.grad(selection.scores.sum(), selection.outputs, retain_graph=True)
    return gradient if start == "gradient" else gradient * selection.outputs.detach()


def pulled_from(
    selections: Sequence[Selection], begins: Sequence[Tensor], at: Tensor, sinks: Sequence[Sink], keep: bool
) -> Iterator[Pulled]:
    ends = [at, *(sink.amounts for sink in sinks)]

    def back(begun: Tensor) -> tuple[Tensor, ...]:
        found = torch.autograd.grad(selections[0].outputs, ends, begun, retain_graph=keep, allow_unused=True)
        return tuple(torch.zeros_like(end) if part is None else part for end, part in zip(ends, found, strict=True))

    several = len(begins) > 1
    arrived = torch.func.vmap(back)(torch.stack(list(begins))) if several else back(begins[0])
    for k, (selection, begun) in enumerate(zip(selections, begins, strict=True)):
        values, *amounts = (part[k] if several else part for part in arrived)
        absorbed = tuple(Absorbed(sink.operation, found) for sink, found in zip(sinks, amounts, strict=True))
        yield Pulled(values.detach(), selection, begun.reshape(len(begun), -1).sum(dim=1), absorbed)


class ForwardPass:
    """A forward pass: what runs the module, and what is needed of it afterwards."""

    def __init__(self, model: Model, images: int, rules: Rules, where: Where) -> None:
        self._layers = Layers(model.module)
        self._where, self._module = where, model.module
        self._mode = Interception(model.module, rules, model.weights, images, lambda: self._layers.innermost)
        self._at: Tensor | None = None
        for name in (*((where.layer,) if where.layer else ()), *(where.channels or ())):
            self._layers.require(name)

    @property
    def undescribed(self) -> Sequence[str]:
        """Operators without a description, whose gradient was taken."""
        return self._mode.undescribed

    @property
    def sinks(self) -> Sequence[Sink]:
        return self._mode.sinks

    def forward(self, call: Forward, pixels: Tensor) -> Any:
        self._mode.begin(pixels)
        try:
            with uncompiled(self._module), self._layers.watched(self._look), self._mode:
                return _mapped(self._mode.current, call(pixels))
        finally:
            self._mode.forget()

    @contextmanager
    def scoring(self) -> Iterator[None]:
        """Inside, scores are taken of the outputs under the rules of the pass."""
        try:
            with self._mode:
                yield
        finally:
            self._mode.forget()

    def end(self, leaf: Tensor) -> Tensor:
        """Where the way back ends."""
        if self._where.layer is None:
            return leaf
        if self._at is None:
            raise UsageError(f"layer '{self._where.layer}' was not run by the model's forward pass")
        return self._at

    def _look(self, name: str, output: Any) -> Any:
        """Of a module's output."""
        channels = (self._where.channels or {}).get(name)
        if channels is None and name != self._where.layer:
            return None
        if not isinstance(output, Tensor) or output.ndim < 2:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(f"layer '{name}' has no channels", got=got, expected="a tensor [N, C, …]")
        output = self._mode.current(output)
        if channels is not None:
            output = self._mode.passing(output, channels, name)
        if name == self._where.layer:
            output = self._mode.tapped(output)
            self._at = output
        return output


def _mapped(change: Callable[[Tensor], Tensor], answer: Any) -> Any:
    """Every tensor of a model's answer changed."""
    if isinstance(answer, Tensor):
        return change(answer)
    if isinstance(answer, dict):
        for key, value in answer.items():
            answer[key] = _mapped(change, value)
        return answer
    if isinstance(answer, tuple | list) and type(answer) in (tuple, list):
        return type(answer)(_mapped(change, part) for part in answer)
    return answer
