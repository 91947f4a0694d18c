"""An operator's call, taken apart: which of its arguments depend on the input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xaipipe.propagation.marks import Mark

Slot = tuple[int | str, int | None]
"""An argument's position or name, and the place within it where it is a list."""


@dataclass(eq=False, slots=True)
class Call:
    """One call of a torch function, never changed. `operands` are the arguments that depend on the explained input."""

    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    slots: tuple[Slot, ...]
    operands: tuple[Tensor, ...]
    marks: tuple[Mark, ...]
    constants: tuple[Tensor, ...] = ()
    """The other tensors among the arguments."""
    layer: str = ""
    """Dotted name of the innermost module that is running."""
    overwrites: bool = False
    """Whether the model has the result written over the first argument."""

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by position or name."""
        return self.args[position] if position < len(self.args) else self.kwargs.get(name, default)

    def depends(self, position: int, name: str = "") -> bool:
        """Whether that argument depends on the input."""
        return any(key in (position, name) for key, _ in self.slots)

    def again(self) -> Callable[..., Any]:
        """The same call as a function of the operands; it does not keep those of this call."""
        args, kwargs = with_tensors(self.args, self.kwargs, self.slots, [None] * len(self.slots))
        function, slots = self.function, self.slots

        def run(*operands: Tensor) -> Any:
            positional, named = with_tensors(args, kwargs, slots, operands)
            return function(*positional, **named)

        return run


def with_tensors(
    args: tuple[Any, ...], kwargs: dict[str, Any], slots: Sequence[Slot], tensors: Sequence[Tensor | None]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with other tensors in some places."""
    positional, named = list(args), dict(kwargs)
    for (key, inner), tensor in zip(slots, tensors, strict=True):
        holder: Any = positional if isinstance(key, int) else named
        if inner is None:
            holder[key] = tensor
        else:
            holder[key] = (*holder[key][:inner], tensor, *holder[key][inner + 1 :])
    return tuple(positional), named


def slots_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[Slot, Tensor]]:
    """Every tensor among the arguments, those in lists too."""
    found: list[tuple[Slot, Tensor]] = []
    named: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    for key, value in named:
        if isinstance(value, Tensor):
            found.append(((key, None), value))
        elif isinstance(value, tuple | list):
            found.extend(((key, i), part) for i, part in enumerate(value) if isinstance(part, Tensor))
    return found
