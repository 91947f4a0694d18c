"""Class activation maps: the contract, and Grad-CAM against CAM and against its definition."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe_cam.gradcam import GradCam


class TestGradCam(ExplainerContract):
    method = GradCam
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weighted_sum(weight, x, target).clamp(min=0)


class TestGradCamSigned(ExplainerContract):
    method = GradCam
    params: ClassVar = {"signed": True}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weighted_sum(weight, x, target)


def weighted_sum(weight: Tensor, x: Tensor, target: int) -> Tensor:
    """The maps of the linear model are the image, and its gradient there is the weight."""
    return (weight[target].mean(dim=(1, 2))[None, :, None, None] * x).sum(dim=1, keepdim=True)


class PooledNet(nn.Module):
    """Maps, their mean over space, a linear layer: where CAM is defined."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.maps(x).mean(dim=(2, 3)))


@pytest.fixture
def pooled_net() -> PooledNet:
    generator = torch.Generator().manual_seed(7)
    net = PooledNet().double().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return net


def test_gradcam_of_a_pooled_net_is_cam_over_the_number_of_cells(pooled_net: PooledNet) -> None:
    x = images(2, (20, 14)).double()
    maps = pooled_net.maps(x).detach()
    cam = torch.einsum("k,nkij->nij", pooled_net.head.weight[3].detach(), maps)[:, None]
    got = xaipipe.explain(pooled_net, x, method="gradcam", target=3, layer="maps", signed=True)
    torch.testing.assert_close(got.values, cam / (maps.shape[2] * maps.shape[3]), rtol=1e-12, atol=1e-15)
    assert got.grid == xaipipe.Grid((2.0, 2.0), (0.0, 0.0))


def test_gradcam_is_its_formula() -> None:
    model, x, target = SmallCnn().double(), images(2, (20, 14)).double(), 1
    stem = F.batch_norm(
        F.conv2d(x, model.stem.weight, stride=2, padding=1),
        model.norm.running_mean,
        model.norm.running_var,
        model.norm.weight,
        model.norm.bias,
    ).relu()
    activation = F.conv2d(stem, model.block.weight, model.block.bias, padding=1).detach().requires_grad_()
    score = model.head((activation + stem.detach()).relu().mean(dim=(2, 3)))[:, target]
    (gradient,) = torch.autograd.grad(score.sum(), activation)
    alpha = gradient.mean(dim=(2, 3))
    expected = torch.einsum("nk,nkij->nij", alpha, activation).relu()[:, None].detach()
    got = xaipipe.explain(model, x, method="gradcam", target=target, layer="block").values
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_layer_may_be_named_or_handed_over() -> None:
    model, x = SmallCnn(), images(1)
    by_name = xaipipe.explain(model, x, method="gradcam", target=1, layer="block")
    by_module = xaipipe.explain(model, x, method="gradcam", target=1, layer=model.block)
    assert by_name.values.equal(by_module.values)
    assert by_name.diagnostics["layer"] == by_module.diagnostics["layer"] == "block"


def test_layer_without_maps_is_refused() -> None:
    with pytest.raises(xaipipe.UsageError, match="no spatial output"):
        xaipipe.explain(SmallCnn(), images(1), method="gradcam", layer="head")
