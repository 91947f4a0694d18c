"""Layers that weigh their input: convolutions, linear layers, products with constants."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.convolving import convolved, transposed
from xaipipe.propagation.marks import Place, Step
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.weights import Folding, Weights


class Form(ABC):
    """How a weighted layer maps its input, whatever its weights."""

    channels: int = 1
    """The dimension of the output that the bias lies along."""

    @abstractmethod
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor: ...

    def beside(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same sums for a rule, beside the model's own pass: rounded in another way where that is quicker.

        In the model's pass it would matter: a ReLU may let pass what is about zero, or not.
        """
        return self.forward(x, weight, bias)

    @abstractmethod
    def pull(self, cotangents: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        """The transposed map of [K, *output] for an input like x: [K, *x]."""


@dataclass(eq=False, slots=True, kw_only=True)
class Weighted(Operation):
    """z = w·x + b. `weights` are w and b as they are in effect: batch norms that follow are folded in."""

    form: Form
    weights: Weights
    place: Place
    since_input: tuple[Step, ...] | None = None
    """The operators between the input and this layer, where nothing else lies there."""
    rectified: bool = False
    """Whether a ReLU follows, so that `output` is its, and nothing arrives where that is zero."""

    def followed_by(self, norm: Folding) -> Weighted:
        """The layer and a batch norm behind it, as one layer."""
        weights = self.weights.folded(norm)
        return replace(self, weights=weights, run=lambda x: self.form.forward(x, weights.weight(), weights.bias()))

    def gradient(self, operands: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
        return [self.pull(cotangents, operands[0])]

    def pullback(self, operands: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
        return [self.pull(cotangents, operands[0])]

    def forward(self, x: Tensor, kind: str = "", bias: bool = True) -> Tensor:
        """The layer with its weights changed to their 'positive' or 'negative' part, its bias too, or left out."""
        return self.form.beside(x, self.weights.weight(kind), self.weights.bias(kind) if bias else None)

    def pull(self, cotangents: Tensor, x: Tensor, kind: str = "") -> Tensor:
        """The transposed layer, without its bias."""
        return self.form.pull(cotangents, self.weights.weight(kind), x)

    def bias_absorbs(self, shares: Tensor, kind: str = "") -> Tensor | None:
        """Of shares s = R / z [K, N, …]: what the bias takes, Σ b·s [K, N]."""
        bias = self.weights.bias(kind)
        return None if bias is None else self.absorbed_by(bias, shares)

    def absorbed_by(self, bias: Tensor, shares: Tensor) -> Tensor:
        """The same for any bias."""
        channel = self.form.channels % (shares.ndim - 1) + 1
        others = [d for d in range(2, shares.ndim) if d != channel]
        return (shares.sum(dim=others) if others else shares) @ bias.to(shares.dtype)


@dataclass(frozen=True)
class Convolution(Form):
    """Any number of spatial dimensions, transposed or not. Padding is symmetric."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = torch.convolution(x, weight, bias, *self._arguments())
        return output

    def beside(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        quick = convolved(self, x, weight, bias)
        return self.forward(x, weight, bias) if quick is None else quick

    def pull(self, cotangents: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        flat = cotangents.flatten(0, 1)
        quick = transposed(self, flat, weight, x.shape[2:])
        if quick is not None:
            return quick.view(*cotangents.shape[:2], *quick.shape[1:])
        shape = (len(flat), *x.shape[1:])
        # torch looks at its shape only, but would make it contiguous; memory that nobody touches costs nothing
        like = x if x.shape == shape and x.dtype == flat.dtype else flat.new_empty(shape)
        pulled = torch.ops.aten.convolution_backward(
            flat, like, weight, None, *self._arguments(), [True, False, False]
        )[0]
        unfolded: Tensor = pulled.unflatten(0, cotangents.shape[:2])
        return unfolded

    def _arguments(self) -> tuple[Any, ...]:
        output_padding = self.output_padding or (0,) * len(self.stride)
        return self.stride, self.padding, self.dilation, self.transposed, output_padding, self.groups


class Linear(Form):
    channels = -1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def pull(self, cotangents: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        return cotangents @ weight


@dataclass(frozen=True)
class ProductWith(Form):
    """Any function that is linear in x and in a constant: matmul, einsum, tensordot."""

    function: Callable[[Tensor, Tensor], Tensor]
    channels = -1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.function(x, weight) if bias is None else self.function(x, weight) + bias

    def pull(self, cotangents: Tensor, weight: Tensor, x: Tensor) -> Tensor:
        product = Operation(kind="linear", name="product", run=lambda x: self.function(x, weight))
        return product.pullback([x], cotangents)[0]
