"""DeepLIFT on networks as torchvision and timm bring them. Skipped where these are not installed."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import xaipipe
from xaipipe.testing import images

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # on importing other people's packages
    timm = pytest.importorskip("timm")

NAMES = (
    *("resnet18", "mobilenetv3_small_100", "efficientnet_b0", "convnext_atto", "nfnet_l0"),
    *("vit_tiny_patch16_224", "eva02_tiny_patch14_224", "levit_128s", "mobilevit_xxs"),
)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_sum_to_the_difference_of_the_scores(name: str) -> None:
    torch.manual_seed(0)
    net = timm.create_model(name).double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.0)  # so that signals live, whatever the depth
    size = net.default_cfg["input_size"][1:] if net.default_cfg.get("fixed_input_size") else (96, 96)
    x = images(2, size).double()
    found = xaipipe.explain(net, x, method="deeplift", target=[3, 7], reference="blurred")
    for one in found:
        difference = one.scores - torch.tensor(one.diagnostics["reference_scores"], dtype=torch.float64)
        size = max(1.0, float(difference.abs().max()))
        torch.testing.assert_close(one.values.sum(dim=(1, 2, 3)), difference, rtol=0, atol=1e-9 * size)
        assert float(difference.abs().min()) > 1e-9
