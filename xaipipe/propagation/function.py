"""The one autograd function: forwards it runs an operator, backwards it applies a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.propagation.books import Books
from xaipipe.propagation.ledger import Account
from xaipipe.propagation.memory import of_its_own
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.outputs import Output
from xaipipe.propagation.rules import Rule

Shapes = list[torch.Size]
"""Of the operands."""


@dataclass(frozen=True, eq=False, slots=True)
class Derived:
    """A summand that is not kept, since the sum less the other one is as good where anything arrives."""

    position: int
    output: Output | None
    """Of what made it, whose rule looks at it too."""
    everywhere: bool
    """Whether it comes out right where nothing arrives, too: not behind a ReLU."""


@dataclass(eq=False, slots=True)
class Ruled:
    """An operation that runs with a rule behind it."""

    op: Operation
    rule: Rule
    images: int
    output: Output | None
    """Where the output is kept, if anybody looks at it on the way back."""
    derived: Derived | None = None
    account: Account | None = None
    """For what the rule absorbs, if it ever does."""

    def run(
        self, operands: Sequence[Tensor], ready: Callable[[], Tensor] | None = None, sink: Tensor | None = None
    ) -> Tensor:
        """The operator's output, or what `ready` gives, where it is known; `sink` is that of the account's ledger."""
        output: Tensor = _Ruled.apply(self, ready, sink, *operands)  # type: ignore[no-untyped-call]
        return output

    def kept_of(self, operands: Sequence[Tensor]) -> Sequence[Tensor]:
        if not self.rule.keeps_operands:
            return ()
        return [x for i, x in enumerate(operands) if self.derived is None or i != self.derived.position]

    def met(self, kept: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
        """Operands and output, as the rule wants them on the way back."""
        output = None if self.output is None else self.output.take()
        if self.derived is not None:
            assert output is not None
            (other,) = kept
            derived = output - other
            if self.derived.output is not None:
                self.derived.output.hand_in(derived, self.derived.everywhere)
            kept = (derived, other) if self.derived.position == 0 else (other, derived)
        return kept, output if self.rule.keeps_output else None


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ruled: Ruled, ready: Callable[[], Tensor] | None, sink: Tensor | None, *operands: Tensor
    ) -> Tensor:
        output = ruled.op.run(*operands) if ready is None else ready()
        if any(output is operand for operand in operands):
            output = output.clone()
        ctx.ruled = ruled
        ctx.shapes = [operand.shape for operand in operands]
        ctx.save_for_backward(*ruled.kept_of(operands))
        if ruled.output is not None:
            ruled.output.keep(output)
        return output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        several = torch._C._are_functorch_transforms_active()  # else the detour costs, and gives nothing
        propagate: Callable[..., Any] = _Propagate.apply if several else _Propagate.forward
        operands, output = ctx.ruled.met(ctx.saved_tensors)
        return None, None, None, *propagate(ctx.ruled, ctx.shapes, arriving[0], output, *operands)


class _Propagate(torch.autograd.Function):
    """A rule with the targets as an explicit first dimension, whether torch batches over them or not."""

    @staticmethod
    def forward(ruled: Ruled, shapes: Shapes, arriving: Tensor, output: Tensor | None, *kept: Tensor) -> Any:
        parts = _propagated(ruled, shapes, arriving[None], output, kept)
        return tuple(of_its_own(part[0]) for part in parts)  # of views torch would not add up in place

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        ruled: Ruled,
        shapes: Shapes,
        arriving: Tensor,
        output: Tensor | None,
        *kept: Tensor,
    ) -> Any:
        batched = arriving.movedim(in_dims[2], 0)
        parts = _propagated(ruled, shapes, batched, output, kept)
        return parts, (0,) * len(parts)


class OnlyChannels(torch.autograd.Function):
    """The identity; backwards only some channels let anything pass."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, channels: list[int]) -> Tensor:
        ctx.channels = channels
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        index = torch.tensor(ctx.channels, device=arriving[0].device, dtype=torch.long)
        mask = torch.zeros(arriving[0].shape[1], dtype=arriving[0].dtype, device=arriving[0].device)
        mask = mask.index_fill(0, index, 1)
        return arriving[0] * mask.reshape(-1, *[1] * (arriving[0].ndim - 2)), None


class Overwritten(torch.autograd.Function):
    """Values that were written where torch's gradient does not look: backwards it is as if nothing had happened."""

    @staticmethod
    def forward(ctx: Any, before: Tensor, now: Tensor) -> Tensor:
        return now.clone()

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        return arriving[0], None


def _propagated(
    ruled: Ruled, shapes: Shapes, arriving: Tensor, output: Tensor | None, kept: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """What each operand gets; what is absorbed is entered into the account."""
    books = Books(ruled.images)
    parts = ruled.rule.propagate(ruled.op, kept, output, arriving, books)
    if ruled.account is not None:
        ruled.account.books = books
    if len(parts) != len(shapes):
        raise ValueError(f"the rule for {ruled.op} answered for {len(parts)} operands, expected {len(shapes)}")
    return tuple(_checked(ruled.op, part, arriving, shape) for part, shape in zip(parts, shapes, strict=True))


def _checked(op: Operation, part: Tensor | None, arriving: Tensor, shape: torch.Size) -> Tensor:
    """What an operand of that shape gets; zeros for nothing."""
    expected = (arriving.shape[0], *shape)
    if part is None:
        return arriving.new_zeros(()).expand(expected)
    if part.shape != expected:
        raise _misshapen(op, part, shape)
    return part


def _misshapen(op: Operation, part: Tensor, shape: torch.Size) -> UsageError:
    return UsageError(
        "a rule hands on another shape than the operand has",
        got=tuple(part.shape[1:]),
        expected=tuple(shape),
        where=str(op),
        hint="choose another rule for this layer; 'pass' only fits where output and input have the same shape",
    )
