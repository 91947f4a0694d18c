"""Expected gradients: the plain sum over what was drawn, and the difference to the mean reference within its error."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import ExplanationWarning, UsageError
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe.testing.comparing import assert_close
from xaipipe_gradients.expected_gradients import ExpectedGradients


class TestExpectedGradients(ExplainerContract):
    method = ExpectedGradients
    params: ClassVar = {"samples": 16}
    scales_with_score = True


def test_it_is_the_mean_over_what_was_drawn() -> None:
    model, x, references, samples = SmallCnn().double(), images(2).double(), images(5, seed=9).double(), 6
    got = xaipipe.explain(
        model, x, "expected_gradients", target=1, references=references, samples=samples, seed=7, budget=1
    )
    drawn = []
    for sample in range(samples):
        rng = np.random.default_rng([7, sample])
        alpha, reference = rng.random(), references[rng.integers(5)]
        point = (reference + alpha * (x - reference)).requires_grad_()
        (gradient,) = torch.autograd.grad(model(point)[:, 1].sum(), point)
        drawn.append((x - reference) * gradient)
    maps = torch.stack(drawn)
    assert_close(got.values, maps.mean(dim=0), 1e-12)
    assert_close(got.standard_error, maps.std(dim=0) / samples**0.5, 1e-9)
    sums = maps.sum(dim=(2, 3, 4))
    torch.testing.assert_close(got.diagnostics["sum_standard_error"], (sums.std(dim=0) / samples**0.5).tolist())


def test_the_sum_is_the_difference_to_the_mean_reference_within_its_standard_error() -> None:
    model, x, references = SmallCnn().double(), images(3).double(), 0.5 * images(6, seed=9).double()
    got = xaipipe.explain(model, x, "expected_gradients", target=1, references=references, samples=400)
    with torch.no_grad():
        difference = got.scores - model(references)[:, 1].mean()
    errors = torch.tensor(got.diagnostics["sum_standard_error"], dtype=torch.float64)
    assert ((got.values.sum(dim=(1, 2, 3)) - difference).abs() < 3 * errors).all()
    assert (errors < 0.1 * difference.abs()).all(), "or the test says nothing"
    gaps = torch.tensor(got.diagnostics["completeness_gap"], dtype=torch.float64)
    assert (gaps.abs() < 3 * torch.tensor(got.diagnostics["gap_standard_error"], dtype=torch.float64)).all()


def test_of_one_reference_it_comes_to_integrated_gradients() -> None:
    model, x = SmallCnn().double(), images(1).double()
    reference = 0.5 * images(1, seed=9).double()
    want = xaipipe.explain(model, x, "integrated_gradients", target=1, reference=reference, steps=300).values
    got = xaipipe.explain(model, x, "expected_gradients", target=1, references=reference, samples=300)
    away = (got.values - want).abs() / got.standard_error
    assert float((away < 2).double().mean()) > 0.9
    assert float((away > 0.5).double().mean()) > 0.3, "the standard error is not an exaggeration"


def test_noise_has_the_mean_and_the_spread_of_each_channel() -> None:
    """Of a linear score, (x − x')·w is the value: its mean and its deviation tell those of the references."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2, bias=False)).double()
    x = (
        images(1, (4, 4)).double() * torch.tensor([1.0, 3.0, 0.2])[:, None, None]
        + torch.tensor([0.0, 7.0, -2.0])[:, None, None]
    )
    got = xaipipe.explain(model, x, "expected_gradients", target=1, samples=4000)
    weight = model[1].weight[1].detach().reshape(3, 4, 4)
    references = x[0] - got.values[0] / weight
    spreads = got.standard_error[0] * 4000**0.5 / weight.abs()
    spread, mean = torch.std_mean(x[0], dim=(1, 2), correction=0, keepdim=True)
    torch.testing.assert_close((references - mean) / spread, torch.zeros_like(references), rtol=0, atol=0.07)
    torch.testing.assert_close(spreads / spread, torch.ones_like(spreads), rtol=0, atol=0.06)


def test_few_samples_know_little_of_their_own_error() -> None:
    """The mean of three is more than 4 of the standard errors that they show off now and then, by mere chance."""
    model, x = SmallCnn().double(), images(40).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ExplanationWarning)
        got = xaipipe.explain(model, x, "expected_gradients", target=1, samples=3)
    gaps, errors = (torch.tensor(got.diagnostics[name]) for name in ("completeness_gap", "gap_standard_error"))
    assert bool((gaps.abs() > 4 * errors).any()), "or the test says nothing"


def test_a_gap_that_is_no_chance_is_a_warning() -> None:
    class Jump(nn.Module):
        """Its score jumps where no gradient tells."""

        def forward(self, x: Tensor) -> Tensor:
            mean = x.mean(dim=(1, 2, 3))
            return torch.stack([mean, mean + 5 * (mean > 0.5)], dim=1)

    x = torch.ones(2, 3, 4, 4, dtype=torch.float64)
    with pytest.warns(ExplanationWarning, match="image 0, target 1, lacks 5 of the score's difference"):
        xaipipe.explain(Jump(), x, "expected_gradients", target=1, references=torch.zeros_like(x), samples=8)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"samples": 1}, "greater than or equal to 2"),
        ({"references": "batch"}, "'noise'"),
        ({"references": torch.zeros(3, 32, 32)}, r"\[R, C, H, W\]"),
        ({"references": torch.full((2, 3, 32, 32), torch.inf)}, "NaN or infinity"),
        ({"references": torch.zeros(2, 3, 16, 32)}, "another shape than the images"),
    ],
)
def test_what_is_said_of_bad_parameters(params: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        xaipipe.explain(SmallCnn(), images(2), "expected_gradients", target=1, **params)


def test_a_model_without_a_derivative_is_refused() -> None:
    class Cut(SmallCnn):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(xaipipe.InputError, match="does not depend on the pixels by differentiable operators"):
        xaipipe.explain(Cut(), images(1), "expected_gradients", target=1)
