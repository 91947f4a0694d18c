"""`placement`, and the traps that put the maps of well-known networks half a stride off.

A network with random weights sees more on one side by chance. Its mirror image sees as much more on the other: all
kernels turned by half a turn, and the image too, about the cell that is asked. So the mean of both is exact where that
cell lies in the middle of the image, for which the image has to have a certain size.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.stock import stock
from xaipipe import Placement, UsageError
from xaipipe.models.places import find_place
from xaipipe.testing import SmallCnn, images


def conv(before: int, after: int, *args: int, **more: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, *args, **more, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(conv(before, after, 3, stride, 1), nn.Conv2d(after, after, 3, 1, 1))
        self.shortcut = nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.block(x) + self.shortcut(x))


class Dense(nn.Module):
    def __init__(self, before: int) -> None:
        super().__init__()
        self.one, self.two = conv(before, 4, 3, 1, 1), conv(before + 4, 4, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, self.one(x)], 1)
        return torch.cat([x, self.two(x)], 1)


class Gated(nn.Module):
    """Depthwise, with squeeze and excitation, as in EfficientNet."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, kernel, 2, kernel // 2, groups=channels)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.silu(self.deep(x))
        return x * self.gate(x)


class Last(nn.Module):
    """Channels last, as in ConvNeXt."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deep = nn.Conv2d(channels, channels, 7, 1, 3, groups=channels)
        self.norm, self.mix = nn.LayerNorm(channels), nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(self.norm(self.deep(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


def residual() -> nn.Module:
    return nn.Sequential(conv(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1), Residual(8, 8, 2), Residual(8, 8, 2))


def dense() -> nn.Module:
    return nn.Sequential(conv(3, 8, 7, 2, 3), Dense(8), nn.AvgPool2d(2), Dense(16), nn.AvgPool2d(2))


def pooled() -> nn.Module:
    return nn.Sequential(*(nn.Sequential(conv(before, 8, 3, 1, 1), nn.MaxPool2d(2)) for before in (3, 8, 8, 8)))


def depthwise() -> nn.Module:
    return nn.Sequential(conv(3, 8, 3, 2, 1), Gated(8, 3), Gated(8, 5), Gated(8, 3))


def patches() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 4, 4), Last(8), nn.Conv2d(8, 8, 2, 2), Last(8))


def same_padding() -> nn.Module:
    """One more behind than before, as TensorFlow pads where the stride is 2."""
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 8, 3, 2), nn.ZeroPad2d((1, 2, 1, 2)), conv(8, 8, 5, 2))


SMALL = {residual: 161, dense: 151, pooled: 144, depthwise: 161, patches: 152, same_padding: 151}
"""Each with a size of images whose middle is the centre of a cell."""
STOCK = {
    "resnet18": ("layer4", 193), "resnet50": ("layer4", 193), "efficientnet_b0": ("features", 193),
    "densenet121": ("features", 221), "vgg16": ("features", 224), "convnext_tiny": ("features", 224),
    "mobilenet_v2": ("features", 193),
}  # fmt: skip


def mirrored(net: nn.Module) -> nn.Module:
    """With every kernel turned by half a turn."""
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.copy_(part.weight.flip(-1, -2))
    return net


def mean_of_mirrors(net: nn.Module, layer: str, x: Tensor, cell: tuple[int, int]) -> tuple[float, float]:
    """Errors of the stated centre and of plain upsampling."""
    found = xaipipe.placement(net, x, layer, [cell])
    other = xaipipe.placement(mirrored(net), x.flip(-1, -2), layer, [cell])
    seen = (found.seen + other.seen) / 2
    return float((found.stated - seen).abs().max()), float((found.upsampled - seen).abs().max())


def error_in_the_middle(net: nn.Module, layer: str, x: Tensor) -> float:
    """Of the stated centre that is the nearest to the middle of the image."""
    grid = find_place(net, layer, x).grid
    row, column = (round(((x.shape[2 + a] - 1) / 2 - grid.offset[a]) / grid.scale[a]) for a in (0, 1))
    return mean_of_mirrors(net, layer, x, (row, column))[0]


def pooled_over(body: nn.Module) -> nn.Module:
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1)).double().eval()


@pytest.mark.parametrize("build", SMALL)
def test_the_traps_of_well_known_networks_in_a_few_layers(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    size = SMALL[build]
    assert error_in_the_middle(pooled_over(build()), "0", images(1, (size, size)).double()) < 1e-6


@pytest.mark.parametrize("build", [residual, depthwise])
def test_plain_upsampling_is_half_a_stride_off(build: Callable[[], nn.Module]) -> None:
    """On an image of whole strides; the cell in front of the middle, in the mean over networks."""
    errors = []
    for seed in range(8):
        torch.manual_seed(seed)
        errors.append(mean_of_mirrors(pooled_over(build()), "0", images(1, (160, 160)).double(), (4, 4)))
    stated, upsampled = torch.tensor(errors).mean(dim=0).tolist()
    assert stated < 1
    assert upsampled > 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STOCK)
def test_stock_nets(name: str) -> None:
    layer, size = STOCK[name]
    assert error_in_the_middle(stock(f"torchvision:{name}", weights=None), layer, images(1, (size, size))) < 0.05


def test_what_it_says() -> None:
    net = SmallCnn().double()
    found = xaipipe.placement(net, images(8, (32, 48)).double())
    assert isinstance(found, Placement)
    assert (found.layer, found.grid.scale) == ("relu", (2, 2))
    assert found.cells == ((7, 11), (7, 12), (8, 11), (8, 12))
    assert found.stated.tolist() == [[14, 22], [14, 24], [16, 22], [16, 24]]
    assert found.upsampled.tolist() == [[14.5, 22.5], [14.5, 24.5], [16.5, 22.5], [16.5, 24.5]]
    assert found.error == float((found.stated - found.seen).abs().max())
    assert found.error < 1
    assert found.source == "derived from the network's operators"


def test_the_model_is_left_as_it_was() -> None:
    net = SmallCnn().train()
    xaipipe.placement(net, images(1))
    assert net.training
    assert net.norm.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_it_can_be_asked_where_nothing_has_a_gradient() -> None:
    net, x = SmallCnn(), images(2)
    expected = xaipipe.placement(net, x)
    with torch.inference_mode():
        inside = xaipipe.placement(net, x + 0)
    with torch.no_grad():
        without = xaipipe.placement(net, x)
    assert torch.equal(inside.seen, expected.seen)
    assert torch.equal(without.seen, expected.seen)


def test_a_centroid_is_its_definition() -> None:
    """Σ_c (∂A_c/∂x)², channel by channel; the signs by which it is had cancel in the mean over many images."""
    net, cell = SmallCnn().double(), (3, 5)
    x = images(400, (20, 20)).double()
    weight = torch.zeros(20, 20, dtype=torch.float64)
    for image in x[:20]:
        leaf = image[None].clone().requires_grad_()
        maps = net.norm(net.stem(leaf))
        for channel in maps[0, :, cell[0], cell[1]]:
            (gradient,) = torch.autograd.grad(channel, leaf, retain_graph=True)
            weight += gradient[0].square().sum(dim=0)
    along = torch.arange(20.0, dtype=torch.float64)
    expected = torch.stack([weight.sum(1) @ along, weight.sum(0) @ along]) / weight.sum()
    plain = nn.Sequential(net.stem, net.norm)
    found = xaipipe.placement(plain, x, layer="1", cells=[cell])
    torch.testing.assert_close(found.seen[0], expected, rtol=0, atol=0.1)


def test_a_cell_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"layer 'relu' has no such cell\n  got: \(16, 0\)\n  expected: rows below 16"):
        xaipipe.placement(SmallCnn(), images(1), cells=[(0, 0), (16, 0)])
