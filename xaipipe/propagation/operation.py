"""An operator as rules see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Kind = Literal[
    "convolution", "linear", "scale", "norm", "sum", "average", "activation", "product", "matmul", "softmax", "max",
    "logsumexp", "join", "statistic",
]  # fmt: skip


@dataclass(eq=False, slots=True, kw_only=True)
class Operation:
    """One operator that was run on operands which depend on the input.

    Kinds: `convolution`, `linear` (see `Weighted`), `scale` (times constants, plus constants), `norm` (by statistics of
    its input), `sum`, `average` (linear without weights: poolings, means, resizing), `activation`, `product`, `matmul`
    (of two that depend on the input), `softmax`, `max`, `logsumexp`, `join` (beside what does not depend on the input),
    `statistic`.
    """

    kind: str
    name: str
    """torch's own name of the operator; a ReLU is `relu` however it is spelt, and `relu6` with whatever ceiling."""
    run: Callable[..., Tensor]
    """The operator as a function of its operands."""
    layer: str = ""
    """Dotted name of the innermost module that ran it."""
    linearised: Callable[..., Tensor] | None = None
    """For what is linear once something is held: statistics of a norm, say. A function of the operands."""
    parts: Callable[..., Tensor] | None = None
    """For norms and spreads: the same, written in operators that are simpler. A function of the operands."""
    nonnegative: tuple[bool, ...] = ()
    """Which operands are known to be nowhere negative."""
    gates: tuple[int, ...] = ()
    """How much each operand looks like a factor rather than a signal: 2 after a sigmoid, 0 after a convolution."""
    shift: Tensor | None = None
    """Of a scale: what is added."""
    dimension: int | None = None
    """Of a softmax: along which it sums to one."""
    dimensions: tuple[int, ...] = ()
    """Of a logsumexp: over which it sums."""
    keeps_zero: bool = False
    """Of an activation: whether it makes zero of zero."""
    factors: tuple[float, ...] = ()
    """Of a sum: what each operand is multiplied by."""

    def __str__(self) -> str:
        return f"{self.name} in layer '{self.layer}'" if self.layer else self.name

    def gradient(self, operands: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
        """The transposed Jacobian at the operands, on cotangents [K, *output]: [K, *operand] each."""
        return self._transposed(self.run, operands, cotangents)

    def pullback(self, operands: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
        """The same of the linearised operator, where there is one: what is held has no gradient."""
        return self._transposed(self.linearised or self.run, operands, cotangents)

    def _transposed(self, run: Callable[..., Tensor], operands: Sequence[Tensor], cotangents: Tensor) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [operand.detach().requires_grad_() for operand in operands]
            output = run(*leaves)
        pulled = [
            torch.autograd.grad(output, leaves, cotangent, retain_graph=k + 1 < len(cotangents))
            for k, cotangent in enumerate(cotangents.to(output.dtype).unbind())
        ]
        return [parts[0][None] if len(parts) == 1 else torch.stack(parts) for parts in zip(*pulled, strict=True)]


def sum_to(values: Tensor, shape: torch.Size) -> Tensor:
    """[K, *broadcast] summed to [K, *shape]."""
    if values.shape[1:] == shape:
        return values
    padded = (1,) * (values.ndim - 1 - len(shape)) + tuple(shape)
    dims = [d for d in range(1, values.ndim) if padded[d - 1] == 1 and values.shape[d] != 1]
    summed = values.sum(dim=dims, keepdim=True) if dims else values
    return summed.reshape(values.shape[0], *shape)
