"""Elementwise ops: registered from a description, run on raw memory, batched without copies of activations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xaipipe.ops import _checks, _library


class Arguments(NamedTuple):
    """A call's, the tensors by their names."""

    repeated: dict[str, Tensor]
    shared: dict[str, Tensor]
    parameters: tuple[Any, ...]


@dataclass(frozen=True)
class Elementwise:
    """An op as its header under csrc/ states it. The order of its tensors and parameters is the kernel's."""

    name: str
    tensors: tuple[str, ...]
    repeated: frozenset[str]
    """Those of `tensors` that may have leading axes, one block of elements a target."""
    outputs: int
    parameters: dict[str, float | None]
    """Each with the least value it may have, None for any finite one."""

    @property
    def arguments(self) -> str:
        return ", ".join([f"Tensor {name}" for name in self.tensors] + [f"float {name}" for name in self.parameters])

    @property
    def signature(self) -> str:
        results = "Tensor" if self.outputs == 1 else f"({', '.join(['Tensor'] * self.outputs)})"
        return f"{self.name}({self.arguments}) -> {results}"

    def split(self, values: tuple[Any, ...]) -> Arguments:
        tensors, parameters = values[: len(self.tensors)], values[len(self.tensors) :]
        call = Arguments({}, {}, parameters)
        for name, value in zip(self.tensors, tensors, strict=True):
            (call.repeated if name in self.repeated else call.shared)[name] = value
        return call

    def joined(self, arguments: Arguments) -> list[Any]:
        """What `split` was given."""
        tensors = arguments.repeated | arguments.shared
        return [*(tensors[name] for name in self.tensors), *arguments.parameters]


def prepare(op: Elementwise, *tensors: Tensor) -> None:
    """For ops that cannot be differentiated: what has to be looked at before torch's dispatcher takes over."""
    named = dict(zip(op.tensors, tensors, strict=True))
    _checks.require_tensors(op.name, **named)
    _checks.refuse_forward_mode(op.name)
    _checks.refuse_gradients(op.name, **named)


def define(op: Elementwise) -> Callable[..., Any]:
    """Register the op with torch.library, with its fake and its vmap rule."""

    def fake(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        return _as_returned(empty_results(op, op.split(arguments)))

    def implementation(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        call = op.split(arguments)
        results = empty_results(op, call)
        if results[0].numel() > 0:
            run(op, call, results)
        return _as_returned(results)

    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        call, at = batched(op, info.batch_size, in_dims, op.split(arguments))
        return registered(*op.joined(call)), at if op.outputs == 1 else (at,) * op.outputs

    registered = _library.define(op.signature, implementation, fake, vmap)
    return registered


def _as_returned(results: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return results[0] if len(results) == 1 else tuple(results)


def empty_results(op: Elementwise, arguments: Arguments, outermost: int = 0) -> list[Tensor]:
    """Checks everything; new memory for the outputs, the first `outermost` axes of a block outermost."""
    repeated, shared, parameters = arguments
    of_name, of = next(iter(shared.items()))
    _checks.require_same_kind(op.name, **repeated, **shared)
    _checks.require_same_shape(op.name, **shared)
    _checks.require_repeats(op.name, of_name, of, **repeated)
    for (name, least), value in zip(op.parameters.items(), parameters, strict=True):
        _checks.require_parameter(op.name, name, value, of.dtype, least)
    first = _empty_blocks(next(iter(repeated.values())), of, outermost)
    return [first, *(torch.empty_like(first) for _ in range(op.outputs - 1))]


def _empty_blocks(repeated: Tensor, shared: Tensor, outermost: int) -> Tensor:
    """Of the shape of `repeated`, in blocks of one layout: its own where it has such blocks, else `shared`'s, if it
    has; else with all axes in order."""
    axes = repeated.dim() - shared.dim()
    like_repeated = torch.empty_like(repeated)
    if _are_outermost(like_repeated, axes + outermost):
        return like_repeated
    like_shared = torch.empty_like(shared)
    if not _are_outermost(like_shared, outermost):
        like_shared = shared.new_empty(shared.shape)
    step, steps = shared.numel(), like_shared.stride()
    for size in reversed(repeated.shape[:axes]):
        steps = (step, *steps)
        step *= size
    return repeated.new_empty_strided(repeated.shape, steps)


def _are_outermost(tensor: Tensor, axes: int) -> bool:
    """Whether the first `axes` of a dense tensor are the slowest in memory, in order."""
    step = tensor.shape[axes:].numel()
    for axis in reversed(range(axes)):
        if tensor.stride(axis) != step and tensor.shape[axis] != 1:
            return False
        step *= tensor.shape[axis]
    return True


def run(op: Elementwise, arguments: Arguments, results: list[Tensor], *more: int) -> None:
    """The kernel of that name, on arrays laid out as the results are."""
    out = results[0]
    repeated, shared, parameters = arguments
    of = next(iter(shared.values()))
    axes, n = out.dim() - of.dim(), of.numel()
    laid_out = {name: _in_layout_of(out, tensor) for name, tensor in repeated.items()}
    laid_out |= {name: _in_layout_of(out, tensor, axes) for name, tensor in shared.items()}
    kernel, place = _library.runner(op.name, out.device)
    inputs = [laid_out[name].data_ptr() for name in op.tensors]
    outputs = [result.data_ptr() for result in results]
    kernel(_library.DTYPE_CODES[out.dtype], inputs, outputs, n, out.numel() // n, parameters, *more, *place)


def _in_layout_of(out: Tensor, tensor: Tensor, axes: int = 0) -> Tensor:
    """The tensor, or a copy of it, as `out` is laid out behind its first axes."""
    strides, its = out.stride()[axes:], tensor.stride()
    same = strides == its or all(
        size == 1 or mine == other for size, mine, other in zip(out.shape[axes:], strides, its, strict=True)
    )
    return tensor if same and _library.is_aligned(tensor) else torch.empty_like(out[(0,) * axes]).copy_(tensor)


def batched(op: Elementwise, size: int, in_dims: tuple[int | None, ...], arguments: Arguments) -> tuple[Arguments, int]:
    """Arguments with the axis of the batch where the op takes it, and where its outputs have it.

    Where only repeated tensors are batched, the batch is one more axis of targets and no other tensor is expanded.
    Otherwise it goes between the axes of targets and those that all tensors have.
    """
    repeated, shared, parameters = arguments
    dims = dict(zip(op.tensors, in_dims, strict=False))
    at = 0
    if any(dims[name] is not None for name in shared):
        at = _axes(repeated, dims) - _axes(shared, dims)
        shared = {name: _library.with_batch(tensor, dims[name], 0, size) for name, tensor in shared.items()}
    repeated = {name: _library.with_batch(tensor, dims[name], at, size) for name, tensor in repeated.items()}
    return Arguments(repeated, shared, parameters), at


def _axes(tensors: dict[str, Tensor], dims: dict[str, int | None]) -> int:
    """Axes of the first tensor, that of the batch not counted."""
    name, tensor = next(iter(tensors.items()))
    return tensor.dim() - (dims[name] is not None)
