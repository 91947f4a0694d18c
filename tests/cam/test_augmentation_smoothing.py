"""Test-time smoothing: maps of changed images come back to where they belong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.cam.networks import drawn, two_halves
from xaipipe import Grid
from xaipipe.testing import images


class Bright(nn.Module):
    """Its layer shows every second pixel as it is, from the first on."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.MaxPool2d(1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.maps(x).mean(dim=(2, 3))
        return maps


def spot(y: int, x: int, size: tuple[int, int] = (24, 32)) -> Tensor:
    image = torch.zeros(1, 3, *size)
    image[0, :, y - 2 : y + 3, x - 2 : x + 3] = 1
    return image


@pytest.mark.parametrize("params", [{"flips": "both"}, {"flips": "none", "scales": [0.5, 2.0]}, {"scales": [1.5]}])
def test_a_spot_stays_where_it_is(params: dict[str, object]) -> None:
    base = {"method": "hirescam", "layer": "maps"}
    e = xaipipe.explain(Bright(), spot(9, 21), "augmentation_smoothing", target=0, base=base, **params)
    heat = e.values[0, 0]
    assert heat.shape == (24, 32)
    assert e.grid == Grid()
    ys, xs = torch.arange(24.0), torch.arange(32.0)
    centre = (float((heat.sum(1) * ys).sum() / heat.sum()), float((heat.sum(0) * xs).sum() / heat.sum()))
    assert centre == pytest.approx((9, 21), abs=0.5)


def test_it_is_the_mean_of_the_maps_of_all_images() -> None:
    net, x = drawn(two_halves()), images(2, (20, 14)).double()
    total = torch.zeros(2, 1, 20, 14, dtype=torch.float64)
    for factor in (0.5, 1.5):
        total += xaipipe.explain(net, x * factor, "gradcam", target=2, layer="maps").to_input()
        total += xaipipe.explain(net, (x * factor).flip(3), "gradcam", target=2, layer="maps").to_input().flip(3)
    base = {"method": "gradcam", "layer": "maps"}
    got = xaipipe.explain(net, x, "augmentation_smoothing", target=2, base=base, factors=[0.5, 1.5])
    torch.testing.assert_close(got.values, total / 4, rtol=1e-12, atol=1e-14)
    assert got.diagnostics["images"] == 4
    torch.testing.assert_close(got.scores, net(x)[:, 2].detach())


def test_what_is_predicted_is_asked_of_the_image_as_it_is() -> None:
    net, x = two_halves(), images(4, (20, 14)).double()
    base = {"method": "hirescam", "layer": "maps"}
    predicted = xaipipe.explain(net, x, "augmentation_smoothing", target="predicted", base=base, factors=[9.0])
    assert predicted.targets == tuple(net(x).argmax(dim=1).tolist())


def test_pixels_of_a_segmentation_are_mirrored_with_the_image() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    net, x = drawn(net), images(1, (12, 16)).double()
    mask = torch.zeros(12, 16, dtype=torch.bool)
    mask[2:5, 1:6] = True
    e = xaipipe.explain(
        net, x, "augmentation_smoothing", target=1, within=mask, base={"method": "hirescam", "layer": "1"}
    )
    assert float(e.values[0, 0, :, 9:].abs().max()) == 0
    assert float(e.values[0, 0, :, :6].abs().max()) > 0
