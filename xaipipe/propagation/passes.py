"""One forward pass under rules, and backward from it for as many questions as are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from xaipipe.errors import InputError, UsageError, XaipipeError
from xaipipe.models.differentiable import require_differentiable, required_gradient
from xaipipe.models.forward import Forward, is_out_of_memory
from xaipipe.models.model import Model
from xaipipe.models.targets import Question, Selection
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation.answers import mapped
from xaipipe.propagation.compiled import uncompiled
from xaipipe.propagation.interception import Interception
from xaipipe.propagation.layers import Layers
from xaipipe.propagation.ledger import Absorbed, Ledger
from xaipipe.propagation.rules import Rules

Start = Literal["gradient", "relevance", "probability"]
"""What begins at the output: ∂score/∂outputs; that times the outputs, which for a logit is the logit itself; or what of
it is positive as shares of one, which for a logit is one at the target."""
AT_ONCE = 16
"""Images that go backwards together, over all targets."""
_functorch: Any = torch._C._functorch
_functorch._set_vmap_fallback_warning_enabled(False)  # it warns of operators whose targets go one by one


@dataclass(frozen=True, eq=False, slots=True)
class Pulled:
    """What arrived for one question."""

    values: Tensor
    """[N, …] at the pixels, or at the layer that was asked for."""
    selection: Selection
    """Without its graph, which is gone."""
    begun: Tensor
    """[N]: the sum of what began at the outputs."""
    absorbed: tuple[Absorbed, ...]


@dataclass(frozen=True, slots=True)
class Where:
    """Which part of the way back is looked at.

    Of a layer that runs several times in one pass, the way back ends at its last run; channels are chosen in each.
    """

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
    """Run the model once, and go back by rules for every question.

    A model with operators whose gradient torch cannot batch over the questions (such as an `autograd.Function`) is run
    once for each.
    """
    several = len(questions) > 1
    run = ForwardPass(model, len(pixels), rules, where or Where(), several, merges=start == "relevance")
    leaf, selections = _asked(run, model, pixels, questions)
    if run.lost_zeros:
        run = ForwardPass(model, len(pixels), rules, where or Where(), several)
        leaf, selections = _asked(run, model, pixels, questions)
    if run.saw_foreign and len(questions) > 1:
        return _one_by_one(model, pixels, questions, rules, start, where)
    run.captured.require_unchanged()
    at = run.end(leaf)
    chunk = max(1, AT_ONCE // len(pixels))
    pulled: list[Pulled] = []
    for first in range(0, len(questions), chunk):
        some = selections[first : first + chunk]
        last = first + chunk >= len(questions)
        try:
            with going_back(model.source):
                begins = [beginning(one, start, model.source) for one in some]
                run.way_back.comes_again = not last
                pulled += pulled_from(some, begins, at, run.ledger, not last)
        except BackwardError:
            if len(some) == 1:
                raise
            return _one_by_one(model, pixels, questions, rules, start, where)
    return pulled


def _asked(
    run: ForwardPass, model: Model, pixels: Tensor, questions: Sequence[Question]
) -> tuple[Tensor, Sequence[Selection]]:
    """The pixels as the leaf of the pass's graph, and what the model answers."""
    leaf = pixels.detach().requires_grad_()
    with torch.enable_grad():
        selections = model.ask(leaf, questions, run.forward)
        for selection in selections:
            require_differentiable(selection, model.source)
    return leaf, selections


def _one_by_one(
    model: Model, pixels: Tensor, questions: Sequence[Question], rules: Rules, start: Start, where: Where | None
) -> list[Pulled]:
    return [pull_back(model, pixels, [question], rules, start, where)[0] for question in questions]


def beginning(selection: Selection, start: Start, source: str) -> Tensor:
    with torch.enable_grad():
        total = selection.scores.sum()
    (found,) = torch.autograd.grad(total, selection.outputs, retain_graph=True, allow_unused=True)
    gradient = required_gradient(found, source)
    if start == "relevance":
        return gradient * selection.outputs.detach()
    return gradient if start == "gradient" else _as_probability(gradient)


def _as_probability(gradient: Tensor) -> Tensor:
    """Shares of one for each image; nothing where nothing is positive."""
    positive = gradient.clamp(min=0)
    totals = positive.reshape(len(positive), -1).sum(dim=1)
    return positive / torch.where(totals > 0, totals, 1).reshape(-1, *[1] * (gradient.ndim - 1))


def pulled_from(
    selections: Sequence[Selection], begins: Sequence[Tensor], at: Tensor, ledger: Ledger, keep: bool
) -> Iterator[Pulled]:
    ends = [at, ledger.sink]

    def back(begun: Tensor) -> tuple[Tensor, ...]:
        found, _ = torch.autograd.grad(selections[0].outputs, ends, begun, retain_graph=keep, allow_unused=True)
        return (torch.zeros_like(at) if found is None else found,)

    ledger.clear()
    each = for_each(back, begins)
    kept = ledger.drawn_up(len(begins), at)
    for selection, begun, (values,), absorbed in zip(selections, begins, each, kept, strict=True):
        known = replace(selection, scores=selection.scores.detach(), outputs=selection.outputs.detach())
        yield Pulled(values.detach(), known, begun.reshape(len(begun), -1).sum(dim=1), absorbed)


def for_each(back: Callable[[Tensor], tuple[Tensor, ...]], begins: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """What a way back gives for every beginning; all go together, where there are several."""
    if len(begins) == 1:
        return [back(begins[0])]
    return list(zip(*torch.func.vmap(back)(torch.stack(list(begins))), strict=True))


class BackwardError(InputError):
    """torch did not get back through the model."""


@contextmanager
def going_back(source: str) -> Iterator[None]:
    """What torch says on the way back, in our words; running out of memory is nobody's fault."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, XaipipeError) or is_out_of_memory(error):
            raise
        raise BackwardError(
            "the way back through the model failed",
            got=f"{type(error).__name__}: {error}",
            where=source,
            hint="look for operators without a derivative, and for tensors changed in place behind torch's back",
        ) from error


class ForwardPass:
    """A forward pass: what runs the module, and what is needed of it afterwards."""

    def __init__(
        self, model: Model, images: int, rules: Rules, where: Where, several: bool = False, merges: bool = False
    ) -> None:
        self._layers = layers = Layers(model.module)
        self._where = where
        weights = WeightCache() if model.weights is None else model.weights
        self._mode = Interception(model.module, rules, weights, images, lambda: layers.innermost, several, merges)
        self._at: Tensor | None = None
        ruling = self._mode.ruling
        self.ledger, self.captured, self.way_back = ruling.ledger, ruling.captured, ruling.way_back
        self._asked, self._ran = [*([where.layer] if where.layer else []), *(where.channels or ())], set[str]()
        for name in self._asked:
            self._layers.require(name)

    @property
    def undescribed(self) -> Sequence[str]:
        """Operators without a description, whose gradient was taken."""
        return self._mode.undescribed

    @property
    def saw_foreign(self) -> bool:
        return self._mode.saw_foreign

    @property
    def lost_zeros(self) -> bool:
        """Whether this has to be done again without merging ReLUs."""
        return self._mode.ruling.lost_zeros

    def forward(self, call: Forward, pixels: Tensor) -> Any:
        self._mode.begin(pixels)
        try:
            with uncompiled(), self._layers.watched(self._look), self._mode:
                answer = mapped(self._mode.current, call(pixels))
            self._require_run()
            return answer
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
        assert self._at is not None
        return self._at

    def _require_run(self) -> None:
        """Refuse layers that were asked for and did not run."""
        for name in self._asked:
            if name not in self._ran:
                raise UsageError(f"layer '{name}' was not run by the model's forward pass")

    def _look(self, name: str, output: Any) -> Any:
        """Of a module's output."""
        if name not in self._asked:
            return None
        channels = (self._where.channels or {}).get(name)
        self._ran.add(name)
        if not isinstance(output, Tensor) or output.ndim < 2:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UsageError(f"layer '{name}' has no channels", got=got, expected="a tensor [N, C, …]")
        output = self._mode.current(output)
        if name == self._where.layer:
            self._at = output = self._mode.tapped(output)
            self.ledger.begin()  # the way back does not get to what ran before
        return output if channels is None else self._mode.passing(output, channels, name)
