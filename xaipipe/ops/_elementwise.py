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
    def signature(self) -> str:
        arguments = [f"Tensor {name}" for name in self.tensors] + [f"float {name}" for name in self.parameters]
        results = "Tensor" if self.outputs == 1 else f"({', '.join(['Tensor'] * self.outputs)})"
        return f"{self.name}({', '.join(arguments)}) -> {results}"

    def split(self, values: tuple[Any, ...]) -> Arguments:
        named = dict(zip(self.tensors, values[: len(self.tensors)], strict=True))
        return Arguments(
            {name: value for name, value in named.items() if name in self.repeated},
            {name: value for name, value in named.items() if name not in self.repeated},
            values[len(self.tensors) :],
        )


def define(op: Elementwise) -> Callable[..., Any]:
    """Register the op with torch.library, with its fake and its vmap rule."""

    def fake(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        return _as_returned(_results(op, op.split(arguments)))

    def implementation(*arguments: Any) -> Tensor | tuple[Tensor, ...]:
        call = op.split(arguments)
        results = _results(op, call)
        if results[0].numel() > 0:
            _run(op, call, results)
        return _as_returned(results)

    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        batched, out_dim = _batched(op, info.batch_size, in_dims, arguments)
        return registered(*batched), out_dim if op.outputs == 1 else (out_dim,) * op.outputs

    registered = _library.define(op.signature, implementation, fake, vmap)
    return registered


def _as_returned(results: list[Tensor]) -> Tensor | tuple[Tensor, ...]:
    return results[0] if len(results) == 1 else tuple(results)


def _results(op: Elementwise, arguments: Arguments) -> list[Tensor]:
    """Checks everything; new memory for the outputs."""
    repeated, shared, parameters = arguments
    of_name, of = next(iter(shared.items()))
    _checks.require_same_kind(op.name, **repeated, **shared)
    _checks.require_same_shape(op.name, **shared)
    _checks.require_repeats(op.name, of_name, of, **repeated)
    for (name, least), value in zip(op.parameters.items(), parameters, strict=True):
        _checks.require_parameter(op.name, name, value, of.dtype, least)
    first = _empty_blocks(next(iter(repeated.values())), of)
    return [first, *(torch.empty_like(first) for _ in range(op.outputs - 1))]


def _empty_blocks(repeated: Tensor, shared: Tensor) -> Tensor:
    """Of the shape of `repeated`, in blocks of one layout: its own where it has such blocks, else `shared`'s."""
    like_repeated = torch.empty_like(repeated)
    axes = repeated.dim() - shared.dim()
    outer, step = [0] * axes, shared.numel()
    for axis in reversed(range(axes)):
        outer[axis] = step
        step *= repeated.shape[axis]
    if all(like_repeated.stride(axis) == outer[axis] or repeated.shape[axis] == 1 for axis in range(axes)):
        return like_repeated
    return repeated.new_empty_strided(repeated.shape, (*outer, *torch.empty_like(shared).stride()))


def _run(op: Elementwise, arguments: Arguments, results: list[Tensor]) -> None:
    out = results[0]
    repeated, shared, parameters = arguments
    axes = next(iter(repeated.values())).dim() - next(iter(shared.values())).dim()
    block = out[(0,) * axes]
    laid_out = {name: _in_layout_of(out, tensor) for name, tensor in repeated.items()}
    laid_out |= {name: _in_layout_of(block, tensor) for name, tensor in shared.items()}
    run, place = _library.runner(op.name, out.device)
    inputs = [laid_out[name].data_ptr() for name in op.tensors]
    outputs = [result.data_ptr() for result in results]
    n = block.numel()
    run(_library.DTYPE_CODES[out.dtype], inputs, outputs, n, out.numel() // n, parameters, *place)


def _in_layout_of(out: Tensor, tensor: Tensor) -> Tensor:
    strides, its = out.stride(), tensor.stride()
    same = strides == its or all(
        size == 1 or mine == other for size, mine, other in zip(out.shape, strides, its, strict=True)
    )
    return tensor if same and _library.is_aligned(tensor) else torch.empty_like(out).copy_(tensor)


def _batched(
    op: Elementwise, size: int, in_dims: tuple[int | None, ...], arguments: tuple[Any, ...]
) -> tuple[list[Any], int]:
    """Arguments with the axis of the batch where the op takes it, and where its outputs have it.

    Where only repeated tensors are batched, the batch is one more axis of targets and no other tensor is expanded.
    Otherwise it goes between the axes of targets and those that all tensors have.
    """
    repeated, shared, parameters = op.split(arguments)
    dims = dict(zip(op.tensors, in_dims, strict=False))
    at = 0
    if any(dims[name] is not None for name in shared):
        at = _axes(repeated, dims) - _axes(shared, dims)
        shared = {name: _library.with_batch(tensor, dims[name], 0, size) for name, tensor in shared.items()}
    repeated = {name: _library.with_batch(tensor, dims[name], at, size) for name, tensor in repeated.items()}
    tensors = repeated | shared
    return [*(tensors[name] for name in op.tensors), *parameters], at


def _axes(tensors: dict[str, Tensor], dims: dict[str, int | None]) -> int:
    """Axes of the first tensor, that of the batch not counted."""
    name, tensor = next(iter(tensors.items()))
    return tensor.dim() - (dims[name] is not None)
