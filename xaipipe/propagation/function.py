"""The one autograd function: forwards it runs an operator, backwards it applies a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xaipipe.errors import UsageError
from xaipipe.propagation.books import ABSORBERS, Books
from xaipipe.propagation.operation import Operation
from xaipipe.propagation.rules import Rule

Account = tuple[int, torch.dtype | None]
"""The number of images, and the type of the tensor whose gradient is what was absorbed, if there is one."""
Shapes = list[torch.Size]
"""Of the operands."""


def ruled(
    op: Operation,
    rule: Rule,
    operands: Sequence[Tensor],
    images: int,
    sink: Tensor | None = None,
    ready: Callable[[], Tensor] | None = None,
) -> Tensor:
    """The operator's output (or what `ready` gives, where it is known) with the rule behind it.

    What the rule absorbs arrives as the gradient of `sink` [absorbers, N].
    """
    output: Tensor = _Ruled.apply(op, rule, ready, images, sink, *operands)  # type: ignore[no-untyped-call]
    return output


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        op: Operation,
        rule: Rule,
        ready: Callable[[], Tensor] | None,
        images: int,
        sink: Tensor | None,
        *operands: Tensor,
    ) -> Tensor:
        output = ready() if ready is not None else op.run(*operands)
        if any(output is operand for operand in operands):
            output = output.clone()
        ctx.op, ctx.rule, ctx.books = op, rule, (images, None if sink is None else sink.dtype)
        kept = [*(operands if rule.keeps_operands else ()), *((output,) if rule.keeps_output else ())]
        ctx.save_for_backward(*kept)
        ctx.shapes = [operand.shape for operand in operands]
        return output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Any:
        several = torch._C._are_functorch_transforms_active()  # else the detour costs, and gives nothing
        propagate: Callable[..., Any] = _Propagate.apply if several else _Propagate.forward
        sink, *parts = propagate(ctx.op, ctx.rule, ctx.books, ctx.shapes, arriving[0], *ctx.saved_tensors)
        return None, None, None, None, (None if ctx.books[1] is None else sink), *parts


class _Propagate(torch.autograd.Function):
    """A rule with the targets as an explicit first dimension, whether torch batches over them or not."""

    @staticmethod
    def forward(op: Operation, rule: Rule, account: Account, shapes: Shapes, arriving: Tensor, *saved: Tensor) -> Any:
        parts = _propagated(op, rule, account, shapes, arriving[None], saved)
        return tuple(part[0] for part in parts)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept: there is no second derivative."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: Any,
        op: Operation,
        rule: Rule,
        account: Account,
        shapes: Shapes,
        arriving: Tensor,
        *saved: Tensor,
    ) -> Any:
        batched = arriving.movedim(in_dims[4], 0)
        parts = _propagated(op, rule, account, shapes, batched, saved)
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
    op: Operation,
    rule: Rule,
    account: Account,
    shapes: Shapes,
    arriving: Tensor,
    saved: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    images, kind = account
    books = Books(images)
    operands = saved[: len(shapes)] if rule.keeps_operands else ()
    output = saved[-1] if rule.keeps_output else None
    parts = rule.propagate(op, operands, output, arriving, books)
    if len(parts) != len(shapes):
        raise ValueError(f"the rule for {op} answered for {len(parts)} operands, expected {len(shapes)}")
    for part, shape in zip(parts, shapes, strict=True):
        if part is not None and part.shape != (len(arriving), *shape):
            raise _misshapen(op, part, shape)
    nothing = arriving.new_zeros(())
    filled = (
        nothing.expand(len(arriving), *shape) if part is None else part
        for part, shape in zip(parts, shapes, strict=True)
    )
    return _absorbed(books, arriving, kind), *filled


def _absorbed(books: Books, arriving: Tensor, kind: torch.dtype | None) -> Tensor:
    """The books as one tensor [K, absorbers, N]; nothing where nobody asks for them."""
    if kind is None:
        return arriving.new_zeros(len(arriving))
    absorbed = arriving.new_zeros(len(arriving), len(ABSORBERS), books.images, dtype=kind)
    for row, absorber in enumerate(ABSORBERS):
        if (amounts := books.amounts.get(absorber)) is not None:
            absorbed[:, row] = amounts
    return absorbed


def _misshapen(op: Operation, part: Tensor, shape: torch.Size) -> UsageError:
    return UsageError(
        "a rule hands on another shape than the operand has",
        got=tuple(part.shape[1:]),
        expected=tuple(shape),
        where=str(op),
        hint="choose another rule for this layer; 'pass' only fits where output and input have the same shape",
    )
