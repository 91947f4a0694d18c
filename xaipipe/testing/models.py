"""Tiny deterministic models, and images for them."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor, nn


def images(count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Tensor:
    """The same normally distributed pixels [N, 3, H, W] whenever they are asked for."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, *size, generator=generator)


class LinearModel(nn.Module):
    """y = ⟨w, x⟩ + b for each of three classes, on images of one size.

    The layer `maps` hands its input on, so that methods which explain a layer find one: its maps are the image.
    """

    def __init__(self, size: tuple[int, int] = (32, 24), classes: int = 3, seed: int = 1) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.maps = nn.Conv2d(3, 3, 1, bias=False)
            self.head = nn.Linear(3 * size[0] * size[1], classes)
        self.size = size
        fill(self, seed)
        with torch.no_grad():
            self.maps.weight.copy_(torch.eye(3)[:, :, None, None])

    @property
    def weight(self) -> Tensor:
        """[classes, 3, H, W]"""
        return self.head.weight.detach().reshape(-1, 3, *self.size)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.maps(x).flatten(1))
        return answer


class SmallCnn(nn.Module):
    """What trips methods up, in a few layers: batch norm, in-place and reused ReLU, a residual add, dropout, pooling.

    Maps have stride 2. `pause` sleeps in the middle of a forward pass, so that two threads are sure to meet inside.
    """

    def __init__(self, classes: int = 3, seed: int = 2, pause: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.relu = nn.ReLU(inplace=True)
            self.block = nn.Conv2d(8, 8, 3, padding=1)
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Linear(8, classes)
        self._pause = pause
        fill(self, seed)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        time.sleep(self._pause)
        y = self.block(x)
        time.sleep(self._pause)
        y += x
        pooled = self.relu(y).mean(dim=(2, 3))
        answer: Tensor = self.head(self.dropout(pooled))
        return answer


def centring(model: nn.Module, in_place: bool) -> nn.Module:
    """The model with the subtraction of a mean as its first step, in place where asked.

    Written so, a model changes what it is given.
    """

    def subtract(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        (x,) = inputs
        return (x.sub_(0.5) if in_place else x - 0.5,)

    model.register_forward_pre_hook(subtract)
    return model


def fill(module: nn.Module, seed: int) -> None:
    """Weights and running statistics from a seed, without touching the global random state."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in))
        for buffer in module.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
