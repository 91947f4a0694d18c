"""Convolutions and their transposes, asked of the library in the way that it is quickest at.

All ways are the same sum. On CPUs the library is slow where a kernel is a single point, and on the way back to an input
of few channels that is seen in steps (benchmarks/convolutions.py); everything else it is asked as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_CHANNELS = 8
"""Of an input: colours, perhaps apart by sign."""
FEW_POINTS = 64
"""Of an image: so few that its share of the work is to read the weights."""
WASTE = 1.8
"""How many times the multiplications of an overlapping kernel its phases may take, which are padded with zeros."""


class Convolved(Protocol):
    """What is known of a convolution beside its weight."""

    @property
    def stride(self) -> tuple[int, ...]: ...
    @property
    def padding(self) -> tuple[int, ...]: ...
    @property
    def dilation(self) -> tuple[int, ...]: ...
    @property
    def groups(self) -> int: ...
    @property
    def transposed(self) -> bool: ...


def convolved(of: Convolved, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """Of an input [N, C_in, …]; None where the library is to be asked."""
    if not _is_measured(of, x, weight) or not _is_of_points(of, weight):
        return None
    seen = x[_every(of.stride)] if max(of.stride) > 1 else x
    matrix, inputs = weight.flatten(1).expand(len(x), -1, -1), seen.flatten(2)
    outputs = torch.bmm(matrix, inputs) if bias is None else torch.baddbmm(bias[:, None], matrix, inputs)
    return outputs.view(*outputs.shape[:2], *seen.shape[2:])


def transposed(of: Convolved, cotangents: Tensor, weight: Tensor, size: torch.Size) -> Tensor | None:
    """Of cotangents [N, C_out, …] for an input of that spatial size; None where the library is to be asked."""
    if not _is_measured(of, cotangents, weight):
        return None
    if _is_of_points(of, weight):
        return _from_points(cotangents, weight, of.stride, size)
    kernel = weight.shape[2:]
    if len(kernel) != 2 or max(of.dilation) > 1 or max(of.stride) == 1:
        return None
    if weight.shape[1] > FEW_CHANNELS or _waste(of, kernel) > WASTE:
        return None
    return _by_phases(of, cotangents, weight, size)


def _is_measured(of: Convolved, x: Tensor, weight: Tensor) -> bool:
    """Whether the other ways are known to be quicker, if they fit."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.dtype != weight.dtype:
        return False
    if torch.is_autocast_enabled("cpu") or (torch.is_grad_enabled() and x.requires_grad):
        return False  # products would be of another precision, or leave the graph
    return of.groups == 1 and not of.transposed and x.ndim == weight.ndim and x.is_contiguous()


def _is_of_points(of: Convolved, weight: Tensor) -> bool:
    return all(k == 1 for k in weight.shape[2:]) and not any(of.padding)


def _every(stride: tuple[int, ...]) -> tuple[Any, ...]:
    """An index of what lies `stride` apart."""
    return ..., *(slice(None, None, step) for step in stride)


def _from_points(cotangents: Tensor, weight: Tensor, stride: tuple[int, ...], size: torch.Size) -> Tensor:
    """A matrix product, whose results lie `stride` apart."""
    points = _product(weight.flatten(1).T, cotangents.flatten(2))
    points = points.reshape(*points.shape[:2], *cotangents.shape[2:])
    if max(stride) == 1:
        return points.contiguous()
    apart = points.new_zeros(*points.shape[:2], *size)
    apart[_every(stride)] = points
    return apart


def _product(weight: Tensor, cotangents: Tensor) -> Tensor:
    """[N, C_in, points] of [C_in, C_out] and [N, C_out, points]."""
    images, channels, points = cotangents.shape
    if images == 1 or points > FEW_POINTS:
        return torch.matmul(weight, cotangents)
    together = torch.mm(weight, cotangents.transpose(0, 1).reshape(channels, -1))  # reads the weights once
    return together.view(-1, images, points).transpose(0, 1)


def _by_phases(of: Convolved, cotangents: Tensor, weight: Tensor, size: torch.Size) -> Tensor:
    """Inputs that lie `stride` apart see the same weights: each such phase is a convolution, and all are one."""
    images, channels = len(cotangents), weight.shape[1]
    rows, columns = axes = _axes(of, weight.shape[2:])
    wanted = [-(-length // axis.stride) for length, axis in zip(size, axes, strict=True)]
    margins = [axis.margin(got, many) for axis, got, many in zip(axes, cotangents.shape[2:], wanted, strict=True)]
    made = F.conv2d(cotangents, _phases(weight, axes), padding=margins)
    for dim, (axis, margin, many) in enumerate(zip(axes, margins, wanted, strict=True), 2):
        made = made.narrow(dim, margin - axis.last, many)
    apart = made.reshape(images, channels, rows.stride, columns.stride, *wanted).permute(0, 1, 4, 2, 5, 3)
    whole = apart.reshape(images, channels, wanted[0] * rows.stride, wanted[1] * columns.stride)
    return whole[..., : size[0], : size[1]].contiguous()


@dataclass(frozen=True, slots=True)
class _Axis:
    """Input s·q + r is reached from output q − d by the weight at s·d + r + p, for the d of which there is one."""

    kernel: int
    stride: int
    padding: int

    @property
    def first(self) -> int:
        return -((self.stride - 1 + self.padding) // self.stride)

    @property
    def last(self) -> int:
        return (self.kernel - 1 - self.padding) // self.stride

    @property
    def taps(self) -> int:
        return self.last - self.first + 1

    def margin(self, got: int, wanted: int) -> int:
        """How many zeros `got` outputs need on both sides so that there are as many of each phase as wanted."""
        return max(0, self.last, wanted - self.first - got)

    def around(self) -> tuple[int, int]:
        """Zeros before and behind the kernel, so that each phase has all taps."""
        before = -(self.stride * self.first + self.padding)
        return before, self.stride * self.taps - self.kernel - before


def _phases(weight: Tensor, axes: Sequence[_Axis]) -> Tensor:
    """[C_in · phases, C_out, taps, taps] of [C_out, C_in, …]."""
    rows, columns = axes
    full = F.pad(weight, (*columns.around(), *rows.around()))
    apart = full.reshape(*weight.shape[:2], rows.taps, rows.stride, columns.taps, columns.stride)
    return apart.flip(2, 4).permute(1, 3, 5, 0, 2, 4).flatten(0, 2)


def _waste(of: Convolved, kernel: Sequence[int]) -> float:
    return math.prod(axis.taps * axis.stride / axis.kernel for axis in _axes(of, kernel))


def _axes(of: Convolved, kernel: Sequence[int]) -> list[_Axis]:
    return [_Axis(*axis) for axis in zip(kernel, of.stride, of.padding, strict=True)]
