"""What is known of a tensor that depends on the explained input."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from xaipipe.propagation.weighted import Weighted


@dataclass(eq=False, slots=True)
class Place:
    """Where a weighted layer stands among the others of a forward pass."""

    first: bool
    """No weighted layer lies between it and the input."""
    last: bool = True
    """No weighted layer has read what comes from it; known when the forward pass is over."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Carried by every tensor that depends on the input."""

    nonnegative: bool = False
    gate: int = 0
    """How much it looks like a factor rather than a signal: what squashed it last."""
    behind: frozenset[Place] = frozenset()
    """The nearest weighted layers before it."""
    layer: tuple[Weighted, Tensor] | None = None
    """The weighted layer whose very output it is, and that layer's input."""
    padded: tuple[Tensor, tuple[int, ...]] | None = None
    """What it is with zeros around it, and how many: as of `F.pad`."""
    through: tuple[int, ...] | None = None
    """Channels through which alone anything passes on the way back, also where its layer is folded."""

    def passed_on(self, nonnegative: bool, gate: int = 0) -> Mark:
        """The mark of something computed from it."""
        return replace(self, nonnegative=nonnegative, gate=gate, layer=None, padded=None, through=None)


def merged(marks: tuple[Mark, ...]) -> Mark:
    """Of what is made of several tensors, before anything is known of how."""
    first, *others = marks
    behind = first.behind.union(*(mark.behind for mark in others)) if others else first.behind
    return Mark(behind=behind, nonnegative=all(m.nonnegative for m in marks), gate=min(m.gate for m in marks))
