"""What alone reads a convolution's output: a norm, an addition, a rectifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from xaipipe.propagation.calls import Call, slots_of
from xaipipe.propagation.names import spelling
from xaipipe.propagation.operators.norms import statistics_and_weights
from xaipipe.propagation.weights import Folding
from xaipipe_cam.fused import Settings, fusible

_EXACT = (torch.float32, torch.float64)
"""In others, folded weights round to something else."""
_BEFORE = {"batch_norm": {"conv2d"}, "add": {"conv2d", "batch_norm"}, "relu": {"conv2d", "batch_norm", "add"}}
"""What each follower can follow."""


@dataclass(frozen=True, eq=False, slots=True)
class Followed:
    """A convolution, and what follows it wherever its weight is used."""

    weight: Tensor
    """The model's own; kept, so that nothing else has its id."""
    bias: Tensor | None
    norm: Folding | None = None
    settings: Settings | None = None
    """None where convolutions cannot be fused with what follows."""
    adds: bool = False
    rectifies: bool = False

    @property
    def tensors(self) -> list[Tensor]:
        """Of the model, that it is made of."""
        of_norm = () if self.norm is None else self.norm[:4]
        return [one for one in (self.weight, self.bias, *of_norm) if one is not None]

    @property
    def steps(self) -> tuple[str, ...]:
        """The followers' names."""
        taken = {"batch_norm": self.norm is not None, "add": self.adds, "relu": self.rectifies}
        return tuple(name for name, is_taken in taken.items() if is_taken)

    def also(self, other: Followed) -> Followed:
        """What is common to two uses of a weight."""
        if self.bias is not other.bias or not same(self.norm, other.norm):
            return Followed(self.weight, self.bias)
        if self.steps != other.steps or self.settings != other.settings:
            return Followed(self.weight, self.bias, self.norm)
        return self


@dataclass(eq=False, slots=True)
class _Output:
    """Of a convolution, or of a follower."""

    tensor: ref[Tensor]
    maker: str
    norm: Folding | None = None
    readers: int = 0
    next: _Output | None = None

    def only(self, name: str) -> _Output | None:
        """The follower's output, where that alone reads this."""
        return self.next if self.readers == 1 and self.next is not None and self.next.maker == name else None


class Watching(TorchFunctionMode):
    """Sees who reads what convolutions put out."""

    def __init__(self) -> None:
        super().__init__()
        self._convolutions: list[tuple[Followed, _Output]] = []
        self._written: set[int] = set()
        """Memory that the pass wrote into."""
        self._by_id: dict[int, _Output] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = call_of(func, args, kwargs or {})
        if (memory := written(call)) is not None:
            self._written.add(memory)
        before = None if spelling(func).is_about else self._read(call)
        result = func(*args, **call.kwargs)
        if call.name == "conv2d":
            self._convolved(call, result)
        elif before is not None:
            before.next = self._made(call, result)
        return result

    def _read(self, call: Call) -> _Output | None:
        """The output that the call follows, if it does."""
        for _, tensor in slots_of(call.args, call.kwargs):
            output = self._of(tensor)
            if output is not None:
                output.readers += 1
        outputs = map(self._of, can_follow(call))
        fitting = [one for one in outputs if one and one.readers == 1 and one.maker in _BEFORE[call.name]]
        return fitting[-1] if fitting else None

    def _of(self, tensor: Tensor) -> _Output | None:
        output = self._by_id.get(id(tensor))
        return output if output is not None and output.tensor() is tensor else None

    def _convolved(self, call: Call, result: Tensor) -> None:
        weight = call.get(1, "weight")
        if weight.dtype in _EXACT and result.dtype == weight.dtype:
            seen = Followed(weight, call.get(2, "bias"), settings=fusible(call))
            self._convolutions.append((seen, self._made(call, result)))

    def _made(self, call: Call, result: Tensor) -> _Output:
        made = self._by_id[id(result)] = _Output(ref(result), call.name, norm_of(call))
        return made

    def followed(self) -> list[Followed]:
        """Convolutions that something follows."""
        found: dict[int, Followed] = {}
        for seen, output in self._convolutions:
            one = _with_followers(seen, output)
            first = found.get(id(one.weight))
            found[id(one.weight)] = one if first is None else first.also(one)
        return [one for one in found.values() if one.steps and self._written.isdisjoint(map(memory_of, one.tensors))]


def _with_followers(seen: Followed, output: _Output) -> Followed:
    normed = output.only("batch_norm")
    if normed is not None and normed.norm is None:  # by the batch's own statistics
        return seen
    seen = replace(seen, norm=None if normed is None else normed.norm)
    last = output if normed is None else normed
    added = last.only("add")
    rectified = (last if added is None else added).only("relu")
    if seen.settings is None or rectified is None:
        return seen
    return replace(seen, adds=added is not None, rectifies=True)


def call_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    return Call(func, spelling(func).name, args, kwargs, (), (), ())


def memory_of(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def written(call: Call) -> int | None:
    """The memory that a call writes into."""
    how = spelling(call.function)
    if not call.args or not isinstance(call.args[0], Tensor) or not how.writes(call.args, call.kwargs):
        return None
    return memory_of(call.args[0])


def can_follow(call: Call) -> tuple[Tensor, ...]:
    """The tensors one of which a convolution could hand on with this call's work done."""
    first = call.get(0, "input")
    if call.name in ("batch_norm", "relu"):
        return (first,)
    if call.name != "add" or call.kwargs or len(call.args) != 2:
        return ()
    other = call.args[1]
    if not (isinstance(first, Tensor) and isinstance(other, Tensor)):
        return ()
    if first is other or (first.shape, first.dtype, first.device) != (other.shape, other.dtype, other.device):
        return ()
    return (first,) if spelling(call.function).writes(call.args, call.kwargs) else (first, other)


def norm_of(call: Call) -> Folding | None:
    """Of a batch norm by running statistics; None of anything else."""
    if call.name != "batch_norm" or call.get(5, "training", False):
        return None
    norm = statistics_and_weights(call)
    return None if norm[0] is None or norm[1] is None else norm


def same(one: Folding | None, other: Folding | None) -> bool:
    """The very same tensors."""
    if one is None or other is None:
        return one is other
    return all(a is b for a, b in zip(one[:4], other[:4], strict=True)) and one[4] == other[4]
