"""What describing an operator's call gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Mark
from xaipipe.propagation.operation import Operation


@dataclass(eq=False, slots=True)
class Described:
    """An operator that rules apply to, and the mark of its result."""

    operation: Operation
    mark: Mark
    operands: tuple[Tensor, ...]
    """Of the operation, in its order."""
    ready: Callable[[], Tensor] | None = None
    """Makes the result, where the operation itself would take longer, or round in another way."""
    finish: Callable[[Tensor], Any] | None = None
    """What the model gets, where that is more than the result."""


@dataclass(frozen=True, eq=False, slots=True)
class Route:
    """An operator that moves values and changes none: its gradient is right for every rule."""

    nonnegative: bool | None = None
    """Of the result, where it does not follow from the operands."""


@dataclass(frozen=True, eq=False, slots=True)
class Decomposed:
    """An operator to be run as several others."""

    run: Callable[[], Any]
    parts: tuple[str, ...] = ()
    """Kinds of the others. Where no rule asks for any of them, the operator may be run whole; without, it never is."""


@dataclass(frozen=True, eq=False, slots=True)
class Surroundings:
    """What a describer may need beside the call."""

    cache: WeightCache
    own: Mapping[int, Tensor]
    """The model's parameters and buffers, and what stands for them, by their ids."""


Describer = Callable[[Call, Surroundings], Described | Route | Decomposed | None]
