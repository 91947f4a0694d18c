"""Integrated gradients against the definition, and what is said where the sum does not reach the integral."""

from __future__ import annotations

import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import Batch, ExplanationWarning, Tile, UsageError
from xaipipe.array_slide import ArraySlide
from xaipipe.models.model import Model
from xaipipe.running.checks import checked
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe_gradients import points
from xaipipe_gradients.integrated_gradients import IntegratedGradients

QUADRATURES = ["gauss_legendre", "trapezoid", "riemann_left", "riemann_right", "riemann_middle"]


class TestIntegratedGradients(ExplainerContract):
    method = IntegratedGradients
    params: ClassVar = {"steps": 48}
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * x


class TestIntegratedGradientsFromTheMean(ExplainerContract):
    method = IntegratedGradients
    params: ClassVar = {"steps": 48, "reference": "mean", "quadrature": "trapezoid", "budget": "2MiB"}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * (x - x.mean(dim=(2, 3), keepdim=True))


class Smooth(nn.Module):
    """Two classes, differentiable as often as one likes, not linear anywhere; the one that is predicted changes on
    the way from zero to an image.
    """

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.conv = nn.Conv2d(3, 5, 3).double()
            self.head = nn.Linear(5, 2).double()
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([1.0, 0.0]))

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(torch.tanh(self.conv(x)).square().mean(dim=(2, 3)) * 8)
        return answer


def places_and_weights(quadrature: str, steps: int) -> list[tuple[float, float]]:
    """By the textbook, one at a time."""
    if quadrature == "gauss_legendre":
        roots = np.polynomial.legendre.Legendre.basis(steps).roots()
        slope = np.polynomial.legendre.Legendre.basis(steps).deriv()
        return [((1 + z) / 2, 1 / ((1 - z**2) * slope(z) ** 2)) for z in roots]
    if quadrature == "trapezoid":
        return [(k / (steps - 1), (0.5 if k in (0, steps - 1) else 1.0) / (steps - 1)) for k in range(steps)]
    shift = {"riemann_left": 0.0, "riemann_right": 1.0, "riemann_middle": 0.5}[quadrature]
    return [((k + shift) / steps, 1 / steps) for k in range(steps)]


def defined(model: nn.Module, x: Tensor, reference: Tensor, target: int, quadrature: str, steps: int) -> Tensor:
    total = torch.zeros_like(x)
    for alpha, weight in places_and_weights(quadrature, steps):
        point = (reference + alpha * (x - reference)).requires_grad_()
        model(point)[:, target].sum().backward()
        total += weight * point.grad
    return (x - reference) * total


@pytest.mark.parametrize("quadrature", QUADRATURES)
def test_it_is_the_sum_of_the_definition(quadrature: str) -> None:
    model, x = SmallCnn().double(), images(2, (14, 12)).double()
    reference = 0.3 * images(2, (14, 12), seed=5).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplanationWarning)  # nine steps are few
        got = xaipipe.explain(
            model, x, "integrated_gradients", target=2, reference=reference, steps=9, quadrature=quadrature
        )
    want = defined(model, x, reference, 2, quadrature, 9)
    torch.testing.assert_close(got.values, want, rtol=0, atol=1e-10 * float(want.abs().max()))


def test_the_sum_is_the_scores_difference_to_the_reference() -> None:
    """Gauss-Legendre is exact to rounding where the score is smooth, and the gap that is returned is the gap."""
    model, x = Smooth(), images(3, (9, 9)).double()
    for reference in ("zeros", "mean", "blurred"):
        got = xaipipe.explain(model, x, "integrated_gradients", target=1, reference=reference, steps=24)
        facts = got.diagnostics
        difference = got.scores - torch.tensor(facts["reference_scores"], dtype=torch.float64)
        torch.testing.assert_close(got.values.sum(dim=(1, 2, 3)), difference, rtol=1e-9, atol=0)
        assert facts["steps"] == 24
        assert max(map(abs, facts["completeness_gap"])) < 1e-9


def test_the_gap_is_what_the_sum_lacks() -> None:
    model, x = Smooth(), images(2, (9, 9)).double()
    got = xaipipe.explain(model, x, "integrated_gradients", target=1, steps=6, quadrature="riemann_middle")
    lacks = got.scores - torch.tensor(got.diagnostics["reference_scores"]) - got.values.sum(dim=(1, 2, 3))
    torch.testing.assert_close(torch.tensor(got.diagnostics["completeness_gap"], dtype=torch.float64), lacks)
    assert float(lacks.abs().min()) > 1e-6


def test_a_gap_beyond_five_per_cent_is_a_warning_that_names_the_image() -> None:
    model, x = Smooth(), images(3, (9, 9)).double()
    with pytest.warns(ExplanationWarning, match="take more than 1 steps") as told:
        got = xaipipe.explain(model, x, "integrated_gradients", target=1, steps=1, quadrature="riemann_right")
    (warning,) = told
    gaps = got.diagnostics["completeness_gap"]
    worst = max(range(3), key=lambda image: abs(gaps[image]))
    assert f"image {worst}, target 1" in str(warning.message)
    assert f"a gap of {gaps[worst]:.2g}; take more" in str(warning.message)
    assert str(warning.message).endswith("(and 2 more images)")


def test_the_class_that_is_predicted_for_the_image_is_asked_all_along_the_way() -> None:
    model, x = Smooth(), images(2, (9, 9)).double()
    reference = torch.zeros_like(x)
    assert model(x).argmax(dim=1).tolist() != model(reference).argmax(dim=1).tolist()
    predicted = xaipipe.explain(model, x, "integrated_gradients", steps=16)
    for image, target in enumerate(predicted.targets):
        one = slice(image, image + 1)
        alone = xaipipe.explain(model, x[one], "integrated_gradients", target=target, steps=16)
        torch.testing.assert_close(predicted.values[one], alone.values, rtol=1e-10, atol=1e-14)


def test_the_pixels_given_to_a_class_stay_those_of_the_image() -> None:
    torch.manual_seed(1)
    segmenter = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 3, 1)).double()
    x = images(1, (8, 8)).double()
    mask = segmenter(x)[0].argmax(dim=0) == 1
    assert mask.any()
    given = xaipipe.explain(segmenter, x, "integrated_gradients", target=1, steps=16)
    masked = xaipipe.explain(segmenter, x, "integrated_gradients", target=1, within=mask, steps=16)
    torch.testing.assert_close(given.values, masked.values, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("targets", [[1], [0, 1, "predicted"]])
def test_chunks_make_no_difference_and_keep_to_the_budget(
    targets: list[int | str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = Smooth(), images(3, (64, 64)).double()
    want = xaipipe.explain(model, x, "integrated_gradients", target=targets, steps=10)
    sizes: list[int] = []
    pull_back = points.pull_back

    def watched(model: Model, pixels: Tensor, *rest: object) -> object:
        sizes.append(len(pixels))
        return pull_back(model, pixels, *rest)

    monkeypatch.setattr(points, "pull_back", watched)
    for budget, least in ((1, 1), ("32MiB", 2)):
        sizes.clear()
        got = xaipipe.explain(model, x, "integrated_gradients", target=targets, steps=10, budget=budget)
        for one, other in zip(got, want, strict=True):
            torch.testing.assert_close(one.values, other.values, rtol=1e-10, atol=1e-14)
        assert sum(sizes[1:]) == 30
        assert sizes[0] == 1, "one point is tried"
        assert least <= max(sizes) < 30
        if budget == 1:
            assert set(sizes) == {1}


def test_a_model_without_a_derivative_is_refused() -> None:
    class Cut(SmallCnn):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).detach()

    with pytest.raises(xaipipe.InputError, match="does not depend on the pixels by differentiable operators"):
        xaipipe.explain(Cut(), images(1), "integrated_gradients", target=1)


class FaintOverflows(SmallCnn):
    """NaN for what is faint, but not zero."""

    def forward(self, x: Tensor) -> Tensor:
        size = x.abs().amax(dim=(1, 2, 3))
        spoilt = (size > 0.1) & (size < 1)
        return torch.where(spoilt[:, None], torch.nan, super().forward(x))


@pytest.mark.parametrize("method", ["integrated_gradients", "counterfactual_path", "expected_gradients", "smoothgrad"])
def test_nan_on_the_way_is_reported_for_the_image(method: str) -> None:
    x = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    x[0, 0, 0, 0], x[1, 0, 0, 0] = 0.05, 2.0
    asked = {"references": torch.zeros_like(x)} if method == "expected_gradients" else {}
    if method == "smoothgrad":
        asked = {"base": {"method": "integrated_gradients", "quadrature": "riemann_left"}, "sigma": 1e-3}
    with pytest.raises(xaipipe.InputError, match=r"NaN or infinity\n  got: image 1 of a batch of 2, changed by"):
        xaipipe.explain(FaintOverflows(), x, method, target=1, **asked)


def test_nan_on_the_way_of_a_tile_names_the_tile() -> None:
    slide = ArraySlide(np.zeros((64, 64, 3), np.uint8))
    tiles = tuple(Tile(slide, 0, 0, x, 8, 8) for x in (0, 8))
    x = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 2.0)])
    batch = Batch(tiles, x, torch.ones(2, 8, 8, dtype=torch.bool))
    stage = IntegratedGradients(target=1)
    with pytest.raises(xaipipe.InputError, match="y=0 x=8"):
        checked(stage, batch, lambda batch: stage.explain(batch, Model(FaintOverflows())))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"steps": 0}, "greater than or equal to 1"),
        ({"steps": 1, "quadrature": "trapezoid"}, "steps = 2 or more for the trapezoid"),
        ({"quadrature": "riemann"}, "'riemann_middle'"),
        ({"reference": "black"}, "'zeros', 'mean', 'blurred', a colour, or from Python a tensor"),
        ({"reference": torch.zeros(3, 4, 4)}, "another shape than the images"),
        ({"reference": torch.zeros(5, 3, 32, 32)}, "another number of images"),
        ({"budget": "much"}, 'a size such as "6GiB"'),
    ],
)
def test_what_is_said_of_bad_parameters(params: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        xaipipe.explain(SmallCnn(), images(2), "integrated_gradients", target=1, **params)
