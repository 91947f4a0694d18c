"""Rules of what two tensors make together, both of them made of the input: products, attention, softmax."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.propagation import Books, Operation, Rule, sum_to
from xaipipe_propagation.rules.dividing import shares


@dataclass(frozen=True)
class SplitProduct(Rule):
    """Relevance of a product: both factors get half of it, or, with `gates`, the signal all and the gate nothing.

    The gate is the factor that came out of a sigmoid or a softmax, or a denominator; where neither or both did, the one
    that is spread over the other. What is still undecided is halved.
    """

    gates: bool
    eps: float
    leaves_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor | None]:
        first, second = self._parts(op, operands)
        if op.kind == "product":
            return [
                sum_to(part * arriving, x.shape) if part else None
                for part, x in zip((first, second), operands, strict=True)
            ]
        assert output is not None
        s = shares(arriving, output, self.eps, books)
        pulled = op.pullback(operands, s)
        return [
            (part * x) * gradient if part else None
            for part, x, gradient in zip((first, second), operands, pulled, strict=True)
        ]

    def _parts(self, op: Operation, operands: Sequence[Tensor]) -> tuple[float, float]:
        if op.name == "div":
            return 1, 0
        signal = the_signal(op, operands) if self.gates else None
        if signal is None:
            return 0.5, 0.5
        return (1, 0) if signal == 0 else (0, 1)


def the_signal(op: Operation, operands: Sequence[Tensor]) -> int | None:
    """Which factor of a product is the signal and not the gate; None where that cannot be told."""
    rank = [(gate, -x.numel()) for gate, x in zip(op.gates, operands, strict=True)]
    if rank[0] == rank[1] or (op.kind == "matmul" and op.gates[0] == op.gates[1]):
        return None
    return 0 if rank[0] < rank[1] else 1


class Softmax(Rule):
    """R_i = x_i (R_i − s_i Σ R): the softmax as its first-order Taylor expansion."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert output is not None
        if op.name == "log_softmax":  # a logit less what all classes have in common
            return [arriving]
        (x,) = operands
        dim = _dimension(op, x)
        relevance = x * (arriving - output * arriving.sum(dim=dim, keepdim=True))
        relevance = torch.where(torch.isinf(x), 0, relevance)  # what a mask hides
        books.absorb("bias", arriving)
        books.absorb("bias", relevance, -1)
        return [relevance]


def _dimension(op: Operation, x: Tensor) -> int:
    """The dimension, counted with the targets in front, along which a softmax sums to one."""
    assert op.dimension is not None
    return op.dimension % x.ndim + 1
