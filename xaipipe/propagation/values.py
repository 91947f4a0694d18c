"""What names stand for in a forward pass in which nothing is overwritten.

A model may write into tensors; rules need them as they were. So an operator that writes makes a new tensor instead,
and from then on the old one, and every view of its memory, stands for the new one. What is known of a tensor is kept
on the tensor itself, so that it lives as long and no longer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Replay = Callable[[Tensor], Tensor]
"""Makes a view of another base."""
_NOW, _VIEW = "_xaipipe_now", "_xaipipe_view"


@dataclass(frozen=True, eq=False, slots=True)
class _View:
    owner: Values
    base: Tensor
    content: Tensor | None
    """What the base stood for when the view was made; None where the view has to be made anew each time."""
    replay: Replay


class Values:
    """Of one forward pass."""

    def __init__(self) -> None:
        self._written: list[weakref.ref[Tensor]] = []

    def current(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for now."""
        if not self._written:
            return tensor
        now: tuple[Values, Tensor] | None = getattr(tensor, _NOW, None)
        if now is not None and now[0] is self:
            return self.current(now[1])
        view = self._view(tensor)
        if view is None:
            return tensor
        base = self.current(view.base)
        if base is view.content:
            return tensor
        remade: Tensor = view.replay(base)
        return remade

    def note_view(self, tensor: Tensor, base: Tensor, replay: Replay) -> None:
        """`base` stands for itself."""
        setattr(tensor, _VIEW, _View(self, base, base, replay))

    def write(self, tensor: Tensor, new: Tensor) -> None:
        """Have a tensor that stands for itself, and all that shares its memory, stand for what was written."""
        view = self._view(tensor)
        if view is None:
            setattr(tensor, _NOW, (self, new))
            self._written.append(weakref.ref(tensor))
            return
        base = self.current(view.base).clone()
        view.replay(base).copy_(new)
        setattr(tensor, _VIEW, _View(self, view.base, None, view.replay))
        self.write(view.base, base)

    def forget(self) -> None:
        """Leave no trace on tensors that outlive the pass."""
        for reference in self._written:
            tensor = reference()
            if tensor is not None:
                delattr(tensor, _NOW)
        self._written.clear()

    def _view(self, tensor: Tensor) -> _View | None:
        view: _View | None = getattr(tensor, _VIEW, None)
        return view if view is not None and view.owner is self else None
