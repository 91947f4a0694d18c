"""DeconvNet and guided backpropagation: the contract, their definitions, and ReLUs in every spelling."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe.testing import ExplainerContract, images
from xaipipe_propagation.deconvnet import DeconvNet
from xaipipe_propagation.guided_backprop import GuidedBackprop

METHODS = ("deconvnet", "guided_backprop")


class TestDeconvNet(ExplainerContract):
    method = DeconvNet
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].expand_as(x)


class TestGuidedBackprop(ExplainerContract):
    method = GuidedBackprop
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].expand_as(x)


class Pictures(nn.Module):
    """Two convolutions, a maximum and a head, with any rectifier."""

    def __init__(self, rectify: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(4)
            self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, stride=2)
            self.head = nn.Linear(5 * 4, 3)
        self.rectify = rectify
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.rectify(self.first(x)), 2)
        answer: Tensor = self.head(self.rectify(self.second(x)).flatten(1))
        return answer


def by_hand(net: Pictures, x: Tensor, target: int, at_relu: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Simonyan's table, column by column: transposed convolutions, switches, and the ReLU that is asked for."""
    first = net.first(x)
    pooled, switches = F.max_pool2d(first.relu(), 2, return_indices=True)
    second = net.second(pooled)
    back = net.head.weight[target].reshape(1, *second.shape[1:]).expand_as(second)
    back = F.conv_transpose2d(at_relu(second, back), net.second.weight, stride=2, output_padding=1)
    back = F.max_unpool2d(back, switches, 2, output_size=first.shape[2:])
    return F.conv_transpose2d(at_relu(first, back), net.first.weight, padding=1).detach()


AT_RELU = {
    "saliency": lambda x, back: back * (x > 0),
    "deconvnet": lambda x, back: back * (back > 0),
    "guided_backprop": lambda x, back: back * (x > 0) * (back > 0),
}


@pytest.mark.parametrize("method", AT_RELU)
def test_only_the_relu_differs_between_the_three_methods(method: str) -> None:
    net, x = Pictures(F.relu), images(3, (12, 12)).double()
    got = xaipipe.explain(net, x, method=method, target=2).values
    torch.testing.assert_close(got, by_hand(net, x, 2, AT_RELU[method]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_without_a_relu_it_is_the_gradient(method: str) -> None:
    net, x = Pictures(torch.tanh), images(2, (12, 12)).double()
    saliency = xaipipe.explain(net, x, method="saliency", target=0).values
    torch.testing.assert_close(xaipipe.explain(net, x, method=method, target=0).values, saliency)


REUSED = nn.ReLU(inplace=True)
TWINS = {
    "torch.relu": torch.relu,
    "method": lambda x: x.relu(),
    "in place": lambda x: x.relu_(),
    "F, in place": lambda x: F.relu(x, inplace=True),
    "reused module": REUSED,
    "clamp": lambda x: x.clamp(min=0),
    "clamp by a tensor": lambda x: x.clamp(min=torch.zeros((), dtype=x.dtype)),
    "clamp in place": lambda x: x.clamp_(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clip": lambda x: torch.clip(x, 0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "maximum, turned round": lambda x: torch.maximum(x.new_zeros(()), x),
    "max of two": lambda x: torch.max(x, x.new_zeros(1)),
    "threshold": lambda x: F.threshold(x, 0, 0),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spelling", TWINS)
def test_a_relu_is_one_however_it_is_spelt(method: str, spelling: str) -> None:
    """Bit for bit, dead units, whose input is exactly zero, included."""
    x = images(2, (12, 12)).double()
    maps = []
    for rectify in (F.relu, TWINS[spelling]):
        net = Pictures(rectify)
        with torch.no_grad():
            net.second.weight[1] = 0
            net.second.bias[1] = 0
        maps.append(xaipipe.explain(net, x, method=method, target=1).values)
    assert maps[0].equal(maps[1])


@pytest.mark.parametrize("method", METHODS)
def test_a_relu_with_a_ceiling_is_one_however_it_is_spelt(method: str) -> None:
    x = 3 * images(2, (12, 12)).double()
    spellings = (F.relu6, nn.ReLU6(), lambda x: x.clamp(0, 6), lambda x: F.hardtanh(x, 0.0, 6.0))
    maps = [xaipipe.explain(Pictures(rectify), x, method=method, target=1).values for rectify in spellings]
    assert all(other.equal(maps[0]) for other in maps)
    assert not maps[0].equal(xaipipe.explain(Pictures(F.relu), x, method="saliency", target=1).values)


def test_a_clamp_that_is_no_relu_keeps_its_gradient() -> None:
    x = images(2, (12, 12)).double()
    for squash in (lambda x: x.clamp(-1, 1), F.hardtanh, lambda x: x.clamp(min=-0.5), torch.sigmoid, F.hardsigmoid):
        saliency = xaipipe.explain(Pictures(squash), x, method="saliency", target=1).values
        torch.testing.assert_close(
            xaipipe.explain(Pictures(squash), x, method="guided_backprop", target=1).values, saliency
        )


OTHERS = (F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish, F.softplus)


@pytest.mark.parametrize("rectify", OTHERS, ids=lambda function: function.__name__)
def test_other_rectifiers_guide_by_their_derivative(rectify: Callable[[Tensor], Tensor]) -> None:
    net, x = Pictures(rectify), images(2, (12, 12)).double()
    got = xaipipe.explain(net, x, method="guided_backprop", target=2).values
    expected = hooked(net, x, 2, lambda derivative, back: derivative * back.clamp(min=0))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)
    got = xaipipe.explain(net, x, method="deconvnet", target=2).values
    expected = hooked(net, x, 2, lambda derivative, back: back.clamp(min=0))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def hooked(net: Pictures, x: Tensor, target: int, rule: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The rule behind every rectifier, as an autograd function of its own."""

    class Ruled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                (ctx.derivative,) = torch.autograd.grad(function(leaf).sum(), leaf)  # type: ignore[attr-defined]
            return function(x)

        @staticmethod
        def backward(ctx: object, *arriving: Tensor) -> tuple[Tensor, None]:
            return rule(ctx.derivative, arriving[0]), None  # type: ignore[attr-defined]

    plain = net.rectify
    net.rectify = lambda z: Ruled.apply(z, plain)
    leaf = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(net(leaf)[:, target].sum(), leaf)
    net.rectify = plain
    return found


@pytest.mark.parametrize("method", METHODS)
def test_exact_runs_are_refused_since_what_cells_hand_back_does_not_add_up(method: str) -> None:
    assert not issubclass({"deconvnet": DeconvNet, "guided_backprop": GuidedBackprop}[method], xaipipe.SummedExplainer)
