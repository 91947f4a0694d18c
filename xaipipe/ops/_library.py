"""What every op shares: the compiled module, torch.library plumbing, checks whose errors say what to do."""

import functools
import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

NAMESPACE = "xaipipe"
_MOST_THREADS = 1024  # the most that kernels take
_torch_library: Any = torch.library  # partly untyped
_LIBRARY = _torch_library.Library(NAMESPACE, "DEF")

# Codes of enum xai_dtype in csrc/common/dtype.h.
_DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}


@functools.cache
def kernels() -> ModuleType:
    """The compiled module xaipipe._kernels, using the instruction set that XAIPIPE_ISA names, if any."""
    try:
        module = importlib.import_module("xaipipe._kernels")
    except ImportError as error:
        raise ImportError(
            f"xaipipe's compiled kernels: got '{error}', expected the module xaipipe._kernels; "
            "install xaipipe with `pip install .`, which compiles it (a source folder alone has none)"
        ) from error
    if isa := os.environ.get("XAIPIPE_ISA"):
        try:
            module.set_isa(isa)
        except ValueError as error:
            raise ValueError(f"environment variable XAIPIPE_ISA: {error}") from None
    return module


def define(signature: str, implementation: Callable[..., Tensor], fake: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Register an op for every device; `signature` is torch's schema, the namespace left out.

    The implementation sees every device so that it, and not torch's dispatcher, words the refusal of one.
    """
    name = signature.partition("(")[0]
    _LIBRARY.define(signature, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    _torch_library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    op: Callable[..., Tensor] = getattr(torch.ops.xaipipe, name).default
    return op


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


def require_alike(op: str, **tensors: Tensor) -> None:
    """Same shape, device and dtype, one that kernels know: kernels neither broadcast nor promote."""
    (first_name, first), *others = tensors.items()
    if first.layout != torch.strided:
        raise TypeError(f"{op}: got {first_name} of layout {first.layout}, expected a dense tensor; use .to_dense()")
    if first.dtype not in _DTYPE_CODES:
        raise TypeError(
            f"{op}: got {first_name} of {first.dtype}, expected float32, float64 or bfloat16; "
            "convert the tensors with .float()"
        )
    for name, tensor in others:
        if tensor.shape != first.shape:
            raise ValueError(
                f"{op}: got {name} of shape {tuple(tensor.shape)}, expected {tuple(first.shape)}, "
                f"the shape of {first_name}; broadcast it with .expand_as"
            )
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


def elementwise(name: str, inputs: tuple[Tensor, ...], *scalars: float) -> Tensor:
    """Run the elementwise kernel NAME_cpu or NAME_cuda on raw memory, in the layout of the first input.

    Inputs that share a dense layout (channels_last, say) are read where they lie; others are copied into it.
    """
    out = torch.empty_like(inputs[0])
    if out.numel() == 0:
        return out
    laid_out = [_in_layout_of(out, tensor) for tensor in inputs]
    run, place = _runner(name, out.device)
    addresses = (tensor.data_ptr() for tensor in (*laid_out, out))
    run(_DTYPE_CODES[out.dtype], *addresses, out.numel(), *scalars, *place)
    return out


def _in_layout_of(out: Tensor, tensor: Tensor) -> Tensor:
    same = all(
        size == 1 or mine == its for size, mine, its in zip(out.shape, out.stride(), tensor.stride(), strict=True)
    )
    # Memory that was not allocated by torch may start anywhere; kernels need whole elements.
    aligned = tensor.data_ptr() % tensor.element_size() == 0
    return tensor if same and aligned else torch.empty_like(out).copy_(tensor)


def _runner(name: str, device: torch.device) -> tuple[Callable[..., None], tuple[int, int] | tuple[int]]:
    """The kernel for a device, and where it runs: (threads,) or (device index, stream)."""
    if device.type == "cpu":
        return getattr(kernels(), f"{name}_cpu"), (min(torch.get_num_threads(), _MOST_THREADS),)
    if device.type != "cuda":
        raise ValueError(f"{name}: got tensors on {device}, expected cpu or cuda; move them with .to('cpu')")
    if not kernels().build_info()["cuda"]:
        raise RuntimeError(
            f"{name}: got tensors on {device}, expected cpu, as this build of xaipipe has no CUDA kernels; "
            "move them with .cpu(), or install again with the CUDA toolkit and XAIPIPE_CUDA=ON"
        )
    stream = torch.cuda.current_stream(device).cuda_stream
    return getattr(kernels(), f"{name}_cuda"), (device.index, stream)
