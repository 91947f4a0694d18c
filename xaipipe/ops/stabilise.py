"""LRP's stabilised division."""

from typing import Any

import torch
from torch import Tensor

from xaipipe.ops import _checks, _elementwise, _kept, _library

_NAME = "stabilised_divide"
_divide = _elementwise.Elementwise(
    _NAME, ("relevance", "z"), repeated=frozenset({"relevance"}), outputs=1, parameters={"eps": 0.0}
)
_divide_and_kept = _kept.with_kept(_divide)
_op = _elementwise.define(_divide)
_op_and_kept = _kept.define(_divide_and_kept)


def stabilised_divide(relevance: Tensor, z: Tensor, eps: float) -> Tensor:
    """relevance / (z + eps·sign(z)) with sign(0) = +1, for +0.0 and −0.0 alike.

    For float32, float64 and bfloat16 (computed in float32, rounded once); the same bits on CPU and CUDA.
    `relevance` has the shape of `z`, or axes for targets before it: z is then read again for each, never copied.
    `eps` may be 0: IEEE division. Differentiable any number of times in reverse mode, known to
    `torch.compile` and `torch.func.vmap`. The result has the memory layout of `relevance`.

    Reference: Bach et al., On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise
    Relevance Propagation, PLOS ONE 10(7), 2015.
    """
    _checks.require_tensors(_NAME, relevance=relevance, z=z)
    _checks.refuse_forward_mode(_NAME)
    result: Tensor = _op(relevance, z, eps)
    return result


def stabilised_divide_and_kept(relevance: Tensor, z: Tensor, eps: float, images: int) -> tuple[Tensor, Tensor]:
    """(`stabilised_divide`, kept): also how much of each image's relevance the stabiliser keeps.

    The first axis of `z` is that of the images, or of `images` times as many parts of them, image after image. kept is
    [targets, images] in float64: Σ relevance − z·s over an image's elements, with z and the result s as they are
    stored. Sums are taken in one pass with the division and in an order that nothing but the memory layout decides, so
    the bits are the same on CPU and CUDA. Not differentiable.
    """
    _elementwise.prepare(_divide_and_kept, relevance, z)
    s, kept = _op_and_kept(relevance, z, eps, images)
    return s, kept


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
    _, z, ctx.eps = inputs
    ctx.save_for_backward(z, output)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """With d the denominator: ∂out/∂relevance = 1/d and ∂out/∂z = −relevance/d² = −out/d, summed over targets."""
    z, out = ctx.saved_tensors
    needs_relevance, needs_z, _ = ctx.needs_input_grad
    grad_relevance = _op(grad, z, ctx.eps) if needs_relevance else None
    grad_z = (-_op(grad * out, z, ctx.eps)).sum_to_size(z.shape) if needs_z else None
    return grad_relevance, grad_z, None


torch.library.register_autograd(f"{_library.NAMESPACE}::{_NAME}", _backward, setup_context=_save_for_backward)
