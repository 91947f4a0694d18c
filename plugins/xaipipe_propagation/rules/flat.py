"""Rules of the first layer that do not look at the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.ops import flat_spread
from xaipipe.propagation import Books, Operation, Rule, Weighted
from xaipipe.propagation.weighted import Convolution
from xaipipe_propagation.rules.dividing import shares


@dataclass(frozen=True)
class Flat(Rule):
    """All inputs that an output sees get the same."""

    keeps_output = False
    skips_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        form = op.form
        if isinstance(form, Convolution) and _is_plain(form) and arriving.dtype != torch.half:
            kernel = tuple(op.weights.raw.shape[2:])
            one = flat_spread(arriving, kernel, form.stride, form.padding, form.dilation, tuple(x.shape[1:]))
            books.absorb("stabiliser", arriving)  # of outputs that see nothing but padding
            books.absorb("stabiliser", one, -x.shape[1])
            return [one.expand(-1, *x.shape)]
        ones = op.weights.weight("ones")
        counts = op.form.beside(torch.ones_like(x), ones, None)
        s = shares(arriving, counts, 0.0, books)
        return [op.form.pull(s, ones, x)]


@dataclass(frozen=True)
class WSquare(Rule):
    """R_i = Σ_j w_ij² / Σ_i' w_i'j² · R_j"""

    eps: float
    keeps_output = False
    skips_idle = True

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        assert isinstance(op, Weighted)
        (x,) = operands
        squared = op.weights.weight("squared")
        z = op.form.beside(torch.ones_like(x), squared, None)
        s = shares(arriving, z, self.eps, books)
        return [op.form.pull(s, squared, x)]


def _is_plain(form: Convolution) -> bool:
    return len(form.stride) == 2 and form.groups == 1 and not form.transposed
