"""A model's way forward with the images, again with their references, and back with multipliers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xaipipe import Model
from xaipipe.errors import InputError
from xaipipe.models.differentiable import require_differentiable
from xaipipe.models.model import NotFiniteError
from xaipipe.models.scores import select
from xaipipe.models.targets import Question, Selection
from xaipipe.propagation import Books, InParts, Operation, Rule, Where
from xaipipe.propagation.passes import ForwardPass, going_back, pulled_from
from xaipipe.propagation.unknown import operator_without_rule
from xaipipe_propagation.compared.rule import DifferenceRule, Met
from xaipipe_propagation.compared.tables import How

_AT_ONCE = 16
"""Images that go backwards together, over all questions."""


@dataclass(frozen=True, eq=False, slots=True)
class Compared:
    """The answer to one question."""

    multipliers: Tensor
    """[N, C, H, W]: times the difference of the pixels, they sum to that of the scores."""
    selection: Selection
    reference_scores: Tensor
    """[N]"""
    rounding: float
    """Of numbers about one, in the lowest precision that the model computed in."""


class Comparison:
    """Images that went through a model once, to be compared with any number of references."""

    def __init__(self, model: Model, pixels: Tensor, questions: Sequence[Question], how: How, strict: bool) -> None:
        self._model, self._how, self._strict = model, how, strict
        self._met: list[Met] = []
        self._leaf = pixels.detach().requires_grad_()
        self._first = _First(how, strict, self._met)
        self._run = ForwardPass(model, len(pixels), self._first, Where(), several=len(questions) > 1)
        self.selections = _selections(self._run, model, self._leaf, questions)
        self._run.captured.require_unchanged()
        for selection in self.selections:
            require_differentiable(selection, model.source)

    @property
    def images(self) -> int:
        return len(self._leaf)

    @property
    def by_gradient(self) -> list[str]:
        """Operators that no rule is known for."""
        foreign = ["operators that cannot be seen"] if self._run.saw_foreign else []
        return sorted({*self._run.undescribed, *self._first.unknown, *foreign})

    @property
    def _rounding(self) -> float:
        kinds = [met.precision for met in self._met if met.precision is not None and met.precision.is_floating_point]
        return max(torch.finfo(kind).eps for kind in (self._leaf.dtype, self.selections[0].outputs.dtype, *kinds))

    def against(self, references: Tensor, model: Model | None = None) -> list[Compared]:
        """With a reference for each image; `model` answers for them, where it is another one."""
        scores = self._read(model or self._model, references)
        with torch.enable_grad():
            totals = [selection.scores.sum() for selection in self.selections]
        begins = [
            torch.autograd.grad(total, selection.outputs, retain_graph=True)[0]
            for total, selection in zip(totals, self.selections, strict=True)
        ]
        chunk = 1 if self._run.saw_foreign else max(1, _AT_ONCE // len(references))
        pulled = []
        for first in range(0, len(begins), chunk):
            some = slice(first, first + chunk)
            with going_back(self._model.source):
                pulled += pulled_from(self.selections[some], begins[some], self._leaf, self._run.ledger, keep=True)
        found = zip(pulled, scores, strict=True)
        return [Compared(one.values, one.selection, score, self._rounding) for one, score in found]

    def _read(self, model: Model, references: Tensor) -> list[Tensor]:
        """The scores of the references; what every operator read for them is noted."""
        again = _Again(self._how, self._strict, iter(self._met))
        run = ForwardPass(model, len(references), again, Where())
        asked = [selection.settled for selection in self.selections]
        try:
            selections = _selections(run, model, references.detach().requires_grad_(), asked)
        except NotFiniteError as error:
            raise InputError(
                "the model returned NaN or infinity for the reference",
                got=error.facts["got"],
                expected="finite scores",
                where=model.source,
                hint="choose another reference: this one may be constant where the model divides by a spread",
            ) from None
        again.require_end()
        return [selection.scores.detach() for selection in selections]


def _selections(run: ForwardPass, model: Model, leaf: Tensor, questions: Sequence[Question]) -> list[Selection]:
    with torch.enable_grad():
        outputs = model.outputs(leaf, run.forward)
        with run.scoring():
            return [select(outputs, question, model.labels, model.source) for question in questions]


@dataclass(frozen=True)
class _First:
    """Rules of the images' pass: every operator is met."""

    how: How
    strict: bool
    met: list[Met]
    unknown: list[str] = field(default_factory=list)

    def rule_for(self, op: Operation) -> Rule | InParts | None:
        if not self.how.knows(op):
            if self.strict:
                raise operator_without_rule(op)
            self.unknown.append(str(op))
        rule = self.how.rule_for(op)
        if isinstance(rule, DifferenceRule):
            rule = Met(rule, op)
            self.met.append(rule)
        return rule


@dataclass(frozen=True)
class _Again:
    """Rules of the references' pass: every operator is met again, in the same order."""

    how: How
    strict: bool
    met: Iterator[Met]

    def rule_for(self, op: Operation) -> Rule | InParts | None:
        rule = self.how.rule_for(op)
        if not isinstance(rule, DifferenceRule):
            return rule
        met = next(self.met, None)
        if met is None or met.op.name != op.name:
            raise _other_way(str(op), None if met is None else str(met.op))
        return _Note(met)

    def require_end(self) -> None:
        met = next(self.met, None)
        if met is not None:
            raise _other_way(None, str(met.op))


class _Note(Rule):
    """Of the references' pass, from which nobody goes back."""

    keeps_operands = keeps_output = absorbs = False

    def __init__(self, met: Met) -> None:
        self._met = met

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        there = tuple(operand.detach() for operand in operands)
        shapes, expected = ([tuple(part.shape) for part in parts] for parts in (there, self._met.here))
        if shapes != expected:
            raise _other_way(f"{op} of {shapes}", f"{self._met.op} of {expected}")
        self._met.there = there

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor]:
        raise AssertionError("the way back begins at the images' scores")


def _other_way(got: str | None, expected: str | None) -> InputError:
    return InputError(
        "the model computes something else for the reference than for the image",
        got=got or "its end",
        expected=expected or "its end",
        hint="choose a reference that it treats alike, or a method without one",
    )
