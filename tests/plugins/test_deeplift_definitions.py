"""DeepLIFT against what its paper writes down, in plain loops, and against Captum where both mean the same."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe.testing import images

Vector = np.ndarray[Any, Any]


def explain(net: nn.Module, x: Tensor, **params: Any) -> Tensor:
    return xaipipe.explain(net, x, method="deeplift", **{"target": 0, **params}).values


def pixels(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


class OfPixels(nn.Module):
    """A function of the pixels as a model with one output."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.function(x.flatten(1))[:, None]
        return answer


# -- the paper's examples ------------------------------------------------------------------------


def test_a_saturated_unit_still_tells_what_it_saw() -> None:
    """1 − relu(1 − a − b) at a = b = 1: the gradient is zero; by Rescale each has half of the difference."""
    net = OfPixels(lambda x: 1 - F.relu(1 - x.sum(dim=1)))
    assert explain(net, pixels(1, 1)).flatten().tolist() == [0.5, 0.5]


def test_reveal_cancel_shows_both_arguments_of_a_minimum() -> None:
    """min(a, b) as a − relu(a − b): Rescale gives everything to one of them, RevealCancel half to each."""
    weights = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    net = OfPixels(lambda x: x[:, 0] - F.relu(F.linear(x, weights))[:, 0])
    for a, b, by_rescale in ((3.0, 2.0, [0.0, 2.0]), (2.0, 3.0, [2.0, 0.0])):
        assert explain(net, pixels(a, b)).flatten().tolist() == by_rescale
    expected = [0.5 * min(3, 2), 0.5 * min(3, 2)]
    assert explain(net, pixels(3, 2), rule="reveal_cancel").flatten().tolist() == expected


# -- maxima --------------------------------------------------------------------------------------


def test_the_difference_of_a_maximum_goes_to_who_makes_the_larger_one() -> None:
    net = OfPixels(lambda x: F.max_pool1d(x[:, None], 3).flatten(1)[:, 0])
    for x, reference, expected in (
        ([1, 5, 2], [3, 1, 0], [0, 2, 0]),  # 5 − 3, by the second
        ([1, 2, 0], [4, 1, 3], [-2, 0, 0]),  # 2 − 4, by the first, which is missing
        ([4, 1, 0], [1, 4, 0], [0, 0, 0]),
        ([4, 1, 0], [4, 2, 0], [0, 0, 0]),
    ):
        assert explain(net, pixels(*x), reference=pixels(*reference)).flatten().tolist() == expected


def test_rounding_does_not_choose_the_place_of_a_maximum() -> None:
    """Of places that are as large but for rounding the first counts; a Δy that this might hide is placed exactly."""
    net, up = OfPixels(lambda x: F.max_pool1d(x[:, None], 3).flatten(1)[:, 0]), 1 + 2.0**-52
    for x, reference, expected in (
        ([0, 0, 0], [1, up, up], [-1, 0, 0]),  # without rounding, the second would be missing
        ([0, 3, 3 * up], [0, 0, 0], [0, 3, 0]),
        ([1, 1, 1], [1 - 1e-9, 1, 1 + 1e-9], [0, 0, -1e-9]),
        ([float("1e308"), 0, 0], [0, 0, 0], [1e308, 0, 0]),  # too large to be rounded
    ):
        found = explain(net, pixels(*x), reference=pixels(*reference)).flatten()
        torch.testing.assert_close(found, pixels(*expected).flatten(), rtol=1e-6, atol=1e-16)


# -- Rescale, by hand ----------------------------------------------------------------------------


def test_rescale_by_hand() -> None:
    """Convolution, ReLU, average and a linear layer: multipliers in the place of the ReLU's derivative."""
    torch.manual_seed(1)
    first, second, head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.Linear(5, 3)
    net = nn.Sequential(first, nn.ReLU(), second, nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double()
    x, reference = images(3, (10, 10)).double(), images(3, (10, 10), seed=6).double()
    with torch.no_grad():
        z, z_there = first(x), first(reference)
        u, u_there = second(z.relu()), second(z_there.relu())
        back = (head.weight[1] / 25)[None, :, None, None] * (u.sigmoid() - u_there.sigmoid()) / (u - u_there)
        back = F.conv_transpose2d(back, second.weight, stride=2, padding=1, output_padding=1)
        back = back * (z.relu() - z_there.relu()) / (z - z_there)
        expected = F.conv_transpose2d(back, first.weight, padding=1) * (x - reference)
    torch.testing.assert_close(explain(net, x, target=1, reference=reference), expected, rtol=1e-10, atol=1e-13)


# -- RevealCancel, in loops ----------------------------------------------------------------------


def apart(weights: Vector, run: Vector) -> tuple[Vector, Vector]:
    """Δ⁺ and Δ⁻ of a linear layer's outputs."""
    contributions = [[w * d for w, d in zip(row, run, strict=True)] for row in weights]
    positive = [sum(c for c in row if c > 0) for row in contributions]
    negative = [sum(c for c in row if c < 0) for row in contributions]
    return np.array(positive), np.array(negative)


def through_linear(weights: Vector, run: Vector, of_positive: Vector, of_negative: Vector) -> Vector:
    """The linear rule: the multiplier of each input."""
    found = np.zeros(len(run))
    for j, row in enumerate(weights):
        for i, (w, d) in enumerate(zip(row, run, strict=True)):
            both = of_positive[j], of_negative[j]
            found[i] += w * (sum(both) / 2 if d == 0 or w == 0 else both[0] if w * d > 0 else both[1])
    return found


def through_relu(start: Vector, up: Vector, down: Vector, arriving: Vector) -> tuple[Vector, Vector]:
    """The RevealCancel rule: multipliers of Δ⁺ and Δ⁻. Where one is zero, which the paper leaves open, its limit."""

    def f(x: float) -> float:
        return max(x, 0.0)

    def limit(x: float, other: float) -> float:
        return 0.5 * (float(x > 0) + float(x + other > 0))

    of_up, of_down = np.zeros(len(start)), np.zeros(len(start))
    for i, (x, p, n, m) in enumerate(zip(start, up, down, arriving, strict=True)):
        risen = 0.5 * (f(x + p) - f(x)) + 0.5 * (f(x + n + p) - f(x + n))
        fallen = 0.5 * (f(x + n) - f(x)) + 0.5 * (f(x + p + n) - f(x + p))
        of_up[i] = m * (risen / p if p else limit(x, n))
        of_down[i] = m * (fallen / n if n else limit(x, p))
    return of_up, of_down


class TwoLayers(nn.Module):
    """A ReLU behind a linear layer, and one behind a sum."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.skip = nn.Linear(6, 5), nn.Linear(6, 5)
        self.head = nn.Linear(5, 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        answer: Tensor = self.head(F.relu(F.relu(self.first(x)) - self.skip(x)))
        return answer


def two_layers_in_loops(net: TwoLayers, x: Vector, reference: Vector, target: int) -> Vector:
    w, b = net.first.weight.detach().numpy(), net.first.bias.detach().numpy()
    s, c = net.skip.weight.detach().numpy(), net.skip.bias.detach().numpy()
    sums = np.hstack([np.eye(5), -np.eye(5)])
    run = x - reference
    z, z_there = w @ x + b, w @ reference + b
    hidden, hidden_there = np.maximum(z, 0), np.maximum(z_there, 0)
    both, both_there = np.concatenate([hidden, s @ x + c]), np.concatenate([hidden_there, s @ reference + c])
    up, down = apart(sums, both - both_there)
    arriving = net.head.weight.detach().numpy()[target]
    of_up, of_down = through_relu(sums @ both_there, up, down, arriving)
    back = through_linear(sums, both - both_there, of_up, of_down)
    up, down = apart(w, run)
    of_up, of_down = through_relu(z_there, up, down, back[:5])
    multipliers = through_linear(w, run, of_up, of_down) + s.T @ back[5:]
    found: Vector = multipliers * run
    return found


def test_reveal_cancel_is_what_the_papers_formulas_say() -> None:
    net = TwoLayers()
    for seed in range(5):
        x, reference = images(2, (1, 2), seed=seed).double()
        got = explain(net, x[None], target=1, rule="reveal_cancel", reference=reference[None]).flatten()
        expected = two_layers_in_loops(net, x.flatten().numpy(), reference.flatten().numpy(), 1)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-10, atol=1e-14)


def test_reveal_cancel_of_convolutions_with_batch_norm_is_that_of_the_linear_layer_they_are() -> None:
    torch.manual_seed(3)
    conv, norm, head = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4 * 16, 2)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.5
    net = nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten(), head).double().eval()
    x, reference = images(1, (4, 4)).double(), images(1, (4, 4), seed=5).double()
    with torch.no_grad():
        origin = norm(conv(torch.zeros_like(x))).flatten()
        units = torch.eye(48, dtype=torch.float64).reshape(48, 3, 4, 4)
        dense = nn.Linear(48, 64).double()
        dense.weight.copy_((norm(conv(units)).flatten(1) - origin).T)
        dense.bias.copy_(origin)
    flat = nn.Sequential(nn.Flatten(), dense, nn.ReLU(), head)
    got, expected = (explain(one, x, rule="reveal_cancel", reference=reference) for one in (net, flat))
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-13)
    assert not torch.allclose(got, explain(net, x, reference=reference))


# -- Captum --------------------------------------------------------------------------------------


def test_captum_agrees_on_a_plain_network() -> None:
    captum = pytest.importorskip("captum.attr")
    torch.manual_seed(1)
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(6 * 16, 8), nn.Tanh(), nn.Linear(8, 3)),
    ).double()
    x, reference = images(2, (12, 12)).double(), images(2, (12, 12), seed=4).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own hooks
        expected = captum.DeepLift(net).attribute(x, reference, target=2)
    torch.testing.assert_close(explain(net, x, target=2, reference=reference), expected.detach(), rtol=1e-8, atol=1e-10)
