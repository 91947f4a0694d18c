"""LRP's stabilised division."""

from typing import Any

import torch
from torch import Tensor

from xaipipe.ops import _checks, _elementwise, _library

_NAME = "stabilised_divide"
_op = _elementwise.define(
    _elementwise.Elementwise(
        _NAME, ("relevance", "z"), repeated=frozenset({"relevance"}), outputs=1, parameters={"eps": 0.0}
    )
)


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
