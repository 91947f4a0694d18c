"""What is known of a tensor that depends on the explained input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from xaipipe.propagation.outputs import Output

if TYPE_CHECKING:
    from xaipipe.propagation.function import Derived
    from xaipipe.propagation.operation import Operation


_MARK = "_xaipipe_mark"


@dataclass(eq=False, slots=True)
class Place:
    """Where a weighted layer stands among the others of a forward pass."""

    first: bool
    """No weighted layer lies between it and the input."""
    last: bool = True
    """No weighted layer has read what comes from it; known when the forward pass is over."""


@dataclass(frozen=True, eq=False, slots=True)
class Step:
    """An operator between the input and its first weighted layer."""

    run: Callable[[Tensor], Tensor]
    """Of an image, or of what the steps before made of it."""
    elementwise: bool
    """Whether it would do the same to one pixel."""


@dataclass(frozen=True, eq=False, slots=True)
class Padded:
    """A tensor that zeros were put around."""

    tensor: Tensor
    pads: tuple[int, ...]
    """As of `F.pad`."""
    mark: Mark


@dataclass(eq=False, slots=True)
class Maker:
    """The operation whose very output a tensor is; what reads the tensor may become one with it."""

    operation: Operation
    operands: tuple[Tensor, ...]
    output: Output | None = None
    """What its rule keeps of the tensor, if anything."""
    reads: int = 0
    """How many operators have read the tensor."""
    derived: Derived | None = None
    """Of a sum that was written over a summand: that one."""
    left: tuple[Output, Tensor] | None = None
    """Of a sum: the summand that was left to a ReLU, which is enough as long as nobody else reads the sum."""

    def read(self, tensor: Tensor) -> None:
        """One more reader: what was left to the others is kept again."""
        self.reads += 1
        if self.output is not None and self.output.is_left:
            self.output.keep(tensor)
        if self.left is not None:
            (output, summand), self.left = self.left, None
            if output.is_left:
                output.keep(summand)


@dataclass(eq=False, slots=True)
class Mark:
    """Carried by every tensor that depends on the input.

    Once a tensor carries it, nobody changes it. It is not frozen all the same, since one is made for every operator,
    and a frozen one takes five times as long.
    """

    nonnegative: bool = False
    gate: int = 0
    """How much it looks like a factor rather than a signal: what squashed it last."""
    behind: frozenset[Place] = frozenset()
    """The nearest weighted layers before it."""
    maker: Maker | None = None
    """What made it, where something may become one with that."""
    zeros_idle: bool = False
    """Whether its zeros must be handed nothing: what made it has let go of what they were before a ReLU."""
    padded: Padded | None = None
    """What it is with zeros around it."""
    through: tuple[int, ...] | None = None
    """Channels through which alone anything passes on the way back, also where its layer is folded."""
    since_input: tuple[Step, ...] | None = None
    """The operators that made it of the input, one after the other; None where there are others than `Step`s."""

    def passed_on(self, nonnegative: bool, gate: int = 0) -> Mark:
        """The mark of something computed from it."""
        return Mark(nonnegative=nonnegative, gate=gate, behind=self.behind, zeros_idle=self.zeros_idle)


class Marks:
    """Those of one forward pass: a tensor may be seen by several at once."""

    def put(self, tensor: Tensor, mark: Mark) -> None:
        if tensor.requires_grad and not tensor.is_leaf:  # a view made under no_grad is one, whatever it is a view of
            setattr(tensor, _MARK, (self, mark))

    def of(self, tensor: Tensor) -> Mark | None:
        owner, mark = getattr(tensor, _MARK, (None, None))
        return mark if owner is self else None


def merged(marks: tuple[Mark, ...]) -> Mark:
    """Of what is made of several tensors, before anything is known of how."""
    first, *others = marks
    if not others:
        return first.passed_on(first.nonnegative, first.gate)
    behind = first.behind.union(*(mark.behind for mark in others))
    return Mark(
        behind=behind,
        nonnegative=all(m.nonnegative for m in marks),
        gate=min(m.gate for m in marks),
        zeros_idle=any(m.zeros_idle for m in marks),
    )
