"""Numbers that matter, in every type and memory layout, and comparison by bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from xaipipe.ops import _library

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
BITS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}
COMPUTED_IN = {torch.float32: np.float32, torch.float64: np.float64, torch.bfloat16: np.float32}
SPECIALS = (0.0, -0.0, 1.0, -1.0, 0.3, -1e-6, 1e-40, -1e-40, 3e38, -3e38, np.inf, -np.inf, np.nan)

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
needs_cuda = pytest.mark.skipif(
    not (torch.cuda.is_available() and _library.kernels().build_info()["cuda"]),
    reason="needs a CUDA device, torch with CUDA and kernels built with CUDA",
)


def numbers(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Half normal numbers, half the ones that matter."""
    random = np.random.default_rng(seed)
    ordinary = random.normal(size=shape)
    values = np.where(random.random(shape) < 0.5, ordinary, random.choice(SPECIALS, size=shape))
    return torch.tensor(values).to(dtype)


def ordinary(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=shape)).to(dtype)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """In the type that kernels compute in."""
    return tensor.resolve_neg().to(torch.float64).numpy().astype(COMPUTED_IN[tensor.dtype])


def from_numpy(values: np.ndarray, dtype: torch.dtype) -> Tensor:
    """Rounded to `dtype`, every NaN the same one."""
    values = np.asarray(values)  # numpy turns results without axes into scalars
    values = np.asarray(np.where(np.isnan(values), values.dtype.type(np.nan), values))
    return _round_to_bf16(values) if dtype == torch.bfloat16 else torch.from_numpy(values)


def _round_to_bf16(values: np.ndarray) -> Tensor:
    """To nearest, ties to even, on the bits of float32."""
    bits = values.view(np.uint32).astype(np.uint64)
    upper = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    upper = np.where(np.isnan(values), np.uint16(0x7FC0), upper)
    return torch.from_numpy(np.asarray(upper).view(np.int16)).view(torch.bfloat16)


def assert_same_bits(got: Tensor, expected: Tensor) -> None:
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert torch.equal(bits(got), bits(expected))


def assert_all_same_bits(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for one, other in zip(got, expected, strict=True):
        assert_same_bits(one, other)


def bits(values: Tensor) -> Tensor:
    return values.contiguous().view(BITS[values.dtype])


# -- the same numbers, elsewhere in memory --


def as_it_is(x: Tensor) -> Tensor:
    return x


def reversed_axes(x: Tensor) -> Tensor:
    backwards = tuple(reversed(range(x.dim())))
    return x.permute(backwards).contiguous().permute(backwards)


def every_other(x: Tensor) -> Tensor:
    return torch.stack([x, x + 1], dim=-1)[..., 0]


def shifted(x: Tensor) -> Tensor:
    return torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)


def channels_last(x: Tensor) -> Tensor:
    """Of the three last axes, whatever is before them."""
    return x.movedim(-3, -1).contiguous().movedim(-1, -3) if x.dim() >= 3 else x


def not_aligned(x: Tensor) -> Tensor:
    """Memory that starts in the middle of an element."""
    storage = bytearray(x.numel() * x.element_size() + 1)
    if x.numel() == 0:
        return x
    return torch.frombuffer(storage, dtype=x.dtype, offset=1, count=x.numel()).view(x.shape).copy_(x)


LAYOUTS: tuple[Callable[[Tensor], Tensor], ...] = (
    as_it_is,
    reversed_axes,
    every_other,
    shifted,
    channels_last,
    not_aligned,
)
