"""Branches that disagree about where cells lie: each counts by what it contributes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from xaipipe.models.geometry import cell_centroids
from xaipipe.models.places import Place, find_place

SIZE = 64
SAYS = r"derived from the network's operators; branches up to {} pixels apart meet, each counts by what it contributes"


class Two(nn.Module):
    """Pixels taken at 0, 4, … times `first`, and at 3, 7, … times `second`, put together in some way."""

    def __init__(self, first: float, second: float, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.join = first, second, join
        self.last = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.join(self.first * x[:, :, ::4, ::4], self.second * x[:, :, 3::4, 3::4])).mean(dim=(2, 3))


JOINS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "in place": lambda a, b: a.add_(b),
    "difference": lambda a, b: torch.sub(a, b),
    "channels": lambda a, b: torch.cat([a, b], dim=1),
}


def of(net: nn.Module) -> Place:
    return find_place(net, "last", torch.zeros(1, 3, SIZE, SIZE))


@pytest.mark.parametrize("name", JOINS)
@pytest.mark.parametrize(("first", "second"), [(1, 3), (2, 1), (1, 1), (1, 0), (0, 1)])
def test_the_centre_is_that_of_the_squared_gradient(name: str, first: float, second: float) -> None:
    """Of a linear network it is known: the squares of the factors are the branches' shares."""
    net = Two(first, second, JOINS[name])
    place = of(net)
    expected = 3 * second**2 / (first**2 + second**2)
    seen = cell_centroids(net, place.layer, torch.randn(4, 3, SIZE, SIZE), [(0, 0)])[0]
    assert seen.tolist() == pytest.approx([expected, expected], abs=0.15 if name == "channels" else 1e-6)
    assert place.grid.scale == (4, 4)
    assert place.grid.offset == pytest.approx((expected, expected), abs=0.06)
    disagree = first and second and not (name == "channels" and first == second)
    assert place.source == (SAYS.format(3) if disagree else SAYS.partition(";")[0])


@pytest.mark.parametrize("name", JOINS)
def test_of_large_images_the_variance_stands_in(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a linear network and noise it is the squared gradient; no gradient is taken, which would keep all maps."""
    net = Two(1, 3, JOINS[name])
    expected = of(net).grid.offset
    monkeypatch.setattr("xaipipe.models.survey._MOST_PIXELS", 0)
    monkeypatch.setattr(torch.autograd, "grad", None)
    assert of(net).grid.offset == pytest.approx(expected, abs=0.1)


def test_a_model_without_a_derivative_has_a_place_too() -> None:
    net = Two(1, 3, lambda a, b: a.detach() + b.detach())
    assert of(net).grid.offset == pytest.approx((2.7, 2.7), abs=0.1)


def test_what_a_product_takes_from_a_branch_is_what_the_other_leaves_of_it() -> None:
    """∂(ab) = b∂a + a∂b: a branch that hardly varies and is large takes little of the place."""
    net = Two(1, 1, lambda a, b: a * (5 + b))
    seen = cell_centroids(net, of(net).layer, torch.randn(200, 3, SIZE, SIZE), [(4, 4)])[0] - 16
    assert of(net).grid.offset == pytest.approx((3 / 27, 3 / 27), abs=0.06)
    assert seen.tolist() == pytest.approx([3 / 27, 3 / 27], abs=0.06)


def test_branches_of_different_widths_meet_in_between() -> None:
    """8 cells enlarged to 15, as in a feature pyramid of an odd size: a scale of 64 / 15, and one of 4."""
    net = Two(1, 1, lambda a, b: a[:, :, :15, :15] + F.interpolate(b[:, :, ::2, ::2], size=(15, 15)))
    grid = of(net).grid
    assert 4 < grid.scale[0] < 64 / 15
    assert grid.scale[0] == grid.scale[1]


def test_branches_that_agree_say_nothing() -> None:
    assert ";" not in of(Two(1, 1, lambda a, b: a + 0 * a + a.relu())).source


class Pyramid(nn.Module):
    """A coarse map enlarged onto a fine one: half a coarse cell off, as in FPN on a ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(16, 16, 3, 4, 1), nn.ReLU())
        self.lateral, self.top = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 16, 1)
        self.last = nn.Conv2d(16, 8, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.fine(x)
        return self.last(self.lateral(fine) + F.interpolate(self.top(self.coarse(fine)), scale_factor=4)).mean((2, 3))


class Shortcut(nn.Module):
    """ResNet-D: the mean of two pixels goes past a convolution whose windows are centred on the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1))
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(8, 8, 1))
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.block(x) + self.shortcut(x)).mean((2, 3))


@pytest.mark.parametrize(("build", "apart"), [(Pyramid, 6), (Shortcut, 2)])
def test_networks_with_branches_lie_where_gradients_say(build: Callable[[], nn.Module], apart: int) -> None:
    rows = range(4, 8) if build is Pyramid else (3, 4)  # all phases of an enlarged cell
    cells = [(i, j) for i in rows for j in rows]
    errors = []
    for seed in range(12):
        torch.manual_seed(seed)
        place = of(net := build().eval())
        assert place.source == SAYS.format(apart)
        seen = cell_centroids(net, place.layer, torch.randn(1, 3, SIZE, SIZE), cells)
        stated = torch.tensor(place.grid.offset) + torch.tensor(place.grid.scale) * torch.tensor(cells)
        errors.append((seen - stated).mean(dim=0))
    assert torch.stack(errors).mean(dim=0).abs().max() < 0.6


def test_the_grid_does_not_depend_on_the_image() -> None:
    torch.manual_seed(0)
    net = Pyramid().eval()
    grids = {find_place(net, "last", x).grid for x in (torch.zeros(1, 3, SIZE, SIZE), torch.randn(5, 3, SIZE, SIZE))}
    assert len(grids) == 1
    assert {find_place(net.double(), "last", torch.zeros(1, 3, SIZE, SIZE).double()).grid} == grids


def test_the_diagnostics_say_it() -> None:
    explained = xaipipe.explain(
        Pyramid().eval(), torch.randn(1, 3, SIZE, SIZE), method="gradcam", target=0, layer="last"
    )
    assert explained.diagnostics["grid"] == SAYS.format(6)
