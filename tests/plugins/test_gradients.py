"""Methods that read the model's gradient: the contract, and the exact answer of each."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

import xaipipe
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe_gradients.input_x_gradient import InputXGradient
from xaipipe_gradients.saliency import Saliency
from xaipipe_gradients.sensitivity import Sensitivity


class TestSaliency(ExplainerContract):
    method = Saliency
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].expand_as(x)


class TestSaliencyMagnitude(ExplainerContract):
    method = Saliency
    params: ClassVar = {"magnitude": True}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].abs().amax(dim=0).expand(len(x), 1, -1, -1)


class TestSensitivity(ExplainerContract):
    method = Sensitivity

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].square().expand_as(x)


class TestInputXGradient(ExplainerContract):
    method = InputXGradient
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * x


def test_input_x_gradient_of_a_network_without_bias_sums_to_its_score() -> None:
    """Of a piecewise linear network that goes through zero."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(150, 4, bias=False)
    )
    x = images(3, (12, 12)).double()
    explanation = xaipipe.explain(net.double(), x, method="input_x_gradient", target=1)
    torch.testing.assert_close(explanation.values.sum(dim=(1, 2, 3)), explanation.scores, rtol=1e-10, atol=1e-12)


def test_saliency_is_the_finite_difference() -> None:
    model, x, step = SmallCnn().double(), images(1, (12, 10)).double(), 1e-6
    got = xaipipe.explain(model, x, method="saliency", target=2).values
    rises = step * torch.eye(x.numel(), dtype=torch.float64).reshape(-1, *x.shape[1:])
    with torch.no_grad():
        expected = (model(x + rises)[:, 2] - model(x - rises)[:, 2]) / (2 * step)
    torch.testing.assert_close(got.reshape(-1), expected, rtol=1e-6, atol=1e-8)


def test_sensitivity_is_saliency_squared() -> None:
    model, x = SmallCnn().double(), images(2).double()
    saliency, sensitivity = (xaipipe.explain(model, x, method=name, target=0) for name in ("saliency", "sensitivity"))
    assert sensitivity.values.equal(saliency.values.square())
