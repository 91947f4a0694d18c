"""Elementwise ops that also say how much of the relevance they did not share out, image by image."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xaipipe.ops import _elementwise, _library
from xaipipe.ops._elementwise import Arguments, Elementwise


def with_kept(op: Elementwise) -> Elementwise:
    """The variant of an op that also returns what is kept. `define` it here."""
    return replace(op, name=f"{op.name}_and_kept")


def define(op: Elementwise) -> Callable[..., Any]:
    """Register the op: the arguments and outputs of the plain one, then `images` and kept [targets, images] in float64.

    csrc/common/kept.h says in which order its sums are taken.
    """

    def fake(*arguments: Any) -> tuple[Tensor, ...]:
        *values, images = arguments
        return tuple(_empty_results(op, op.split(tuple(values)), images))

    def implementation(*arguments: Any) -> tuple[Tensor, ...]:
        *values, images = arguments
        call = op.split(tuple(values))
        *shares, kept = _empty_results(op, call, images)
        if shares[0].numel() > 0:
            _run(op, call, images, shares, kept)
        return (*shares, kept)

    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        *values, images = arguments
        call, at = _elementwise.batched(op, info.batch_size, in_dims, op.split(tuple(values)))
        dims = dict(zip(op.tensors, in_dims, strict=False))
        if any(dims[name] is not None for name in call.shared):
            results = _with_batch_of_images(op, registered, info.batch_size, call, at, images)
        else:
            results = registered(*op.joined(call), images)
        return results, (at,) * (op.outputs + 1)

    results = ", ".join(["Tensor"] * (op.outputs + 1))
    registered = _library.define(f"{op.name}({op.arguments}, SymInt images) -> ({results})", implementation, fake, vmap)
    return registered


def _with_batch_of_images(
    op: Elementwise, registered: Callable[..., Any], size: int, call: Arguments, at: int, images: int
) -> tuple[Tensor, ...]:
    """A batch of activations is a batch of more images. Relevance has its axis at `at`, activations at 0."""
    of_name, of = next(iter(call.shared.items()))
    _require_images(op, of_name, of.shape[1:], images)
    repeated = {name: tensor.flatten(at, at + 1) for name, tensor in call.repeated.items()}
    shared = {name: tensor.flatten(0, 1) for name, tensor in call.shared.items()}
    results = registered(*op.joined(Arguments(repeated, shared, call.parameters)), size * images)
    return tuple(result.unflatten(at, (size, result.shape[at] // size)) for result in results)


def _empty_results(op: Elementwise, call: Arguments, images: int) -> list[Tensor]:
    """Checks everything; new memory, in which an image's elements are neighbours. Without elements nothing is kept."""
    of_name, of = next(iter(call.shared.items()))
    shares = _elementwise.empty_results(op, call, outermost=min(of.dim(), 1))
    _require_images(op, of_name, of.shape, images)
    targets = shares[0].shape[: shares[0].dim() - of.dim()]
    new = of.new_empty if of.numel() > 0 else of.new_zeros
    return [*shares, new((*targets, images), dtype=torch.float64)]


def _require_images(op: Elementwise, of_name: str, shape: Sequence[int], images: int) -> None:
    if len(shape) == 0 or images < 1 or shape[0] % images != 0:
        raise ValueError(
            f"{op.name}: got images {images} and {of_name} of shape {tuple(shape)}, expected 1 or more images that "
            f"divide its first axis; pass the number of images that the layer saw"
        )


def _run(op: Elementwise, call: Arguments, images: int, shares: list[Tensor], kept: Tensor) -> None:
    n = next(iter(call.shared.values())).numel()
    chunks = _library.kernels().kept_chunks(n, images)
    chunk_sums = kept.new_empty(shares[0].numel() // n * chunks)
    _elementwise.run(op, call, shares, images, kept.data_ptr(), chunk_sums.data_ptr())
