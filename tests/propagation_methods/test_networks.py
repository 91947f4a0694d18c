"""LRP on whole networks: it is input times gradient where it should be, and conserves on stock architectures."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

import xaipipe
from tests.propagation_methods.networks import Unbiased, seeded, stock
from xaipipe.testing import SmallCnn, images

HOW = ["modules", "in place", "functional", "functional in place", "method", "clamp"]
COMPOSITES = ["zero", "epsilon_plus", "epsilon_gamma_box", "epsilon_alpha2_beta1_flat"]
FAST = ["torchvision:resnet18", "torchvision:mobilenet_v2"]
"""At 64 pixels."""
SLOW = [
    *(f"torchvision:{name}" for name in ("densenet121", "vgg11_bn", "vit_b_32", "swin_t", "convnext_tiny")),
    *(f"torchvision:{name}" for name in ("resnet50", "efficientnet_b0", "mobilenet_v3_small", "shufflenet_v2_x0_5")),
    *(f"timm:{name}" for name in ("xcit_nano_12_p16_224", "cait_xxs24_224", "nfnet_f0", "levit_128s")),
    *(f"timm:{name}" for name in ("coatnet_0_rw_224", "vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224")),
    *(f"timm:{name}" for name in ("tf_efficientnetv2_b0", "mobilenetv4_conv_small", "pvt_v2_b0", "ghostnet_050")),
    *(
        f"timm:{name}"
        for name in ("swin_tiny_patch4_window7_224", "beit_base_patch16_224", "resnest14d", "convnextv2_atto")
    ),
]


def tied() -> torch.Tensor:
    """Pixels in steps, so that windows hold several that are equal."""
    return (2 * images(2, (12, 10)).double()).round() / 2


@pytest.mark.parametrize("how", HOW)
def test_lrp_0_of_a_relu_net_without_bias_is_input_times_gradient(how: str) -> None:
    net = seeded(lambda: Unbiased(how))
    x = tied()
    lrp = xaipipe.explain(net, x, method="lrp", composite="zero", target=1)
    want = xaipipe.explain(net, x, method="input_x_gradient", target=1)
    torch.testing.assert_close(lrp.values, want.values, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(lrp.values.sum(dim=(1, 2, 3)), lrp.scores, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma", "excitation_backprop"])
def test_arguments_by_name_are_the_same_arguments(composite: str) -> None:
    """Signs and weights are seen, too."""

    class Spelt(torch.nn.Module):
        def __init__(self, by_name: bool) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3)
            self.weight = torch.nn.Parameter(torch.randn(8, 4))
            self.by_name = by_name

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x).relu()
            x = torch.add(x, other=-1.0) if self.by_name else x + -1.0
            x = self.second(x).relu().mean((2, 3))
            return torch.matmul(x, other=self.weight) if self.by_name else x @ self.weight

    one, other = (seeded(lambda by_name=by_name: Spelt(by_name)) for by_name in (False, True))
    x = images(2, (8, 8)).double()
    want, got = (xaipipe.explain(net, x, "lrp", target=1, composite=composite).values for net in (one, other))
    assert got.equal(want)


def test_ties_in_a_max_pooling_are_there() -> None:
    x = tied()
    pooled = torch.nn.functional.max_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert ((x == pooled).double().mean(dim=(1, 2, 3)) > 0.3).all()


@pytest.mark.parametrize("composite", ["zero", "epsilon_plus"])
@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4", "6"])
def test_without_bias_every_layer_conserves(layer: str, composite: str) -> None:
    """Of a chain, where nothing goes past a layer."""
    found = xaipipe.explain(
        seeded(_chain), images(2, (8, 8)).double(), "lrp", target=2, composite=composite, layer=layer
    )
    assert found.diagnostics["bias"] == [0, 0]
    arrived = found.values.sum(dim=(1, 2, 3)) + torch.tensor(found.diagnostics["stabiliser"], dtype=torch.float64)
    torch.testing.assert_close(arrived, found.scores, rtol=1e-10, atol=1e-13)


def _chain() -> torch.nn.Module:
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 4, bias=False),
    )


@pytest.mark.parametrize("composite", COMPOSITES)
def test_with_bias_the_absorbed_part_closes_the_sum(composite: str) -> None:
    found = xaipipe.explain(SmallCnn().double(), images(3).double(), "lrp", target=1, composite=composite)
    parts = {
        name: torch.tensor(found.diagnostics[name], dtype=torch.float64)
        for name in ("begun", "arrived", "bias", "stabiliser")
    }
    torch.testing.assert_close(parts["begun"], found.scores)
    torch.testing.assert_close(parts["arrived"], found.values.sum(dim=(1, 2, 3)))
    total = parts["arrived"] + parts["bias"] + parts["stabiliser"]
    torch.testing.assert_close(total, found.scores, rtol=1e-10, atol=1e-12)
    assert all(abs(bias) > 1e-3 for bias in found.diagnostics["bias"])


def check_stock(name: str, size: int, composites: Sequence[str]) -> None:
    net, x = stock(name), images(1, (size, size)).double()
    for composite in composites:
        found = xaipipe.explain(net, x, "lrp", target=1, composite=composite)  # a sum that is off would be a warning
        assert found.values.isfinite().all()
        assert float(found.values.abs().max()) > 0
        scale = sum(abs(found.diagnostics[part][0]) for part in ("begun", "arrived", "bias"))
        assert abs(found.diagnostics["residual"][0]) <= 1e-10 * scale
    again = xaipipe.explain(net, x, "lrp", target=1, composite=composite)
    assert again.values.equal(found.values)


@pytest.mark.parametrize("name", FAST)
def test_stock_networks_conserve(name: str) -> None:
    check_stock(name, 64, COMPOSITES[1:3])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_more_stock_networks_conserve(name: str) -> None:
    check_stock(name, 224, COMPOSITES)
