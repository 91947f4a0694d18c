"""Stock networks: with rules everywhere that change nothing, torch's own gradient comes out; no operator is unknown."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.propagation.everywhere import Everywhere, numbers, pulled
from xaipipe.propagation import gradient_with

TORCHVISION = [
    "resnet18", "vgg11_bn", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny",
    "vit_b_32", "swin_t", "googlenet", "shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf", "maxvit_t",
]  # fmt: skip
TIMM = [
    "resnet10t", "vit_tiny_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224", "nfnet_f0",
    "convnextv2_atto", "mixer_s16_224", "cait_xxs24_224", "pvt_v2_b0", "resnest14d", "mobilevit_xxs", "ghostnet_050",
]  # fmt: skip
LARGE = {
    *("maxvit_t", "vit_b_32", "convnext_tiny", "vgg11_bn", "efficientnet_b0", "mobilenet_v2"),
    *("timm:nfnet_f0", "timm:beit_base_patch16_224", "timm:pvt_v2_b0", "timm:convnextv2_atto", "timm:resnet10t"),
}
NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name
    for name in (*TORCHVISION, *(f"timm:{name}" for name in TIMM))
]
TOKENS = {name for name in TIMM if name.startswith(("vit", "beit", "eva", "mixer", "cait"))}
SIZES = {"vit_b_32": 224, "maxvit_t": 224, "googlenet": 96, "eva02_tiny_patch14_224": 56}
"""Of inputs; the others are of 64 pixels."""


def from_torchvision(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision.models")
    settings = {"init_weights": False} if name == "googlenet" else {}
    module: nn.Module = models.get_model(name, weights=None, **settings)
    return module


def from_timm(name: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    size = {"img_size": SIZES.get(name, 64)} if name in TOKENS else {}
    module: nn.Module = timm.create_model(name, pretrained=False, **size)
    return module


def drawn(module: nn.Module) -> nn.Module:
    """Layers that start with zeros would hide what lies behind them."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return module.double().eval()


def gradient(module: nn.Module, x: Tensor, target: int) -> Tensor:
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(module(leaf)[:, target].sum(), leaf)
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_stock_net(name: str) -> None:
    library, _, bare = name.rpartition(":")
    module = drawn(from_timm(bare) if library else from_torchvision(bare))
    size = SIZES.get(bare, 64)
    x = numbers(2, 3, size, size)  # of single images torch's own gradient of a norm may be wrong
    expected = gradient(module, x, 1)
    assert expected.abs().max() > 0
    with torch.no_grad():
        scores = module(x)[:, 1]
    for rules in (Everywhere(), gradient_with()):
        (got,) = pulled(module, x, [1], rules)
        torch.testing.assert_close(got.selection.scores, scores, rtol=1e-10, atol=1e-12)
        assert (got.values - expected).abs().max() <= 1e-10 * expected.abs().max()
    one, other = pulled(module, x, [1, 2])
    assert (one.values - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert not torch.equal(one.values, other.values)
