"""Following the cells of every tensor through a forward pass: where they lie, and which layers they went through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from xaipipe.models.fields import MOVES_CELLS, SEES_WINDOWS, Call, Field, field_after
from xaipipe.models.meeting import Energy, Placed, joined, met, shares_of, spread
from xaipipe.models.scattered import Scattered


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Made from the image, but of no place on it: a class token, what was pooled, what was mixed over space."""


NOWHERE = Nowhere()
Places = Field | Scattered | Nowhere


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a tensor that is made from the image."""

    places: Places
    through: frozenset[int]
    """The layers that all of it went through: nothing of the image came past them."""


class Tracer(TorchFunctionMode):
    """Runs every operator as it is, and notes what is known of its result."""

    def __init__(self, energy: Energy = spread) -> None:
        super().__init__()
        self._energy = energy
        self._traces = WeakTensorKeyDictionary()

    def begin(self, image: Tensor) -> None:
        self._traces[image] = Trace(Field(), frozenset())

    def of(self, value: Any) -> Trace | None:
        """What is known of a tensor; None of what is not made from the image."""
        known = isinstance(value, Tensor) and value in self._traces
        return self._traces[value] if known else None

    def passed(self, output: Tensor, layer: int) -> None:
        """A layer put this out."""
        trace = self.of(output)
        if trace is not None:
            self._traces[output] = replace(trace, through=trace.through | {layer})

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        step = self._step(func, args, kwargs)
        result = func(*args, **kwargs)
        if step is not None:
            for index, output in enumerate(_outputs(result)):
                if output is not None:
                    self._traces[output] = Trace(step.places(index, output), step.through)
        return result

    def _step(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Step | None:
        """What is known before the call; None where nothing of it is made from the image."""
        name = _name_of(func)
        if name.startswith(_MADE_ANEW):
            return None
        read = tensors_in(args[:1] if name in _OF_THE_FIRST else [*args, *kwargs.values()])
        known = [(tensor, trace) for tensor in read if (trace := self.of(tensor)) is not None]
        return _Step.of(func, name, args, kwargs, known, self._energy) if known else None


@dataclass(frozen=True)
class _Step:
    """One operator's call, as it was before it ran: it may work in place."""

    func: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    placed: tuple[Placed, ...]
    shares: tuple[float, ...]
    elsewhere: tuple[Tensor, ...]
    """Operands that are made from the image and have no place on it."""
    through: frozenset[int]

    @classmethod
    def of(
        cls,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        known: Sequence[tuple[Tensor, Trace]],
        energy: Energy,
    ) -> _Step:
        placed, elsewhere = [], []
        for tensor, trace in known:
            if isinstance(trace.places, Nowhere):
                elsewhere.append(tensor)
            else:
                placed.append((tensor, trace.places))
        through = frozenset.intersection(*(trace.through for _, trace in known))
        shares = shares_of(placed, name, energy) if placed and name not in _ONE_BY_ONE else []
        return cls(func, name, args, kwargs, tuple(placed), tuple(shares), tuple(elsewhere), through)

    def places(self, index: int, output: Tensor) -> Places:
        """Of the result, or of one of several."""
        found = self._found(index, output) if self.placed else None
        if found is None:
            return NOWHERE
        if isinstance(found, Scattered):
            found = found.in_order() or found
        return _seeing_more(found) if self.elsewhere else found

    def _found(self, index: int, output: Tensor) -> Field | Scattered | None:
        places = self.placed[0][1]
        if self.name in _REORDERS:
            return self._by_rule(places, output) or self._reordered(index)
        if self.name in _JOINS:
            return self._joined(output)
        if self.name in _PRODUCTS:
            return self._product(output)
        if self.name in _REDUCES:
            return self._by_rule(places, output) or self._reduced(output)
        if self.name in _MEETS_OTHERS:
            return self._only_first(output)
        meeting = self._met(output)
        return self._by_rule(meeting, output) if isinstance(meeting, Field) else self._kept(meeting, output)

    def _by_rule(self, places: Field | Scattered, output: Tensor) -> Field | None:
        """What `fields` says of the operator."""
        shape = self.placed[0][0].shape
        call = Call(self.args, self.kwargs, shape, output)
        return field_after(self.name, places, call) if isinstance(places, Field) else None

    def _only_first(self, output: Tensor) -> Field | Scattered | None:
        """Operators in which other operands say what is done with the first: weights, keys and values."""
        first, places = self.placed[0]
        if not (self.args and self.args[0] is first) and first is not next(iter(self.kwargs.values()), None):
            return None
        if self.name in _ATTENDS:
            return _seeing_more(places) if output.shape == first.shape else None
        if isinstance(places, Scattered):
            return places.averaged(first.ndim - 1, output.shape[-1]) if self.name == "linear" else None
        return self._by_rule(places, output)

    def _met(self, output: Tensor) -> Field | Scattered | None:
        """The operands together. One with a single cell is a gate: it is the same for all."""
        wide = [i for i, (tensor, places) in enumerate(self.placed) if not _is_gate(tensor, places, output)]
        if not wide:
            return None
        total = sum(self.shares[i] for i in wide) or 1.0
        found = met([self.placed[i] for i in wide], [self.shares[i] / total for i in wide], output)
        return found if found is None or len(wide) == len(self.placed) else _seeing_more(found)

    def _kept(self, places: Scattered | None, output: Tensor) -> Scattered | None:
        same = places is not None and places.y.shape == output.shape and self.name not in MOVES_CELLS
        return places if same else None

    def _reordered(self, index: int) -> Scattered | None:
        """The same done to the places of the elements."""
        source = self._scattered(self.args[0]) if self.args else None
        if source is None:
            return None
        y, x = (self._rerun(places, index) for places in (source.y, source.x))
        return None if y is None or x is None else source.changed(y, x)

    def _rerun(self, places: Tensor, index: int) -> Tensor | None:
        func = Tensor.reshape if self.name == "view" else self.func  # places do not lie in memory like the elements
        try:
            moved = _outputs(func(places, *self.args[1:], **self.kwargs))[index]
        except (TypeError, RuntimeError):  # bytes seen as another type, say: no operator on places
            return None
        if self.name != "unfold" or moved is None:
            return moved
        inside = func(torch.ones_like(places), *self.args[1:], **self.kwargs)  # zeros are padding
        return torch.where(inside == 1, moved, torch.nan)

    def _joined(self, output: Tensor) -> Field | Scattered | None:
        """Along channels maps meet; along space they lie side by side."""
        dimension = self._dimension(1, 0) % output.ndim
        fields = [places for _, places in self.placed if isinstance(places, Field) and dimension not in places.axes]
        if self.name != "stack" and len(fields) == len(self.placed) and len({field.axes for field in fields}) == 1:
            return joined(fields, self.shares)
        parts = list(tensors_in([self.args[0] if self.args else self.kwargs["tensors"]]))
        known = [self._scattered(part) for part in parts]
        base = next(one.base for one in known if one is not None)

        def side_by_side(along: str) -> Tensor:
            places = [
                torch.full(part.shape, torch.nan, dtype=torch.float64, device=part.device)
                if one is None
                else getattr(one, along)
                for part, one in zip(parts, known, strict=True)
            ]
            joined: Tensor = torch.stack(places, dimension) if self.name == "stack" else torch.cat(places, dimension)
            return joined

        return Scattered(side_by_side("y"), side_by_side("x"), base)

    def _product(self, output: Tensor) -> Field | Scattered | None:
        """Rows of the left factor stay where they are; where it has no places, columns of the right one do."""
        if len(self.args) < 2:
            return None
        left, right = self.args[:2]
        rows, columns = self._scattered(left), self._scattered(right)
        found = None
        if rows is not None and left.ndim == output.ndim:
            found = rows.averaged(left.ndim - 1, output.shape[-1])
        elif rows is None and columns is not None and right.ndim == output.ndim:
            found = columns.averaged(right.ndim - 2, output.shape[-2])
        return found if found is None or len(self.placed) + len(self.elsewhere) == 1 else _seeing_more(found)

    def _reduced(self, output: Tensor) -> Scattered | None:
        given = self.args[1] if len(self.args) > 1 else self.kwargs.get("dim")
        found = self._scattered(self.args[0] if self.args else None)
        if not isinstance(given, int | tuple | list) or found is None:
            return None
        dimensions = found.y.ndim
        for dimension in sorted((d % dimensions for d in ([given] if isinstance(given, int) else given)), reverse=True):
            found = found and found.averaged(dimension, 1)
            if found is not None and output.ndim < dimensions:
                found = found.changed(found.y.squeeze(dimension), found.x.squeeze(dimension))
        return found

    def _dimension(self, position: int, default: int) -> int:
        value = self.args[position] if len(self.args) > position else self.kwargs.get("dim", self.kwargs.get("axis"))
        return default if value is None else int(value)

    def _scattered(self, tensor: Any) -> Scattered | None:
        places = next((places for one, places in self.placed if one is tensor), None)
        return Scattered.of(places, tensor.shape, tensor.device) if isinstance(places, Field) else places


def _seeing_more(places: Any) -> Any:
    """A place whose cells also depend on the rest of the image."""
    if isinstance(places, Field):
        return replace(places, sees_more=True)
    return Scattered(places.y, places.x, replace(places.base, sees_more=True))


def _is_gate(tensor: Tensor, places: Field | Scattered, output: Tensor) -> bool:
    if not isinstance(places, Field) or tensor.ndim != output.ndim:
        return False
    return any(tensor.shape[axis] == 1 < output.shape[axis] for axis in places.axes)


def _name_of(func: Any) -> str:
    name = getattr(func, "__name__", "")
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name


def _outputs(result: Any) -> list[Tensor | None]:
    several = result if isinstance(result, tuple | list) else (result,)
    return [one if isinstance(one, Tensor) else None for one in several]


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors of nested lists, tuples and dictionaries."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from tensors_in(value)
        elif isinstance(value, Mapping):
            yield from tensors_in(value.values())


_MADE_ANEW = ("new_", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like")
_OF_THE_FIRST = {"expand_as", "type_as", "view_as", "reshape_as", "to"}
_JOINS = {"cat", "concat", "concatenate", "stack"}
_PRODUCTS = {"matmul", "__matmul__", "bmm"}
_ATTENDS = {
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
    *("_native_multi_head_attention", "_transformer_encoder_layer_fwd"),
}
"""What the first operand asks for, and where its elements lie, has the first result."""
_REDUCES = {"mean", "sum", "amax", "amin", "max", "min", "var", "std", "nanmean", "logsumexp"}
_REORDERS = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"),
    *("t", "T", "mT", "squeeze", "unsqueeze", "select", "narrow", "chunk", "split", "tensor_split", "unbind"),
    *("__getitem__", "roll", "flip", "fliplr", "flipud", "rot90", "expand", "repeat", "tile", "view_as", "reshape_as"),
    *("expand_as", "unfold"),
}
"""Operators that put the same elements elsewhere."""
_MEETS_OTHERS = _ATTENDS | SEES_WINDOWS | {"linear"}
_ONE_BY_ONE = _REORDERS | _PRODUCTS | _REDUCES | _MEETS_OTHERS
"""Operators in which no operands meet element by element."""
