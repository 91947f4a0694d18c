"""Explanation vectors: the gradient of each surrogate by finite differences, and black boxes of every kind."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from xaipipe import ExplanationWarning, UsageError
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe.testing.comparing import assert_close
from xaipipe_gradients.explanation_vectors import ExplanationVectors


class TestExplanationVectors(ExplainerContract):
    method = ExplanationVectors
    params: ClassVar = {"samples": 24, "labels": "scores"}
    scales_with_score = True
    tolerance = 1e-4
    """Differences of scores are labels: what float32 rounds off the scores is more of their differences."""


class TestExplanationVectorsOfTheVariance(ExplainerContract):
    method = ExplanationVectors
    params: ClassVar = {"samples": 24, "of": "variance"}


class Argmax(nn.Module):
    """A model that has nothing but an opinion."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return F.one_hot(self.inner(x).argmax(dim=1), 3).double()


def undecided(x: Tensor) -> SmallCnn:
    """A model for which the classes 0 and 1 are equally likely at x."""
    model = SmallCnn().double()
    with torch.no_grad():
        model.head.bias.sub_(model(x)[0] + torch.tensor([0.0, 0.0, 10.0]))
    return model


def samples_near(x: Tensor, count: int, sigma: float, cells: int) -> Tensor:
    """As displacements [S, C, H, W]."""
    drawn = []
    for sample in range(count):
        noise = np.random.default_rng([0, sample]).standard_normal((x.shape[1], cells, cells), dtype=np.float32)
        drawn.append(torch.from_numpy(noise).double())
    enlarged = F.interpolate(torch.stack(drawn), size=x.shape[2:], mode="bilinear", align_corners=False)
    return sigma * (x.max() - x.min()) * enlarged


def surrogate(kind: str, moved: Tensor, near: Tensor, labels: Tensor, length: Tensor, noise: float) -> Tensor:
    """What each surrogate says of the displacement `moved`, by its formula."""
    points = near.flatten(1)
    k = torch.exp(-(points - moved.flatten()).square().sum(dim=1) / (2 * length**2))
    if kind == "parzen":
        return (k * labels).sum() / k.sum()
    covariance = torch.exp(-torch.cdist(points, points).square() / (2 * length**2))
    inverse = torch.linalg.inv(covariance + noise**2 * torch.eye(len(points), dtype=torch.float64))
    if kind == "variance":
        return 1 - k @ inverse @ k
    return labels.mean() + k @ inverse @ (labels - labels.mean())


@pytest.mark.parametrize("labels", ["decisions", "scores"])
@pytest.mark.parametrize("kind", ["gaussian_process", "parzen", "variance"])
def test_it_is_the_finite_difference_of_the_surrogate(kind: str, labels: str) -> None:
    x = images(1, (9, 8)).double()
    model, count, sigma, noise = undecided(x), 20, 0.3, 0.2
    near = samples_near(x, count, sigma, cells=4)
    with torch.no_grad():
        answers = model(x + near)
    said = answers[:, 1] if labels == "scores" else (answers.argmax(dim=1) == 1).double()
    assert labels == "scores" or 0 < float(said.mean()) < 1
    length = 0.8 * near.flatten(1).square().sum(dim=1).mean().sqrt()
    chosen = {"of": "variance"} if kind == "variance" else {"surrogate": kind}
    got = xaipipe.explain(
        model,
        x,
        "explanation_vectors",
        target=1,
        labels=labels,
        samples=count,
        sigma=sigma,
        cells=4,
        length=0.8,
        noise=noise,
        **chosen,
    )

    def at(moved: Tensor) -> Tensor:
        return surrogate(kind, moved, near, said, length, noise)

    step = 1e-4
    for place in [(0, 0, 0), (1, 4, 3), (2, 8, 7), (0, 5, 6), (2, 2, 2)]:
        rise = torch.zeros(3, 9, 8, dtype=torch.float64)
        rise[place] = step
        want = float(at(rise) - at(-rise)) / (2 * step)
        assert float(got.values[0][place]) == pytest.approx(want, rel=1e-6, abs=1e-9)
    assert got.diagnostics["surrogate"] == pytest.approx([float(at(torch.zeros(3, 9, 8, dtype=torch.float64)))])


def test_an_argmax_is_explained_as_the_model_behind_it() -> None:
    x = images(1, (12, 12)).double()
    model = undecided(x)
    asked = {"target": 1, "samples": 40, "sigma": 0.3}
    behind, opinion = (xaipipe.explain(m, x, "explanation_vectors", **asked) for m in (model, Argmax(model)))
    assert_close(opinion.values, behind.values, 1e-12)
    assert opinion.values.abs().max() > 0
    assert 0 < opinion.diagnostics["target_share"][0] < 1


def test_it_points_where_a_linear_decision_changes() -> None:
    """Of a linear classifier the direction is that of the weights, as far as the noise's cells can tell."""

    class Halves(nn.Module):
        """Whether the left half is brighter than the right."""

        def forward(self, x: Tensor) -> Tensor:
            left, right = x[..., :8].mean(dim=(1, 2, 3)), x[..., 8:].mean(dim=(1, 2, 3))
            return torch.stack([right, left], dim=1)

    x = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    x[..., 0, 0], x[..., 0, -1] = 1.0, 1.0
    weights = torch.ones(16, 16, dtype=torch.float64)
    weights[:, 8:] = -1
    for surrogate_name in ("gaussian_process", "parzen"):
        got = xaipipe.explain(
            Halves(), x, "explanation_vectors", target=1, samples=600, sigma=0.2, cells=4, surrogate=surrogate_name
        )
        cosine = F.cosine_similarity(got.values.flatten(), weights.flatten(), dim=0)
        assert float(cosine) > 0.85, surrogate_name


def test_the_same_answer_everywhere_is_a_warning_and_a_map_of_zeros() -> None:
    x = images(2).double()
    model = SmallCnn().double()
    with torch.no_grad():
        model.head.bias[1] += 1000
    with pytest.warns(ExplanationWarning, match="of all samples near image 0, target 1, .* a sigma larger than 0.3"):
        got = xaipipe.explain(model, x, "explanation_vectors", target=1, samples=4, sigma=0.3)
    assert not got.values.any()
    assert got.diagnostics["target_share"] == [1.0, 1.0]


@pytest.mark.parametrize("surrogate", ["gaussian_process", "parzen"])
def test_an_image_of_one_colour_has_nothing_nearby(surrogate: str) -> None:
    x = images(2).double()
    x[1] = 0.7
    with pytest.warns(ExplanationWarning, match="all pixels of image 1 are the same"):
        got = xaipipe.explain(
            SmallCnn().double(), x, "explanation_vectors", labels="scores", samples=8, surrogate=surrogate
        )
    assert not got.values[1].any()
    assert got.values[0].any()


def test_another_answer_everywhere_asks_for_less_noise() -> None:
    class Exactly(nn.Module):
        """Class 1 for one image only."""

        def forward(self, x: Tensor) -> Tensor:
            return F.one_hot((x == images(1).double()).flatten(1).all(dim=1).long(), 2).double()

    with pytest.warns(ExplanationWarning, match="a sigma smaller than 0.05"):
        xaipipe.explain(Exactly(), images(1).double(), "explanation_vectors", samples=4)


def test_a_single_output_decides_by_its_sign() -> None:
    class Bright(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean(dim=(1, 2, 3)) - 0.5

    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    got = xaipipe.explain(Bright(), x - x.mean() + 0.5, "explanation_vectors", target=0, samples=60, cells=2)
    assert 0.2 < got.diagnostics["target_share"][0] < 0.8
    assert (got.values.mean(dim=(2, 3)) > 0).all(), "brighter is likelier"


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"of": "variance", "surrogate": "parzen"}, "surrogate = 'gaussian_process', which has a variance"),
        ({"samples": 1}, "greater than or equal to 2"),
        ({"sigma": 0.0}, "greater than 0"),
        ({"noise": 0.0}, "greater than 0"),
        ({"labels": "hard"}, "'decisions'"),
    ],
)
def test_what_is_said_of_bad_parameters(params: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        xaipipe.explain(SmallCnn(), images(1), "explanation_vectors", target=1, **params)
