"""Gradients along αx: each is the gradient there, and the curve is that of the scores."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import UsageError
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe.testing.comparing import assert_close
from xaipipe_gradients.counterfactual_path import CounterfactualPath


class TestCounterfactualPath(ExplainerContract):
    method = CounterfactualPath
    params: ClassVar = {"steps": 6}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].expand_as(x)


class TestCounterfactualPathWhereItIsSteepest(ExplainerContract):
    method = CounterfactualPath
    params: ClassVar = {"steps": 6, "alpha": "steepest"}
    scales_with_score = True


class Saturating(nn.Module):
    """tanh of a sum: steepest at zero but for a shift, flat at the image."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(dim=(1, 2, 3))
        return torch.stack([total, torch.tanh(total - 2)], dim=1)


def explained(model: nn.Module, x: Tensor, **params: object) -> xaipipe.Explanation:
    return xaipipe.explain(model, x, "counterfactual_path", target=1, **params)


def test_at_one_it_is_the_plain_gradient() -> None:
    model, x = SmallCnn().double(), images(2).double()
    assert_close(explained(model, x, alpha=1.0).values, xaipipe.explain(model, x, "saliency", target=1).values, 1e-12)


@pytest.mark.parametrize("alpha", [0.25, 0.3])
def test_inside_it_is_the_gradient_there(alpha: float) -> None:
    model, x = SmallCnn().double(), images(2).double()
    want = xaipipe.explain(model, alpha * x, "saliency", target=1).values
    got = explained(model, x, alpha=alpha, steps=4)
    assert_close(got.values, want, 1e-12)
    assert got.diagnostics["alpha"] == alpha
    assert len(got.diagnostics["path_scores"][0]) == 5, "the curve is that of the steps"


def test_the_curve_holds_scores_and_norms_of_gradients() -> None:
    model, x = SmallCnn().double(), images(2).double()
    facts = explained(model, x, steps=4).diagnostics
    assert facts["alphas"] == (0.0, 0.25, 0.5, 0.75, 1.0)
    for step, alpha in enumerate(facts["alphas"]):
        there = xaipipe.explain(model, alpha * x, "saliency", target=1)
        norms = there.values.flatten(1).norm(dim=1)
        torch.testing.assert_close([own[step] for own in facts["path_scores"]], there.scores.tolist())
        torch.testing.assert_close([own[step] for own in facts["gradient_norms"]], norms.tolist())


def test_the_mean_times_the_image_is_integrated_gradients() -> None:
    model, x = SmallCnn().double(), images(2).double()
    asked = {"target": 1, "steps": 31, "quadrature": "trapezoid"}
    want = xaipipe.explain(model, x, "integrated_gradients", **asked).values
    assert_close(explained(model, x, steps=30).values * x, want, 1e-12)


def test_where_it_is_steepest_differs_from_image_to_image() -> None:
    x = torch.ones(2, 3, 4, 4, dtype=torch.float64)
    x[0] *= 8 / 48
    x[1] *= 4 / 48
    got = explained(Saturating(), x, alpha="steepest", steps=8, budget=1)
    assert got.diagnostics["alpha"] == [0.25, 0.5]
    assert_close(got.values, torch.ones_like(x), 1e-12)  # the slope of tanh at zero
    assert float(explained(Saturating(), x, alpha=1.0).values[0].max()) < 1e-4, "saturated at the image"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"alpha": 0.0}, "a number above 0, 1 at most, or 'mean'"),
        ({"alpha": 1.5}, "a number above 0, 1 at most, or 'mean'"),
        ({"alpha": "steep"}, "a number above 0, 1 at most, or 'mean'"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_what_is_said_of_bad_parameters(params: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        explained(SmallCnn(), images(1), **params)
