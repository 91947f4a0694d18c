"""What the bias of every operator contributes to a score, and where on the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaipipe import Grid, Model
from xaipipe.models.fields import Field
from xaipipe.models.tracing import Tracer
from xaipipe.propagation import Books, Gradient, Operation, Rule, Weighted

_WITHOUT_BIAS = {"average", "max", "relu", "leaky_relu", "prelu"}
"""Kinds of operators, and operators, whose output is their Jacobian times their operands."""


@dataclass(frozen=True, eq=False)
class TracedModel(Model):
    """A model of whose tensors one knows afterwards where they lie on the image."""

    tracer: Tracer = field(default_factory=Tracer)

    @classmethod
    def like(cls, model: Model) -> TracedModel:
        return cls(model.module, model.preprocess, model.labels, model.source, model.output, model.weights)

    def answer(self, pixels: Tensor) -> Any:
        self.tracer.begin(pixels)
        with self.tracer:
            return super().answer(pixels)


class BiasGradients:
    """Rules that take the gradient, and keep what biases contribute: ∂y/∂o ∘ (o − J x) of an operator o(x).

    For a convolution or a batch norm that is its bias times the gradient; for what is no straight line through zero,
    such as a sigmoid, what its tangent misses there. Sums of two that depend on the image have none.
    """

    strict = False

    def __init__(self, tracer: Tracer, magnitude: bool) -> None:
        self._tracer, self._magnitude = tracer, magnitude
        self._kept: list[BiasGradient] = []

    def rule_for(self, op: Operation) -> Rule | None:
        if not _WITHOUT_BIAS.isdisjoint((op.kind, op.name)) or len(op.factors) > 1:
            return None
        kind = BiasGradient if isinstance(op, Weighted) or op.shift is not None else TangentGradient
        self._kept.append(kind(self._tracer, self._magnitude))
        return self._kept[-1]

    def arrived(self, questions: int) -> list[Arrived] | None:
        """Of every operator that the gradient came to; None where it did not come there once for every question."""
        found = [rule.arrived() for rule in self._kept if rule.totals]
        return found if all(len(one.totals) == questions for one in found) else None


@dataclass(frozen=True, eq=False)
class Arrived:
    """The contributions of one operator's bias."""

    totals: Tensor
    """[questions, N]"""
    maps: Tensor | None
    """[questions, N, h, w], or None where they lie nowhere on the image."""
    grid: Grid


class BiasGradient(Gradient):
    """At one operator whose bias is known."""

    keeps_operands = True

    def __init__(self, tracer: Tracer, magnitude: bool) -> None:
        self._tracer, self._magnitude = tracer, magnitude
        self._tensors: tuple[Tensor, ...] = ()
        self.totals: list[Tensor] = []
        self._maps: list[Tensor] = []

    def ran(self, op: Operation, operands: Sequence[Tensor], result: Tensor) -> None:
        self._tensors = (result, *(operand for operand in operands if operand.shape == result.shape))

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> Sequence[Tensor | None]:
        bias = self.bias(op, operands, output)
        if bias is not None:
            moved = torch.where(arriving == 0, 0, arriving * bias.detach())  # a mask's infinity is moved nowhere
            self._keep(moved, books.images)
        return super().propagate(op, operands, output, arriving, books)

    def bias(self, op: Operation, operands: Sequence[Tensor], output: Tensor | None) -> Tensor | None:
        if not isinstance(op, Weighted):
            return op.shift
        bias = op.weights.bias()
        if bias is None:
            return None
        behind = self._tensors[0].ndim - 1 - op.form.channels % self._tensors[0].ndim
        return bias.reshape(-1, *[1] * behind)

    def arrived(self) -> Arrived:
        place = self._place
        grid = Grid() if place is None else place.grid
        return Arrived(torch.cat(self.totals), torch.cat(self._maps) if self._maps else None, grid)

    def _keep(self, contributions: Tensor, images: int) -> None:
        """[questions, *output], as sums over all that lies at one place."""
        self.totals.append(contributions.reshape(len(contributions), images, -1).sum(dim=2))
        if self._place is not None:
            if self._magnitude:
                contributions = contributions.abs()
            y, x = (axis + 1 for axis in self._place.axes)
            others = [dim for dim in range(2, contributions.ndim) if dim not in (y, x)]
            summed = contributions.sum(dim=others) if others else contributions
            self._maps.append(summed if y < x else summed.mT)

    @property
    def _place(self) -> Field | None:
        """Of the output; of an operator that works in place, which is seen through its operand."""
        for tensor in self._tensors:
            trace = self._tracer.of(tensor)
            if trace is not None:
                return trace.places if isinstance(trace.places, Field) else None
        return None


class TangentGradient(BiasGradient):
    """At one operator that is no straight line: its bias is what the tangent at its operands misses at zero."""

    keeps_output = True

    def bias(self, op: Operation, operands: Sequence[Tensor], output: Tensor | None) -> Tensor | None:
        assert output is not None
        return output.detach() - _times_operands(op, operands)


def _times_operands(op: Operation, operands: Sequence[Tensor]) -> Tensor:
    """J x: what is pulled back of v is Jᵀ v, and the derivative of ⟨Jᵀ v, x⟩ to v is J x."""
    with torch.enable_grad():
        leaves = [operand.detach().requires_grad_() for operand in operands]
        output = op.run(*leaves)
        v = torch.zeros_like(output, requires_grad=True)
        pulled = torch.autograd.grad(output, leaves, v, create_graph=True)
        finite = [leaf.detach().masked_fill(leaf.isinf(), 0) for leaf in leaves]  # what hides a token has no slope
        total = sum((part * x).sum() for part, x in zip(pulled, finite, strict=True))
        (found,) = torch.autograd.grad(total, v, allow_unused=True)
    return torch.zeros_like(output) if found is None else found.detach()
