"""Networks that are local up to a global pooling, each with something that trips a tiling up; and some that are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """A body of maps, a global pooling, and a head that is not linear."""

    def __init__(self, body: nn.Module, channels: int = 8, pool: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.body = body
        self.pool = pool or (lambda maps: F.adaptive_avg_pool2d(maps, 1).flatten(1))
        self.head = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.Linear(6, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.body(x)))


class Same(nn.Conv2d):
    """TensorFlow's SAME: how much is padded, and where, depends on the size of the input."""

    def forward(self, x: Tensor) -> Tensor:
        pads = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        y += x
        return F.relu(y)


class ChannelsLast(nn.Module):
    """As in ConvNeXt: normalised and mixed along the channels, which come last for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm = nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).permute(0, 2, 3, 1)
        return x + F.gelu(self.mix(self.norm(y))).permute(0, 3, 1, 2)


class Shuffled(nn.Module):
    """As in ShuffleNet: channels split, shuffled in groups, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, dim=1)
        joined = torch.cat([a, self.conv(b)], dim=1)
        n, c, h, w = joined.shape
        return joined.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Excited(nn.Module):
    """Squeeze and excitation."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x.mean(dim=(2, 3), keepdim=True))


class Coordinates(nn.Module):
    """Counted from the first column of whatever is given."""

    def __init__(self, joined: bool = False) -> None:
        super().__init__()
        self.conv, self.joined = conv(3, 3, 1, 1), joined

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        columns = torch.arange(maps.shape[3], dtype=maps.dtype) / 100
        return torch.cat([maps, columns.expand_as(maps[:, :1])], 1) if self.joined else F.relu(maps + columns)


class ToMultiples(nn.Module):
    """Pads at the end until the size can be divided."""

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, -x.shape[3] % 16, 0, -x.shape[2] % 16))


class Attending(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return F.scaled_dot_product_attention(tokens, tokens, tokens).transpose(1, 2).reshape(x.shape)


def conv(channels: int, *args: int, **kwargs: object) -> nn.Conv2d:
    return nn.Conv2d(channels, 8, *args, **kwargs)


def two_poolings(maps: Tensor) -> Tensor:
    """Of two maps of different strides."""
    return torch.cat([maps.mean((2, 3)), F.avg_pool2d(maps, 2).square().mean((-1, -2), keepdim=True).flatten(1)], 1)


LOCAL: dict[str, Callable[[], nn.Module]] = {
    "strided": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), nn.ReLU(), conv(8, 3, 2, 1), nn.ReLU())),
    "no padding": lambda: Net(nn.Sequential(conv(3, 7, 2), nn.ReLU(), conv(8, 5), nn.ReLU(), conv(8, 3, 2))),
    "even kernels": lambda: Net(nn.Sequential(conv(3, 4, 4), nn.GELU(), conv(8, 2, 2))),
    "ceil mode": lambda: Net(nn.Sequential(conv(3, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), conv(8, 3))),
    "pooling": lambda: Net(nn.Sequential(conv(3, 3, 1, 1), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), conv(8, 3, 1, 1))),
    "TensorFlow's SAME": lambda: Net(nn.Sequential(Same(3, 8, 3, 2), nn.ReLU6(), Same(8, 8, 3, 2), nn.ReLU6())),
    "SAME, odd": lambda: Net(nn.Sequential(Same(3, 8, 5, 3), nn.ReLU(), Same(8, 8, 2, 2))),
    "dilated": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), nn.SiLU(), conv(8, 3, 1, 3, dilation=3))),
    "asymmetric": lambda: Net(nn.Sequential(nn.ZeroPad2d((0, 3, 2, 0)), conv(3, 3, 2), nn.ReLU(), conv(8, 3, 1, 1))),
    "reflecting": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), nn.ReLU(), conv(8, 5, 1, 2, padding_mode="reflect"))),
    "batch norm": lambda: Net(nn.Sequential(conv(3, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))),
    "residual": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), Residual(conv(8, 3, 1, 1), nn.ReLU(), conv(8, 3, 1, 1)))),
    "channels last": lambda: Net(nn.Sequential(conv(3, 4, 4), ChannelsLast(), ChannelsLast())),
    "shuffled": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), Shuffled(), nn.ReLU(), Shuffled())),
    "transposed": lambda: Net(nn.Sequential(conv(3, 3, 4, 1), nn.ReLU(), nn.ConvTranspose2d(8, 8, 4, 2, 1))),
    "sum": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), nn.ReLU()), pool=lambda maps: maps.sum(dim=[3, 2]) / 1e4),
    "two poolings": lambda: Net(nn.Sequential(conv(3, 3, 2, 1), nn.ReLU(), conv(8, 3, 1, 1)), pool=two_poolings),
    "mirrored far around": lambda: Net(nn.Sequential(nn.ReflectionPad2d(9), conv(3, 3), nn.ReLU())),
    "repeated far around": lambda: Net(nn.Sequential(nn.ReplicationPad2d(9), conv(3, 3), nn.ReLU())),
    "a border of its own": lambda: Net(nn.Sequential(conv(3, 5, 1, 5), nn.ReLU(), conv(8, 3, 3, 2))),
}  # fmt: skip

_TELLING = (
    "strided",
    "TensorFlow's SAME",
    "batch norm",
    "residual",
    "channels last",
    "two poolings",
    "mirrored far around",
)
LOCAL_OR_SLOW = [name if name in _TELLING else pytest.param(name, marks=pytest.mark.slow) for name in LOCAL]
"""For methods that divide an image as another does, which is tried on all."""

STEM = (3, 3, 2, 1)
NOT_LOCAL: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "instance norm": (lambda: Net(nn.Sequential(conv(*STEM), nn.InstanceNorm2d(8))), "instance_norm"),
    "group norm": (lambda: Net(nn.Sequential(conv(*STEM), nn.GroupNorm(2, 8))), "group_norm"),
    "squeeze and excitation": (lambda: Net(nn.Sequential(conv(*STEM), Excited())), "mul .*squeeze and excitation"),
    "attention": (lambda: Net(nn.Sequential(conv(*STEM), Attending())), "scaled_dot_product_attention"),
    "flattened": (
        lambda: Net(conv(*STEM), pool=lambda maps: F.adaptive_avg_pool2d(maps, 2).flatten(1)),
        "adaptive_avg_pool2d",
    ),
    "maximum": (lambda: Net(conv(*STEM), pool=lambda maps: maps.amax((2, 3))), "amax"),
    "softmax over space": (
        lambda: Net(conv(*STEM), pool=lambda maps: (maps.flatten(2).softmax(-1) * maps.flatten(2)).sum(-1)),
        "flatten",
    ),
    "circular padding": (
        lambda: Net(conv(*STEM, padding_mode="circular")), "pad"),
    "coordinates": (lambda: Net(Coordinates()), "add .*not made from the image"),
    "coordinates as channels": (lambda: Net(Coordinates(joined=True)), "expand_as .*not made from the image"),
    "cut from the end": (lambda: Net(conv(*STEM), pool=lambda maps: maps[:, :, -9:].mean((2, 3))), "__getitem__"),
}  # fmt: skip


def _mean_by_hand(maps: Tensor) -> Tensor:
    return maps.sum((2, 3)) / (maps.shape[2] * maps.shape[3])


def _mean_spread(maps: Tensor) -> Tensor:
    """Zeros are padded around the mean of the maps: how much they count depends on the size."""
    spread = maps.mean((2, 3), keepdim=True).expand(-1, -1, *maps.shape[2:])
    return F.avg_pool2d(spread, 3, 1, 1).mean((2, 3))


SIZE_MATTERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "divided by the tile's size": (lambda: Net(conv(*STEM), pool=_mean_by_hand), "makes of the same sums changes"),
    "the mean spread out": (lambda: Net(conv(*STEM), pool=_mean_spread), "makes of the same sums changes"),
    "padded to multiples": (lambda: Net(nn.Sequential(ToMultiples(), conv(3, 3, 4, 1))), "maps change in size"),
    "cropped": (lambda: Net(conv(3, 3, 1, 1), pool=lambda maps: maps[:, :, 6:-6, 6:-6].mean((2, 3))), "in size"),
}  # fmt: skip
"""Every operator is local, and yet tiles do not add up to the whole image."""


def made(build: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> nn.Module:
    """With weights and running statistics from a seed."""
    torch.manual_seed(3)
    net = build().eval()
    net(torch.rand(1, 3, 96, 96))  # lets the head see how many channels there are
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2)
            if isinstance(module, nn.Linear):
                module.weight.mul_(3)
    return net.to(dtype)
