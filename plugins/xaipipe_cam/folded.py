"""Running a model with its batch norms folded into the convolutions before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaipipe.models.forward import Forward
from xaipipe.propagation.calls import Call, slots_of
from xaipipe.propagation.names import spelling
from xaipipe.propagation.operators.norms import statistics_and_weights
from xaipipe.propagation.weights import Folding, Weights

_EXACT = (torch.float32, torch.float64)
"""In others, folded weights round to something else."""


class DeviatesError(Exception):
    """The model did something else with a convolution's output than before."""


@dataclass(frozen=True, eq=False, slots=True)
class _Folded:
    """A convolution's weights with the norm in them that alone reads what it puts out."""

    weight: Tensor
    """The model's own; kept, so that nothing else has its id."""
    bias: Tensor | None
    norm: Folding
    effective: tuple[Tensor, Tensor | None]


class FoldedModel:
    """A model of which each pass is run anew, but for its batch norms.

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
        """Bytes of the weights that are kept."""
        return sum(one.weight.nbytes for one in self._known.values())

    def learn(self, call: Forward, pixels: Tensor) -> Any:
        """The model's answer."""
        with _Learning() as seen:
            answer = call(pixels)
        own = {id(parameter) for parameter in self._module.parameters()}  # others are made anew in every pass
        self._known = {id(one[0]): self._folded(*one) for one in seen.foldable() if id(one[0]) in own}
        return answer

    def run(self, call: Forward, pixels: Tensor) -> Any:
        """The model's answer, but for rounding."""
        with _Folding(self._known) as folding:
            answer = call(pixels)
        if folding.waiting:
            raise DeviatesError
        return answer

    def _folded(self, weight: Tensor, bias: Tensor | None, norm: Folding) -> _Folded:
        weights = Weights(weight, bias, norms=(norm,))
        return _Folded(weight, bias, norm, (weights.weight().contiguous(memory_format=self._order), weights.bias()))


@dataclass(eq=False, slots=True)
class _Output:
    """Of a convolution."""

    tensor: ref[Tensor]
    weight: Tensor
    bias: Tensor | None
    readers: int = 0
    norm: Folding | None = None


class _Learning(TorchFunctionMode):
    """Sees who reads what convolutions put out."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: list[_Output] = []
        self._by_id: dict[int, _Output] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = _call(func, args, kwargs or {})
        if not spelling(func).is_about:
            self._read(call)
        result = func(*args, **call.kwargs)
        if call.name == "conv2d":
            self._made(call, result)
        return result

    def _read(self, call: Call) -> None:
        for _, tensor in slots_of(call.args, call.kwargs):
            seen = self._by_id.get(id(tensor))
            if seen is not None and seen.tensor() is tensor:
                seen.readers += 1
                seen.norm = _norm_of(call) if tensor is call.get(0, "input") else None

    def _made(self, call: Call, result: Tensor) -> None:
        weight = call.get(1, "weight")
        if weight.dtype in _EXACT and result.dtype == weight.dtype:
            self._outputs.append(_Output(ref(result), weight, call.get(2, "bias")))
            self._by_id[id(result)] = self._outputs[-1]

    def foldable(self) -> list[tuple[Tensor, Tensor | None, Folding]]:
        """Weight, bias, norm. A weight that is used several times is folded where the same norm follows each time."""
        found: dict[int, _Output] = {}
        for seen in self._outputs:
            seen.norm = seen.norm if seen.readers == 1 else None
            first = found.setdefault(id(seen.weight), seen)
            if seen.bias is not first.bias or not _same(seen.norm, first.norm):
                first.norm = None
        return [(one.weight, one.bias, one.norm) for one in found.values() if one.norm is not None]


class _Folding(TorchFunctionMode):
    """Convolutions put out what their norm would make of it, and the norm hands that on."""

    def __init__(self, known: dict[int, _Folded]) -> None:
        super().__init__()
        self._known = known
        self.waiting: dict[int, tuple[Tensor, Folding]] = {}
        """What convolutions put out whose norm is to come, by id."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = spelling(func).name
        if name == "batch_norm" and self.waiting:
            normed = self._normed(_call(func, args, kwargs))
            if normed is not None:
                return normed
        if self.waiting and not spelling(func).is_about:
            self._require_others(args, kwargs)
        if name == "conv2d":
            return self._convolved(_call(func, args, kwargs))
        return func(*args, **kwargs)

    def _normed(self, call: Call) -> Tensor | None:
        key = id(call.get(0, "input"))
        output, norm = self.waiting.get(key, (None, None))
        if output is None or not _same(norm, _norm_of(call)):
            return None
        del self.waiting[key]
        return output

    def _convolved(self, call: Call) -> Tensor:
        found = self._known.get(id(call.get(1, "weight")))
        if found is None or call.get(2, "bias") is not found.bias:
            unchanged: Tensor = call.function(*call.args, **call.kwargs)
            return unchanged
        others = {name: value for name, value in call.kwargs.items() if name not in ("input", "weight", "bias")}
        result: Tensor = call.function(call.get(0, "input"), *found.effective, *call.args[3:], **others)
        if result.dtype != found.weight.dtype:  # under autocast, which it was not before
            raise DeviatesError
        self.waiting[id(result)] = result, found.norm
        return result

    def _require_others(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if any(id(tensor) in self.waiting for _, tensor in slots_of(args, kwargs)):
            raise DeviatesError


def _call(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    return Call(func, spelling(func).name, args, kwargs, (), (), ())


def _norm_of(call: Call) -> Folding | None:
    """Of a batch norm by running statistics; None of anything else."""
    if call.name != "batch_norm" or call.get(5, "training", False):
        return None
    norm = statistics_and_weights(call)
    return None if norm[0] is None or norm[1] is None else norm


def _same(one: Folding | None, other: Folding | None) -> bool:
    """The very same tensors."""
    if one is None or other is None:
        return one is other
    return all(a is b for a, b in zip(one[:4], other[:4], strict=True)) and one[4] == other[4]
