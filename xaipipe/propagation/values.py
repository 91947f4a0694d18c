"""What names stand for in a forward pass in which nothing is overwritten.

A model may write into tensors; rules need them as they were. So an operator that writes makes a new tensor instead,
and from then on the old one, and every view of its memory, stands for the new one. What is known of a tensor is kept
on the tensor itself, so that it lives as long and no longer; each pass has its own entry, since threads share weights.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaipipe.propagation.function import Overwritten
from xaipipe.propagation.positions import Replay, placed, taken_out

_NOW, _VIEW = "_xaipipe_now", "_xaipipe_view"


@dataclass(frozen=True, eq=False, slots=True)
class _View:
    owner: Values
    base: Tensor
    content: Tensor
    """What the base stood for when the view was made."""
    replay: Replay


class Values:
    """Of one forward pass.

    `made_of(new, sources)`, a method, is told of every tensor that is made here; `own` holds the model's weights by
    their ids. The method's owner is held weakly: in a cycle the pass's input would live until garbage is collected.
    """

    def __init__(self, made_of: Callable[[Tensor, Sequence[Tensor]], None], own: Mapping[int, Tensor]) -> None:
        self._made_of, self._own = weakref.WeakMethod(made_of), own
        self._written: list[weakref.ref[Tensor]] = []
        self._views: list[weakref.ref[Tensor]] = []
        self._trapped: list[Tensor] = []
        self._stood_for: dict[int, list[weakref.ref[Tensor]]] = {}
        """By the id of a tensor: those that it stands for."""

    def current(self, tensor: Tensor) -> Tensor:
        """What a tensor stands for now."""
        if not self._written:
            return tensor
        tensor = self._latest(tensor)
        view = self._view_of(tensor)
        if view is None:
            return tensor
        base = self.current(view.base)
        if base is view.content:
            return tensor
        remade = view.replay(base)
        self._tell(remade, (base,))
        self.note_view(remade, base, view.replay)
        self._stand(tensor, remade)
        return remade

    def note_view(self, tensor: Tensor, base: Tensor, replay: Replay) -> None:
        """`tensor` looks into the memory of `base`, which stands for itself."""
        setattr(tensor, _VIEW, _View(self, base, base, replay))
        self._views.append(weakref.ref(tensor))

    def same_view(self, tensor: Tensor, other: Tensor) -> Tensor:
        """`other` shows what `tensor` shows."""
        view = self._view_of(tensor)
        if view is not None:
            setattr(other, _VIEW, view)
        return other

    def looks_into(self, tensor: Tensor) -> Tensor | None:
        """The tensor whose memory a view shows, as it stands now."""
        view = self._view_of(tensor)
        return None if view is None else self.current(view.base)

    def write(self, tensor: Tensor, new: Tensor) -> None:
        """Have a tensor that stands for itself, and all that shares its memory, stand for what was written."""
        view = self._view_of(tensor)
        if view is not None:
            base = self.current(view.base)
            changed = _changed(base, view.replay, new, hidden=tensor.is_leaf)
            self._tell(changed, (base, new))
            setattr(new, _VIEW, _View(self, changed, changed, view.replay))
            self.write(base, changed)
        self._stand(tensor, new)

    def stale(self) -> Iterator[Tensor]:
        """Tensors that are still there, but whose memory does not hold what they stand for."""
        for reference in (*self._written, *self._views):
            tensor = reference()
            if tensor is not None and self.current(tensor) is not tensor:
                yield tensor

    def forget(self) -> None:
        """Leave no trace on tensors that outlive the pass."""
        for reference in self._written:
            tensor = reference()
            if tensor is not None:
                _names(tensor).pop(self, None)
                if not _names(tensor):
                    delattr(tensor, _NOW)
        for tensor in self._trapped:
            tensor.requires_grad_(False)
        self._written.clear()
        self._views.clear()
        self._trapped.clear()
        self._stood_for.clear()

    def _tell(self, new: Tensor, sources: Sequence[Tensor]) -> None:
        made_of = self._made_of()
        assert made_of is not None, "the pass is over"
        made_of(new, sources)

    def _stand(self, tensor: Tensor, new: Tensor) -> None:
        before = list(self._standing_for(tensor))
        for old in (*before, tensor):  # what stood for it between is let go
            names = _names(old)
            names[self] = new
            setattr(old, _NOW, names)
        self._stood_for[id(new)] = [weakref.ref(old) for old in (*before, tensor)]
        self._written.append(weakref.ref(tensor))
        if (
            new.requires_grad
            and not tensor.requires_grad
            and tensor.is_floating_point()
            and id(tensor) not in self._own
        ):
            tensor.requires_grad_()  # whatever reads its memory out of sight is then seen in the graph
            self._trapped.append(tensor)

    def _standing_for(self, tensor: Tensor) -> Iterator[Tensor]:
        """What a tensor stands for; ids are those of others later on."""
        for reference in self._stood_for.pop(id(tensor), ()):
            old = reference()
            if old is not None and _names(old).get(self) is tensor:
                yield old

    def _latest(self, tensor: Tensor) -> Tensor:
        first = tensor
        while (now := getattr(tensor, _NOW, None)) is not None and self in now:
            tensor = now[self]
        if tensor is not first:
            getattr(first, _NOW)[self] = tensor  # the next look is shorter
        return tensor

    def _view_of(self, tensor: Tensor) -> _View | None:
        view: _View | None = getattr(tensor, _VIEW, None)
        if view is not None and view.owner is self:
            return view
        if not tensor.is_leaf or not tensor._is_view() or tensor._base is None:
            return None
        return _View(self, tensor._base, tensor._base, taken_out(tensor))  # a constant's, which nobody has noted


def _changed(base: Tensor, replay: Replay, new: Tensor, hidden: bool) -> Tensor:
    """The base after a view was written into; torch's gradient knows nothing of what is written through `detach`."""
    if not hidden or not base.requires_grad:
        return placed(base, replay, new)
    with torch.enable_grad():
        changed: Tensor = Overwritten.apply(base, placed(base.detach(), replay, new.detach()))  # type: ignore[no-untyped-call]
    return changed


def _names(tensor: Tensor) -> dict[Values, Tensor]:
    """By pass: what a tensor stands for."""
    names: dict[Values, Tensor] = getattr(tensor, _NOW, None) or {}
    return names
