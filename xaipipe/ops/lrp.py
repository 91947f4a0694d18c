"""Elementwise parts of layer-wise relevance propagation."""

from typing import Any

import torch
from torch import Tensor

from xaipipe.ops import _library

_NAME = "stabilised_divide"


def stabilised_divide(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    """relevance / (z + eps·sign(z)) with sign(0) = +1, for +0.0 and −0.0 alike.

    For float32, float64 and bfloat16 (computed in float32, rounded once); the same bits on CPU and CUDA.
    `eps` may be 0: IEEE division. Differentiable any number of times in reverse mode, known to
    `torch.compile` and `torch.func.vmap`. The result has the memory layout of `relevance`.

    Reference: Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation, PLOS ONE 10(7), 2015.
    """
    _library.require_tensors(_NAME, relevance=relevance, z=z)
    _library.refuse_forward_mode(_NAME)
    return _op(relevance, z, eps)


def _implementation(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    _library.require_alike(_NAME, relevance=relevance, z=z)
    computed_in = torch.float64 if z.dtype == torch.float64 else torch.float32
    largest = torch.finfo(computed_in).max
    if not 0 <= eps <= largest:
        raise ValueError(
            f"{_NAME}: got eps {eps}, expected 0 to {largest:.3g} ({computed_in}); LRP mostly uses 1e-6 to 0.25"
        )
    return _library.elementwise(_NAME, (relevance, z), eps)


def _fake(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    _library.require_alike(_NAME, relevance=relevance, z=z)
    return torch.empty_like(relevance)


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    _, z, ctx.eps = inputs
    ctx.save_for_backward(z, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """With d the denominator: ∂out/∂relevance = 1/d and ∂out/∂z = −relevance/d² = −out/d."""
    z, out = ctx.saved_tensors
    needs_relevance, needs_z, _ = ctx.needs_input_grad
    grad_relevance = _op(grad, z, ctx.eps) if needs_relevance else None
    grad_z = -_op(grad * out, z, ctx.eps) if needs_z else None
    return grad_relevance, grad_z, None


def _vmap(
    info: Any, in_dims: tuple[int | None, int | None, None], relevance: Tensor, z: Tensor, eps: float
) -> tuple[Tensor, int]:
    batched = [
        tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip((relevance, z), in_dims[:2], strict=True)
    ]
    return _op(batched[0], batched[1], eps), 0


_op = _library.define(f"{_NAME}(Tensor relevance, Tensor z, float eps) -> Tensor", _implementation, _fake)
torch.library.register_autograd(f"{_library.NAMESPACE}::{_NAME}", _backward, setup_context=_save_for_backward)
torch.library.register_vmap(f"{_library.NAMESPACE}::{_NAME}", _vmap)
