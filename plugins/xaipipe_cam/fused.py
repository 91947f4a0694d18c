"""Convolutions on a CPU that add and rectify before they write, and that find their weights in the order they want.

Each saves a way through memory. The operators are those that torch's own compiler uses. They are private to it, so one
is used only where a small trial says that it is there and does what is expected.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from xaipipe.propagation.calls import Call

Settings = tuple[Any, ...]
"""A convolution's stride, padding, dilation and groups, as the model spells them."""


class Geometry:
    """How a convolution's kernel moves, in pairs of integers."""

    def __init__(self, settings: Settings) -> None:
        self._stride, self._padding, self._dilation = map(_pair, settings[:3])
        self._groups = settings[3]

    def arguments(self) -> tuple[Any, ...]:
        return self._padding, self._stride, self._dilation, self._groups

    def shape(self, x: Tensor, weight: Tensor) -> tuple[int, ...]:
        """Of what the convolution puts out."""
        return x.shape[0], weight.shape[0], self._length(x, weight, 0), self._length(x, weight, 1)

    def _length(self, x: Tensor, weight: Tensor, axis: int) -> int:
        covered = self._dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        return (x.shape[2 + axis] + 2 * self._padding[axis] - covered) // self._stride[axis] + 1


class FusedConvolution:
    """A convolution with what follows it in one operator."""

    def __init__(self, weight: Tensor, bias: Tensor | None, settings: Settings) -> None:
        self._weight, self._bias, self._geometry = weight, bias, Geometry(settings)
        self._reordered: tuple[torch.Size, Tensor] | None = None

    def alone(self, x: Tensor) -> Tensor:
        return _put_out(x, self._weight_for(x), self._bias, self._geometry, "none")

    def rectified(self, x: Tensor) -> Tensor:
        return _put_out(x, self._weight_for(x), self._bias, self._geometry, "relu")

    def added_and_rectified(self, x: Tensor, other: Tensor) -> Tensor:
        return _added_and_rectified(x, other, self._weight_for(x), self._bias, self._geometry)

    def not_yet(self, x: Tensor) -> Tensor:
        """What has the shape and the order of the output, and no values."""
        shape = self._geometry.shape(x, self._weight)
        return torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)

    def _weight_for(self, x: Tensor) -> Tensor:
        """The best order depends on the input's shape; one is kept."""
        if self._reordered is None or self._reordered[0] != x.shape:
            self._reordered = x.shape, _reordered(self._weight, self._geometry, x.shape)
        return self._reordered[1]


def settings_of(call: Call) -> Settings:
    """Of a call of `conv2d`."""
    return call.get(3, "stride", 1), call.get(4, "padding", 0), call.get(5, "dilation", 1), call.get(6, "groups", 1)


def fusible(call: Call) -> Settings | None:
    """The settings of a call of `conv2d` that can be fused with what follows; None of one that cannot."""
    settings = settings_of(call)
    in_words = isinstance(settings[1], str)
    return settings if not in_words and can_fuse(call.get(0, "input")) and are_there() else None


def can_fuse(x: Tensor) -> bool:
    """Whether this input, as things stand, is one that the operators are meant for."""
    return (
        x.ndim == 4
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not x.is_inference()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def are_there() -> bool:
    """Whether torch has the operators, and they are what they were."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    x, weight, other = _ramp(2, 4, 2, 2), _ramp(4, 4, 2, 2), _ramp(2, 4, 3, 3)
    fused, plain = FusedConvolution(weight, None, (1, 1, 1, 1)), torch.conv2d(x, weight, padding=1)
    try:
        got = [fused.alone(x), fused.rectified(x), fused.added_and_rectified(x, other)]
    except (AttributeError, RuntimeError):
        return False
    expected = [plain, plain.relu(), (plain + other).relu()]
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(got, expected, strict=True))


def _ramp(*shape: int) -> Tensor:
    return torch.linspace(-1, 1, prod(shape)).reshape(shape)


def _put_out(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry, last: str) -> Tensor:
    convolve: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise.default
    return convolve(x, weight, bias, *geometry.arguments(), last, [], "")


def _added_and_rectified(x: Tensor, other: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    convolve: Callable[..., Tensor] = torch.ops.mkldnn._convolution_pointwise.binary
    return convolve(x, other, weight, bias, *geometry.arguments(), "add", 1.0, "relu", [], "")


def _reordered(weight: Tensor, geometry: Geometry, shape: Sequence[int]) -> Tensor:
    reorder: Callable[..., Tensor] = torch.ops.mkldnn._reorder_convolution_weight
    return reorder(weight, *geometry.arguments(), list(shape))


def _pair(value: Any) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, list | tuple) else (value,)
    return pair if len(pair) == 2 else pair * 2
