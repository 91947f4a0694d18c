"""What ops refuse, in words that say what was got, what is expected and what to do."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

from xaipipe.ops import _library


def require_tensors(op: str, **tensors: object) -> None:
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            raise TypeError(
                f"{op}: got {type(value).__name__} for {name}, expected a tensor; convert it with torch.as_tensor"
            )


def refuse_forward_mode(op: str) -> None:
    """Ops that torch.library registers have no forward-mode gradient, and torch would take it for zero."""
    if forward_ad._current_level >= 0:
        raise RuntimeError(
            f"{op}: got a forward-mode gradient (torch.func.jvp, jacfwd, forward_ad), expected reverse mode; "
            "use torch.autograd.grad, torch.func.vjp or jacrev"
        )


def refuse_gradients(op: str, **tensors: Tensor) -> None:
    """For ops without a gradient of their own: they run inside backward passes, where nobody asks for one."""
    if not torch.is_grad_enabled():
        return
    for name, tensor in tensors.items():
        if tensor.requires_grad:
            raise RuntimeError(
                f"{op}: got {name} that requires a gradient, expected none, as this op cannot be differentiated; "
                f"call it within torch.no_grad(), or pass {name}.detach()"
            )


def require_same_kind(op: str, **tensors: Tensor) -> None:
    """Dense, of one dtype that kernels know, on one device: kernels do not promote."""
    (first_name, first), *others = tensors.items()
    if first.dtype not in _library.DTYPE_CODES:
        raise TypeError(
            f"{op}: got {first_name} of {first.dtype}, expected float32, float64 or bfloat16; "
            "convert the tensors with .float()"
        )
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise TypeError(f"{op}: got {name} of layout {tensor.layout}, expected a dense tensor; use .to_dense()")
    for name, tensor in others:
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{op}: got {name} of {tensor.dtype}, expected {first.dtype}, the dtype of {first_name}; "
                f"convert it with .to({first.dtype})"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{op}: got {name} on {tensor.device}, expected {first.device}, the device of {first_name}; "
                f"move it with .to('{first.device}')"
            )


def require_same_shape(op: str, **tensors: Tensor) -> None:
    (first_name, first), *others = tensors.items()
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f"{op}: got {name} of shape {tuple(tensor.shape)}, expected {tuple(first.shape)}, "
                f"the shape of {first_name}; broadcast it with .expand_as"
            )


def require_repeats(op: str, of_name: str, of: Tensor, **tensors: Tensor) -> None:
    """The shape of `of`, behind any number of leading axes, the same ones in all `tensors`."""
    require_same_shape(op, **tensors)
    name, tensor = next(iter(tensors.items()))
    leading = tensor.dim() - of.dim()
    if leading < 0 or tensor.shape[leading:] != of.shape:
        shape = ", ".join(["*", *map(str, of.shape)])
        raise ValueError(
            f"{op}: got {name} of shape {tuple(tensor.shape)}, expected ({shape}), the shape of {of_name} with axes "
            f"for targets before it, if any; broadcast the smaller one with .expand_as"
        )


def require_parameter(op: str, name: str, value: float, dtype: torch.dtype, least: float | None) -> None:
    """Finite in the type that kernels compute in, and not below `least`."""
    computed_in = _library.computed_in(dtype)
    largest = torch.finfo(computed_in).max
    lowest = -largest if least is None else least
    if not lowest <= value <= largest:
        raise ValueError(f"{op}: got {name} {value}, expected {lowest:.3g} to {largest:.3g} ({computed_in})")
