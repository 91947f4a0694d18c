"""FullGrad sums to the score, whatever biases the network has and however they are spelt, and puts them in place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from tests.cam.networks import PooledNet, drawn
from tests.stock import stock
from xaipipe.testing import SmallVit, images
from xaipipe_cam.deposits import deposited

PARTS = ("input", "biases", "unplaced")


class Spelt(nn.Module):
    """A convolution and what follows it, on the way to a linear layer."""

    def __init__(self, after: Callable[..., Tensor]) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 5, 3, stride=2), nn.BatchNorm2d(5), nn.Linear(5, 4)
        self.shift = nn.Parameter(torch.zeros(5, 1, 1))
        self.after = after
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.after(self, self.conv(x)).mean(dim=(2, 3)))
        return answer


AFTER: dict[str, Callable[[Spelt, Tensor], Tensor]] = {
    "relu": lambda net, z: z.relu(),
    "norm": lambda net, z: net.norm(z).relu_(),
    "norm alone": lambda net, z: net.norm(z.relu()).relu(),
    "functional bias": lambda net, z: (z + net.shift).relu(),
    "bias in place": lambda net, z: F.relu(z.relu().add_(net.shift).sub_(0.25), inplace=True),
    "sum": lambda net, z: z.relu() + z,
    "rsub": lambda net, z: 1 - z.abs(),
    "product": lambda net, z: z * z.mean(dim=(2, 3), keepdim=True).sigmoid(),
    "smooth": lambda net, z: F.gelu(z) + F.silu(z) + F.softplus(z) + F.relu6(z),
    "group norm": lambda net, z: F.group_norm(z, 1, net.norm.weight, net.norm.bias).relu(),
    "joined": lambda net, z: torch.cat([z[:, :3], torch.ones_like(z[:, 3:])], dim=1).exp(),
    "hidden": lambda net, z: z.masked_fill(torch.arange(z.shape[3]) < 2, -torch.inf).softmax(3),
    "hidden from a maximum": lambda net, z: F.max_pool2d(z.masked_fill(torch.arange(z.shape[3]) < 1, -torch.inf), 2),
    "pooled": lambda net, z: F.max_pool2d(F.avg_pool2d(z, 2), 2, stride=1).relu(),
}


@pytest.mark.parametrize("how", AFTER)
def test_contributions_sum_to_the_score(how: str) -> None:
    torch.manual_seed(0)
    net, x = drawn(Spelt(AFTER[how])), images(2, (18, 26)).double()
    for e in xaipipe.explain(net, x, "fullgrad", target=[0, 3], signed=True):
        parts = torch.tensor([e.diagnostics[part] for part in PARTS], dtype=torch.float64).sum(dim=0)
        torch.testing.assert_close(parts, e.scores, rtol=1e-10, atol=1e-10)
        placed = e.scores - torch.tensor(e.diagnostics["unplaced"], dtype=torch.float64)
        torch.testing.assert_close(e.values.sum(dim=(1, 2, 3)), placed, rtol=1e-10, atol=1e-10)


def test_a_probability_is_summed_to_as_well() -> None:
    net, x = drawn(PooledNet()), images(2, (18, 26)).double()
    e = xaipipe.explain(net, x, "fullgrad", target=2, score="probability", signed=True)
    parts = torch.tensor([e.diagnostics[part] for part in PARTS], dtype=torch.float64).sum(dim=0)
    torch.testing.assert_close(parts, e.scores, rtol=1e-10, atol=1e-12)


def test_a_vision_transformer_is_complete() -> None:
    net, x = SmallVit().double(), images(2).double()
    e = xaipipe.explain(net, x, "fullgrad", target=1, signed=True)
    parts = torch.tensor([e.diagnostics[part] for part in PARTS], dtype=torch.float64).sum(dim=0)
    torch.testing.assert_close(parts, e.scores, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:efficientnet_b0"])
def test_stock_networks_are_complete(name: str) -> None:
    net, x = stock(name).double(), images(1, (48, 64)).double()
    e = xaipipe.explain(net, x, "fullgrad", target=7, signed=True)
    assert abs(e.diagnostics["completeness_gap"][0]) < 1e-10 * max(1.0, float(e.values.abs().sum()))


def test_it_is_the_papers_sum_of_absolute_values() -> None:
    """Channel by channel, pixels and cells of stride 2, each cell shared out among its pixels."""
    net, x, target = drawn(PooledNet()), images(1, (8, 10)).double(), 3
    leaf = x.clone().requires_grad_()
    z = net.maps[0](leaf)
    score = net.head(z.relu().mean(dim=(2, 3)))[0, target]
    at_pixels, at_cells = torch.autograd.grad(score, [leaf, z])
    expected = (x * at_pixels).abs().sum(dim=1)[0].detach()
    for channel, slope in zip(net.maps[0].bias.detach(), at_cells[0], strict=True):
        expected = expected + shared_out((channel * slope).abs(), step=2, size=(8, 10))
    got = xaipipe.explain(net, x, "fullgrad", target=target).values[0, 0]
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def shared_out(cells: Tensor, step: int, size: tuple[int, int]) -> Tensor:
    """Cells at 0, step, …: each to the pixels nearer than a step to it, the nearer the more; the last to the rest."""

    def weights(cell: int, last: int, pixels: int) -> list[float]:
        near = [max(0.0, 1 - abs(p - cell * step) / step) for p in range(pixels)]
        if cell == last:
            near = [1.0 if p >= cell * step else w for p, w in enumerate(near)]
        return [w / sum(near) for w in near]

    total = torch.zeros(size, dtype=torch.float64)
    for i in range(cells.shape[0]):
        rows = torch.tensor(weights(i, cells.shape[0] - 1, size[0]), dtype=torch.float64)
        for j in range(cells.shape[1]):
            columns = torch.tensor(weights(j, cells.shape[1] - 1, size[1]), dtype=torch.float64)
            total = total + cells[i, j] * rows[:, None] * columns[None, :]
    return total


@pytest.mark.parametrize("grid", [xaipipe.Grid(), xaipipe.Grid((4.0, 3.0), (-9.0, 1.5)), xaipipe.Grid((0.5, 0.5))])
def test_nothing_is_lost_where_cells_lie_outside(grid: xaipipe.Grid) -> None:
    maps = torch.randn(2, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    spread = deposited(maps, grid, (12, 16))
    assert spread.shape == (2, 12, 16)
    torch.testing.assert_close(spread.sum(dim=(1, 2)), maps.sum(dim=(1, 2)), rtol=1e-12, atol=1e-12)


def test_an_operator_that_nobody_described_is_a_warning() -> None:
    net = drawn(Spelt(lambda net, z: torch.special.i0(z)))
    with pytest.warns(xaipipe.ExplanationWarning, match=r"fullgrad: contributions of image 0, target 0, miss .* score"):
        xaipipe.explain(net, images(1, (18, 26)).double(), "fullgrad", target=0)
