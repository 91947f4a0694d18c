"""Excitation backprop: the contract, probabilities at every layer, and the definition."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from tests.stock import stock
from xaipipe import Model
from xaipipe.errors import UsageError
from xaipipe.models.locality import trace_locality
from xaipipe.models.whole import WholeImage, pool_sums
from xaipipe.testing import ExplainerContract, SmallCnn, SmallVit, images
from xaipipe.types import Batch
from xaipipe_propagation.excitation_backprop import ExcitationBackprop

ONES = torch.ones(2, dtype=torch.float64)


class TestExcitationBackprop(ExplainerContract):
    method = ExcitationBackprop

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return _shares((weight[target] * x).clamp(min=0))


class TestContrastiveExcitationBackprop(ExplainerContract):
    method = ExcitationBackprop
    params: ClassVar = {"contrastive": True}

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        each = weight[target] * x
        return _shares(each.clamp(min=0)) - _shares(-each.clamp(max=0))


class TestExcitationBackpropOfAttention(ExplainerContract):
    method = ExcitationBackprop
    network = SmallVit


def _shares(values: Tensor) -> Tensor:
    return values / values.sum(dim=(1, 2, 3), keepdim=True)


def chain(bias: bool) -> nn.Sequential:
    """Everything that keeps maps nowhere negative, in one row."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1, groups=4, bias=bias),
        nn.ReLU(inplace=True),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 12, 1, bias=bias),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 10, bias=bias),
        nn.ReLU(),
        nn.Linear(10, 4, bias=bias),
    )
    return net.double().eval()


@pytest.mark.parametrize("layer", [None, *map(str, range(13))])
@pytest.mark.parametrize("bias", [False, True])
def test_every_layer_holds_a_probability(bias: bool, layer: str | None) -> None:
    x = images(2, (16, 16)).double().abs()
    found = xaipipe.explain(chain(bias), x, method="excitation_backprop", target=1, layer=layer)
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)), ONES, rtol=1e-12, atol=1e-12)
    assert float(found.values.min()) >= 0


@pytest.mark.parametrize("layer", [None, "0", "4", "8", "11"])
def test_both_halves_of_the_contrast_are_probabilities(layer: str | None) -> None:
    net, x = chain(bias=True), images(2, (16, 16)).double().abs()
    found = xaipipe.explain(net, x, method="excitation_backprop", target=1, layer=layer, contrastive=True)
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)), 0 * ONES, rtol=0, atol=1e-12)
    assert float(found.values.abs().max()) > 1e-3
    if layer == "11":  # the input of the last weighted layer, where each is taken before they are compared
        weight, below = net[12].weight.detach()[1], net[:12](x).detach()
        each = weight * below
        halves = [(part / part.sum(dim=1, keepdim=True)) for part in (each.clamp(min=0), (-each).clamp(min=0))]
        torch.testing.assert_close(found.values[..., 0, 0], halves[0] - halves[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("contrastive", [False, True])
def test_it_is_the_papers_definition(contrastive: bool) -> None:
    """P(i) = Σ_j P(i | j) P(j), P(i | j) = x_i w_ji⁺ / Σ_i' x_i' w_ji'⁺; biases are not in it."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x = images(1, (2, 2), seed=3).double().abs()
    got = xaipipe.explain(net, x, method="excitation_backprop", target=2, contrastive=contrastive)
    with torch.no_grad():
        inputs = [net[:n](x)[0] for n in (1, 3, 5)]
        winner = torch.tensor([0.0, 0, 1], dtype=torch.float64)
        layers = [net[1].weight, net[3].weight, net[5].weight]
        at = _handed_down(inputs[2], layers[2], winner)
        if contrastive:
            at = at - _handed_down(inputs[2], -layers[2], winner)
        for below, weight in ((inputs[1], layers[1]), (inputs[0], layers[0])):
            at = _handed_down(below, weight, at)
    torch.testing.assert_close(got.values.flatten(), at, rtol=1e-10, atol=1e-12)


def _handed_down(x: Tensor, weight: Tensor, at: Tensor) -> Tensor:
    below = torch.zeros_like(x)
    for j in range(len(weight)):
        total = sum(float(x[i] * weight[j, i].clamp(min=0)) for i in range(len(x)))
        for i in range(len(x)):
            if total > 0:
                below[i] += x[i] * weight[j, i].clamp(min=0) / total * at[j]
    return below


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("target", ["predicted", 0, lambda outputs: outputs[:, 0] - 2 * outputs[:, 1]])
@pytest.mark.parametrize(
    "make",
    [SmallCnn, lambda: SmallVit(class_token=False), lambda: SmallVit("module", class_token=False, registers=1)],
    ids=["a CNN with batch norm and residual", "a transformer", "a transformer with a register"],
)
def test_negative_inputs_and_residuals_keep_it_a_probability(make: Any, target: Any, size: tuple[int, int]) -> None:
    """What registers get they keep."""
    x = images(2, size).double()
    assert float(x.min()) < 0
    found = xaipipe.explain(make().double(), x, method="excitation_backprop", target=target)
    kept = torch.tensor(found.diagnostics["bias"], dtype=torch.float64)
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)) + kept, ONES, rtol=1e-10, atol=1e-10)
    assert float(found.values.min()) >= 0
    assert float(kept.max()) < 0.3
    if not (isinstance(make(), SmallVit) and make().prefix.shape[1]):
        assert float(kept.abs().max()) < 1e-10


def test_a_score_of_any_kind_begins_as_a_probability() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1)).double()
    x = images(2, (8, 8)).double()
    for asked in ({"within": "everywhere"}, {"score": "probability"}, {"within": torch.eye(8, dtype=torch.bool)}):
        found = xaipipe.explain(net, x, method="excitation_backprop", target=1, **asked)
        assert found.diagnostics["begun"] == pytest.approx([1.0, 1.0])
        kept = torch.tensor(found.diagnostics["bias"], dtype=torch.float64)  # of pixels that nothing excites
        torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)) + kept, ONES)


def test_a_score_that_nothing_raises_has_an_empty_map() -> None:
    x = images(2, (16, 16)).double().abs()
    found = xaipipe.explain(chain(bias=True), x, method="excitation_backprop", target=_nobody)
    assert float(found.values.abs().max()) == 0


def _nobody(outputs: Tensor) -> Tensor:
    return 0 * outputs[:, 0]


def test_batch_norms_are_those_of_the_layer_before_them() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 6, 3).double(), nn.BatchNorm2d(6).double()
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).double()
    apart = nn.Sequential(conv, norm, head).eval()
    folded = nn.utils.fusion.fuse_conv_bn_eval(conv.eval(), norm.eval())
    x = images(2, (10, 10)).double()
    maps = [
        xaipipe.explain(net, x, method="excitation_backprop", target=1).values
        for net in (apart, nn.Sequential(folded, head).eval())
    ]
    torch.testing.assert_close(maps[0], maps[1], rtol=1e-9, atol=1e-12)


def test_what_only_a_bias_holds_up_is_said() -> None:
    net = chain(bias=True)
    nn.init.constant_(net[0].bias, 1.0)
    found = xaipipe.explain(net, torch.zeros(1, 3, 16, 16).double(), method="excitation_backprop", target=1)
    assert float(found.values.abs().max()) == 0
    assert found.diagnostics["bias"] == pytest.approx([1.0])
    assert found.diagnostics["residual"] == pytest.approx([0.0])


class Shared(nn.Module):
    """Two classes, each with a unit of its own that also sees what both share."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Linear(3, 2, bias=False)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.see.weight.copy_(torch.tensor([[1.0, 3.0, 0.0], [0.0, 3.0, 1.0]]))  # left, middle, right
            self.head.weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.see(x.flatten(1)).relu())
        return answer


def test_the_contrast_separates_classes_that_share_evidence() -> None:
    x = torch.ones(1, 1, 1, 3)
    both = xaipipe.explain(Shared(), x, "excitation_backprop", target=[0, 1])
    assert [int(one.values.argmax()) for one in both] == [1, 1], "plain maps show what is shared"
    left, right = xaipipe.explain(Shared(), x, "excitation_backprop", target=[0, 1], contrastive=True)
    torch.testing.assert_close(left.values.flatten(), torch.tensor([0.25, 0, -0.25]))
    torch.testing.assert_close(right.values, -left.values)


def test_a_share_of_a_slide_does_not_guess_at_signed_means() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).double()
    x = images(1, (12, 12)).double()
    pools, own = trace_locality(net, x).pools, [(slice(0, 10), slice(0, 10))]
    share = WholeImage.of_share(Model(net), pools, pool_sums(Model(net), pools, own, x)[0], [100], own)
    batch = Batch(tiles=(), pixels=x, valid=torch.ones(1, 12, 12, dtype=torch.bool))
    with pytest.raises(UsageError, match="cannot tell what excites the mean"):
        ExcitationBackprop(target=1).contributions(batch, share)


@pytest.mark.parametrize(
    "name",
    [
        *("torchvision:resnet18", "torchvision:vgg11", "torchvision:densenet121", "torchvision:mobilenet_v3_small"),
        *("timm:efficientnet_b0", "timm:convnext_atto", "timm:vit_tiny_patch16_224"),
    ],
)
def test_stock_networks(name: str) -> None:
    found = xaipipe.explain(stock(name), images(1, (224, 224)), method="excitation_backprop", target=1)
    total = float(found.values.sum()) + found.diagnostics["bias"][0]
    assert total == pytest.approx(1, abs=1e-3)
    assert float(found.values.min()) >= 0
