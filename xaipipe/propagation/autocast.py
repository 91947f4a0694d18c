"""Models that run under autocast: rules need to know the precision that an operator is run in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaipipe.propagation.calls import Call, slots_of, with_tensors

CASTED = {
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear"),
    *("matmul", "rmatmul", "bmm", "mm", "einsum", "addmm", "baddbmm", "scaled_dot_product_attention"),
    "multi_head_attention_forward",
}
"""Operators that autocast runs in the lower precision, and that rules look into."""


def autocasting(tensor: Tensor) -> bool:
    anywhere = torch._C._is_any_autocast_enabled()  # asked of every operator: cheaper than the name of a device
    return anywhere and torch.is_autocast_enabled(tensor.device.type)


def cast_and_run(call: Call) -> Any:
    """The call as autocast would run it, its casts in the open."""
    device = call.operands[0].device.type
    lower = torch.get_autocast_dtype(device)
    tensors = slots_of(call.args, call.kwargs)
    cast = [tensor.to(lower) if _is_cast(tensor) else tensor for _, tensor in tensors]
    args, kwargs = with_tensors(call.args, call.kwargs, [slot for slot, _ in tensors], cast)
    function = call.function.function if isinstance(call.function, InForce) else call.function
    with torch.autocast(device, enabled=False):
        return function(*args, **kwargs)


def _is_cast(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.dtype != torch.float64


@dataclass(frozen=True)
class InForce:
    """A function under autocast, whenever it is called."""

    function: Callable[..., Any]
    device: str
    lower: torch.dtype

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast(self.device, self.lower):
            return self.function(*args, **kwargs)


def as_now(function: Callable[..., Any], tensor: Tensor) -> Callable[..., Any]:
    """The function in the precision in force, whenever it is called."""
    if not autocasting(tensor):
        return function
    device = tensor.device.type
    return InForce(function, device, torch.get_autocast_dtype(device))
