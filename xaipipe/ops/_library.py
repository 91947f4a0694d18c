"""The compiled module, and torch.library plumbing."""

import functools
import importlib
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

NAMESPACE = "xaipipe"
_MOST_THREADS = 1024  # the most that kernels take
_torch_library: Any = torch.library  # partly untyped
_LIBRARY = _torch_library.Library(NAMESPACE, "DEF")

# Codes of enum xai_dtype in csrc/common/dtype.h.
DTYPE_CODES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2}


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


def define(
    signature: str, implementation: Callable[..., Any], fake: Callable[..., Any], vmap: Callable[..., Any]
) -> Callable[..., Any]:
    """Register an op for every device; `signature` is torch's schema, the namespace left out.

    The implementation sees every device so that it, and not torch's dispatcher, words the refusal of one.
    """
    name = signature.partition("(")[0]
    _LIBRARY.define(signature, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    _torch_library.register_fake(f"{NAMESPACE}::{name}", fake, lib=_LIBRARY)
    torch.library.register_vmap(f"{NAMESPACE}::{name}", vmap, lib=_LIBRARY)
    op: Callable[..., Any] = getattr(torch.ops.xaipipe, name).default
    return op


def runner(name: str, device: torch.device) -> tuple[Callable[..., None], tuple[int, int] | tuple[int]]:
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


def is_aligned(tensor: Tensor) -> bool:
    """Memory that was not allocated by torch may start anywhere; kernels need whole elements."""
    return tensor.data_ptr() % tensor.element_size() == 0


def with_batch(tensor: Tensor, dim: int | None, at: int, size: int) -> Tensor:
    """For vmap rules: the axis of the batch moved to `at`, or made there."""
    if dim is not None:
        return tensor.movedim(dim, at)
    return tensor.unsqueeze(at).expand(*tensor.shape[:at], size, *tensor.shape[at:])


def computed_in(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
