"""Whether a network can be explained tile by tile as if it had seen the whole image.

It can where every operator up to one or more global poolings is local: a cell of a map then depends on a window of the
input and on nothing else. `trace_locality` runs the model once and looks at every operator. One that is not known to
be local is named, so that nothing is ever called exact by mistake.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.models.fields import Call, Field, field_after, merged_field
from xaipipe.models.forward import forward
from xaipipe.models.operators import ATTENDS, MEETINGS, POINTWISE, WINDOWS, keeps_space, pooled_dimensions

_STATE = "_xaipipe_locality"
Beyond = Literal["pooled", "mixed"]


@dataclass(frozen=True, slots=True)
class Pool:
    """A global pooling: which of the calls that look like one, and the cells that go into it."""

    call: int
    mean: bool
    """Its result is the mean of the cells; their sum where False."""
    axes: tuple[int, int]
    """The dimensions of its input that are y and x."""
    field: Field
    cells: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Locality:
    """What a forward pass showed. Exact where `obstacles` is empty and `pools` is not."""

    pools: tuple[Pool, ...]
    stride: tuple[int, int]
    """Tiles begin at multiples of these, so that every strided operator falls onto the same pixels."""
    obstacles: tuple[str, ...]


def trace_locality(module: nn.Module, pixels: Tensor) -> Locality:
    """Run the model on one image and look at its operators."""
    tracer = _Tracer()
    with torch.no_grad():
        image = pixels[:1].detach().clone()
        setattr(image, _STATE, Field())
        with tracer:
            forward(module, image)
    y, x = tracer.stride
    return Locality(tuple(tracer.pools), (y, x), _most_telling(tracer.obstacles))


def _most_telling(obstacles: list[str]) -> tuple[str, ...]:
    """Each once, attention before the reshaping that leads up to it."""
    unique = list(dict.fromkeys(obstacles))
    return tuple(sorted(unique, key=lambda name: name.split()[0] not in ATTENDS))


@dataclass(eq=False)
class _Tracer(TorchFunctionMode):
    """Runs every operator as it is, and writes onto its result how it depends on the image."""

    pools: list[Pool] = field(default_factory=list)
    stride: list[int] = field(default_factory=lambda: [1, 1])
    obstacles: list[str] = field(default_factory=list)
    calls_like_pools: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        pooled = pooled_dimensions(name, args, kwargs)
        self.calls_like_pools += pooled is not None  # also of weights: whoever counts later does not know of what
        carriers = [t for t in _tensors([*args, *kwargs.values()]) if getattr(t, _STATE, None) is not None]
        states = [getattr(t, _STATE) for t in carriers]
        result = func(*args, **kwargs)
        outputs = _tensors([result])
        if carriers and outputs:
            call = Call(args, kwargs, carriers[0].shape, outputs[0])
            after = self._after(name, states, call, pooled)
            for output in outputs:
                setattr(output, _STATE, after)
        return result

    def _after(
        self, name: str, states: list[Field | Beyond], call: Call, pooled: tuple[int, int] | None
    ) -> Field | Beyond:
        fields = [state for state in states if isinstance(state, Field)]
        if not fields or "mixed" in states:
            return self._beyond(name, states)
        if "pooled" in states:
            return self._mixed(f"{name} (of maps with what was pooled from them: squeeze and excitation)")
        if pooled is not None and set(pooled) == set(fields[0].axes):
            return self._pooled(name, fields[0], call)
        if name in MEETINGS and _meets_a_stranger(fields[0], call):
            return self._mixed(f"{name} (of maps with others that are not made from the image)")
        after = _local(name, fields, call)
        return self._mixed(name) if after is None else self._strided(name, after)

    def _beyond(self, name: str, states: list[Field | Beyond]) -> Beyond:
        if "mixed" not in states:
            return "pooled"
        if name in ATTENDS:
            self.obstacles.append(name)
        return "mixed"

    def _mixed(self, obstacle: str) -> Beyond:
        self.obstacles.append(obstacle)
        return "mixed"

    def _pooled(self, name: str, place: Field, call: Call) -> Beyond:
        y, x = place.axes
        self.pools.append(
            Pool(self.calls_like_pools - 1, name != "sum", place.axes, place, (call.shape[y], call.shape[x]))
        )
        return "pooled"

    def _strided(self, name: str, after: Field) -> Field | Beyond:
        for axis in (0, 1):
            scale = after.scale[axis]
            if scale != int(scale):
                return self._mixed(f"{name} (its cells are {scale:.4g} pixels wide)")
            self.stride[axis] = math.lcm(self.stride[axis], int(scale))
        return after


def _local(name: str, fields: list[Field], call: Call) -> Field | None:
    """The field behind a local operator; None where it is not known to be local."""
    place = merged_field(fields)
    if place is None:
        return None
    if name in WINDOWS:
        return None if call.get(2, "mode") == "circular" else field_after(name, place, call)
    if name in POINTWISE:
        return place if call.output.shape == call.shape or _broadcast(place, call) else None
    return keeps_space(name, place, call)


def _meets_a_stranger(place: Field, call: Call) -> bool:
    """Whether an operand has cells that are not made from the image: coordinates, say, which a tile counts anew."""
    others = [t for t in _tensors([*call.args, *call.kwargs.values()]) if getattr(t, _STATE, None) is None]
    spatial = [axis - call.output.ndim for axis in place.axes]  # from the end, as operands are broadcast
    return any(t.ndim >= -axis and t.shape[axis] > 1 for t in others for axis in spatial)


def _broadcast(place: Field, call: Call) -> bool:
    y, x = place.axes
    shape = call.output.shape
    return len(shape) == len(call.shape) and (shape[y], shape[x]) == (call.shape[y], call.shape[x])


def _tensors(values: list[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, tuple | list):
            found.extend(_tensors(list(value)))
    return found
