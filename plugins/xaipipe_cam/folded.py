"""Running a model with what follows its convolutions done by them: batch norms, and on a CPU sums and rectifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.models.forward import Forward
from xaipipe.propagation.calls import Call, slots_of
from xaipipe.propagation.names import spelling
from xaipipe.propagation.weights import Weights
from xaipipe_cam.followers import Followed, Watching, call_of, can_follow, memory_of, norm_of, same, written
from xaipipe_cam.fused import FusedConvolution, can_fuse, settings_of

_KNOWN = frozenset({"conv2d", "batch_norm", "add", "relu"})


class DeviatesError(Exception):
    """The model did something else with a convolution's output than before."""


@dataclass(frozen=True, eq=False, slots=True)
class _Folded:
    """A convolution that has its followers' work done."""

    seen: Followed
    weight: Tensor
    bias: Tensor | None
    fused: FusedConvolution | None


class FoldedModel:
    """A model of which each pass is run anew, but for batch norms, sums and rectifiers behind convolutions.

    `learn` sees one pass as it is; `run` is for those that follow, as long as weights stay as they are. Nothing is
    taken for granted: where the model does something else than in the pass that was seen, `run` raises
    `DeviatesError`, and the pass has to be run as it is.
    """

    def __init__(self, module: nn.Module, order: torch.memory_format) -> None:
        self._module, self._order = module, order
        self._known: dict[int, _Folded] = {}
        """By the id of the model's weight."""

    @property
    def held(self) -> int:
        """Bytes of the weights that are kept, each in the order in which it was made and in another."""
        return sum(one.weight.nbytes * (1 if one.fused is None else 2) for one in self._known.values())

    def learn(self, call: Forward, pixels: Tensor) -> Any:
        """The model's answer."""
        with Watching() as seen:
            answer = call(pixels)
        own = {id(parameter) for parameter in self._module.parameters()}  # others are made anew in every pass
        self._known = {id(one.weight): self._folded(one) for one in seen.followed() if id(one.weight) in own}
        return answer

    def run(self, call: Forward, pixels: Tensor) -> Any:
        """The model's answer, but for rounding."""
        with _Folding(self._known) as folding:
            answer = call(pixels)
        if folding.waiting or folding.is_kept_by_others:
            raise DeviatesError
        return answer

    def _folded(self, seen: Followed) -> _Folded:
        weights = Weights(seen.weight, seen.bias, norms=() if seen.norm is None else (seen.norm,))
        weight, bias = weights.weight().contiguous(memory_format=self._order), weights.bias()
        fused = None if seen.settings is None else FusedConvolution(weight, bias, seen.settings)
        return _Folded(seen, weight, bias, fused)


@dataclass(frozen=True, eq=False, slots=True)
class _Waiting:
    """What a convolution put out, and which followers have to ask for it before anybody else reads it."""

    tensor: Tensor
    seen: Followed
    steps: tuple[str, ...]
    add: Callable[[Tensor], Tensor] | None
    """Makes the values, once there is something to add; None where they are there."""


class _Folding(TorchFunctionMode):
    """Convolutions put out what their followers would make of it, and these hand that on."""

    def __init__(self, known: dict[int, _Folded]) -> None:
        super().__init__()
        self._known = known
        self.waiting: dict[int, _Waiting] = {}
        """By the tensor's id."""
        self._handed_on: WeakValueDictionary[int, Tensor] = WeakValueDictionary()
        """Tensors by id that have other values than the model thinks, which nobody may read any more."""
        self._folded_in = {memory_of(tensor) for one in known.values() for tensor in one.seen.tensors}
        """The memory of weights and norms, which have to stay as they were."""

    @property
    def is_kept_by_others(self) -> bool:
        """Whether somebody, a hook say, still holds a tensor that has other values than the model thinks."""
        return len(self._handed_on) > 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        how = spelling(func)
        if how.is_about:
            return func(*args, **kwargs)
        call = call_of(func, args, kwargs)
        if written(call) in self._folded_in:
            raise DeviatesError
        if how.name not in _KNOWN:
            self._require_others(args, kwargs)
            return func(*args, **kwargs)
        followed = self._waiting_for(call)
        self._require_others(args, kwargs, followed)
        if followed is not None:
            return self._done_before(call, followed)
        return self._convolved(call) if call.name == "conv2d" else func(*args, **kwargs)

    def _waiting_for(self, call: Call) -> _Waiting | None:
        """The output for which this call is the next step."""
        if not self.waiting or call.name == "conv2d":
            return None
        for tensor in can_follow(call):
            found = self.waiting.get(id(tensor))
            if found is not None and found.steps[0] == call.name:
                return found if call.name != "batch_norm" or same(found.seen.norm, norm_of(call)) else None
        return None

    def _require_others(self, args: tuple[Any, ...], kwargs: dict[str, Any], followed: _Waiting | None = None) -> None:
        """Nothing but its follower reads what waits, and nothing what was handed on."""
        if not self.waiting and not self._handed_on:
            return
        own = None if followed is None else followed.tensor
        for _, tensor in slots_of(args, kwargs):
            if tensor is not own and (id(tensor) in self.waiting or id(tensor) in self._handed_on):
                raise DeviatesError

    def _done_before(self, call: Call, followed: _Waiting) -> Tensor:
        """What the convolution put out, as this follower's result."""
        own, add = followed.tensor, followed.add
        del self.waiting[id(own)]
        values = own
        if call.name == "add":
            assert add is not None
            values = add(call.args[1] if call.args[0] is own else call.args[0])
            add = None
        result = self._as_result(call, own, values)
        if len(followed.steps) > 1:
            self.waiting[id(result)] = _Waiting(result, followed.seen, followed.steps[1:], add)
        return result

    def _as_result(self, call: Call, own: Tensor, values: Tensor) -> Tensor:
        """The very tensor where the model has it written over; else another, and the model may not read both."""
        if spelling(call.function).writes(call.args, call.kwargs):
            return own if values is own else own.set_(values)  # type: ignore[call-overload]
        self._handed_on[id(own)] = own
        return values.detach() if values is own else values

    def _convolved(self, call: Call) -> Tensor:
        found = self._known.get(id(call.get(1, "weight")))
        if found is None or call.get(2, "bias") is not found.seen.bias:
            unchanged: Tensor = call.function(*call.args, **call.kwargs)
            return unchanged
        result, add = (_plainly(call, found), None) if found.fused is None else _fused(call, found.fused, found.seen)
        if result.dtype != found.weight.dtype:  # under autocast, which it was not before
            raise DeviatesError
        self.waiting[id(result)] = _Waiting(result, found.seen, found.seen.steps, add)
        return result


def _plainly(call: Call, found: _Folded) -> Tensor:
    others = {name: value for name, value in call.kwargs.items() if name not in ("input", "weight", "bias")}
    result: Tensor = call.function(call.get(0, "input"), found.weight, found.bias, *call.args[3:], **others)
    return result


def _fused(call: Call, fused: FusedConvolution, seen: Followed) -> tuple[Tensor, Callable[[Tensor], Tensor] | None]:
    """The output, and what makes its values where they have to wait for something to be added."""
    x = call.get(0, "input")
    if not can_fuse(x) or settings_of(call) != seen.settings:
        raise DeviatesError
    if not seen.adds:
        return fused.rectified(x) if seen.rectifies else fused.alone(x), None
    version = x._version

    def add(other: Tensor) -> Tensor:
        if x._version != version or not can_fuse(x):  # it was written over, or the mode is another
            raise DeviatesError
        return fused.added_and_rectified(x, other)

    return fused.not_yet(x), add
