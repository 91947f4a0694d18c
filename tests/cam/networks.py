"""Networks in two halves: what comes up to the explained layer, and what follows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwoHalves(nn.Module):
    """Maps behind a ReLU, one of them dead; then a convolution, so that the gradient differs from cell to cell."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.after = nn.Conv2d(6, 5, 3, padding=1)
        self.head = nn.Linear(5, 4)

    def tail(self, maps: Tensor) -> Tensor:
        answer: Tensor = self.head(self.after(maps).relu().mean(dim=(2, 3)))
        return answer

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.maps(x))


class PooledNet(nn.Module):
    """Maps, their mean over space, a linear layer: where CAM is defined."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.maps(x).mean(dim=(2, 3)))
        return answer


def drawn(net: nn.Module, seed: int = 7) -> nn.Module:
    """In float64, with weights from a seed."""
    generator = torch.Generator().manual_seed(seed)
    net = net.double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def two_halves() -> TwoHalves:
    net = drawn(TwoHalves())
    assert isinstance(net, TwoHalves)
    with torch.no_grad():
        net.maps[0].bias[2] = -100.0
    return net
