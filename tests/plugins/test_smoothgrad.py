"""SmoothGrad and its kin against the plain sums over noisy copies; and methods inside other methods' parameters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import xaipipe
from xaipipe import Batch, Model, Registry, Tile, UsageError
from xaipipe.array_slide import ArraySlide
from xaipipe.config import build_config
from xaipipe.doubts import listening
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe.testing.comparing import assert_close
from xaipipe_gradients.draws import normal
from xaipipe_gradients.moments import Moments
from xaipipe_gradients.smoothgrad import SmoothGrad
from xaipipe_gradients.smoothgrad_sq import SmoothGradSquared
from xaipipe_gradients.vargrad import VarGrad

NAMES = ["smoothgrad", "smoothgrad_sq", "vargrad"]


class TestSmoothGrad(ExplainerContract):
    method = SmoothGrad
    params: ClassVar = {"samples": 16}
    scales_with_score = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].expand_as(x)


class TestSmoothGradOfALayersMap(ExplainerContract):
    method = SmoothGrad
    params: ClassVar = {"samples": 8, "base": {"method": "gradcam"}}


class TestSmoothGradSquared(ExplainerContract):
    method = SmoothGradSquared
    params: ClassVar = {"samples": 16}

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target].square().expand_as(x)


class TestVarGrad(ExplainerContract):
    method = VarGrad
    params: ClassVar = {"samples": 32}

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return torch.zeros_like(x)


def noisy_maps(model: torch.nn.Module, x: Tensor, base: str, samples: int, sigma: float, seed: int) -> Tensor:
    """[samples, N, …], one image at a time."""
    maps = []
    for sample in range(samples):
        rng = np.random.default_rng([seed, sample])
        noise = torch.from_numpy(rng.standard_normal(tuple(x.shape[1:]), dtype=np.float32)).to(x)
        noisy = torch.stack([image + sigma * (image.max() - image.min()) * noise for image in x])
        maps.append(torch.cat([xaipipe.explain(model, one[None], base, target=1).values for one in noisy]))
    return torch.stack(maps)


@pytest.mark.parametrize("base", ["saliency", "input_x_gradient"])
def test_they_are_the_moments_of_the_maps_of_noisy_copies(base: str) -> None:
    model, x, samples = SmallCnn().double(), images(2, (12, 10)).double(), 7
    x[1] *= 5  # with a range of its own
    maps = noisy_maps(model, x, base, samples, sigma=0.2, seed=3)
    asked = {"target": 1, "base": base, "samples": samples, "sigma": 0.2, "seed": 3}
    smooth, square, variance = (xaipipe.explain(model, x, name, **asked) for name in NAMES)
    root = samples**0.5
    assert_close(smooth.values, maps.mean(dim=0), 1e-12)
    assert_close(smooth.standard_error, maps.std(dim=0) / root, 1e-9)
    assert_close(square.values, maps.square().mean(dim=0), 1e-12)
    assert_close(square.standard_error, maps.square().std(dim=0) / root, 1e-9)
    assert_close(variance.values, maps.var(dim=0), 1e-12)
    fourth = (maps - maps.mean(dim=0)).pow(4).mean(dim=0)
    of_variance = (fourth - maps.var(dim=0).square() * (samples - 3) / (samples - 1)).clamp(min=0) / samples
    assert_close(variance.standard_error, of_variance.sqrt(), 1e-9)
    torch.testing.assert_close(
        smooth.diagnostics["relative_standard_error"],
        [
            float(error.square().mean().sqrt() / values.square().mean().sqrt())
            for error, values in zip(maps.std(dim=0) / root, maps.mean(dim=0), strict=True)
        ],
    )


def test_without_noise_it_is_the_base_method() -> None:
    model, x = SmallCnn(), images(2)
    for base in ("saliency", "input_x_gradient", "gradcam"):
        plain = xaipipe.explain(model, x, base, target=2)
        smooth = xaipipe.explain(model, x, "smoothgrad", target=2, base=base, sigma=0.0, samples=2)
        assert_close(smooth.values, plain.values, 1e-6)
        assert smooth.grid == plain.grid
        assert not smooth.standard_error.any()
    assert not xaipipe.explain(model, x, "vargrad", target=2, sigma=0.0, samples=2).values.any()


def test_less_noise_comes_closer_to_the_base_method() -> None:
    model, x = SmallCnn().double(), images(1).double()
    plain = xaipipe.explain(model, x, "saliency", target=2).values
    away = [
        float((xaipipe.explain(model, x, "smoothgrad", target=2, sigma=sigma, samples=4).values - plain).norm())
        for sigma in (1e-1, 1e-3, 1e-9)
    ]
    assert away[0] > away[1] > away[2]
    assert away[2] < 1e-6 * float(plain.norm())


def test_moments_do_not_cancel() -> None:
    """The variance of numbers far from zero, where a sum of squares would hold nothing else."""
    samples = 1e8 + torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moments = Moments()
    for sample in samples:
        moments.add(sample)
    assert_close(moments.variance, samples.var(dim=0), 1e-6)
    assert_close(moments.mean, samples.mean(dim=0), 1e-15)


def test_the_target_is_the_one_predicted_for_the_clean_image() -> None:
    model, x = SmallCnn().double(), images(3).double()
    with torch.no_grad():
        model.head.bias.sub_(model(x).mean(dim=0) + torch.tensor([1.0, 0.0, 0.0]))
    predicted = xaipipe.explain(model, x, "smoothgrad", sigma=2.0, samples=8)
    noisy = x + 2.0 * 8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    changed = [one != other for one, other in zip(model(noisy).argmax(dim=1).tolist(), predicted.targets, strict=True)]
    assert all(changed), "the noise has to change the prediction"
    for image, target in enumerate(predicted.targets):
        alone = xaipipe.explain(model, x[image : image + 1], "smoothgrad", target=target, sigma=2.0, samples=8)
        assert_close(predicted.values[image : image + 1], alone.values, 1e-12)
        assert float(predicted.scores[image]) == pytest.approx(model(x)[image, target].item())


def test_tiles_have_noise_of_their_own_however_they_are_batched() -> None:
    slide = ArraySlide(np.zeros((64, 64, 3), np.uint8))
    tiles = tuple(Tile(slide, 0, y, x, 8, 8) for y in (0, 8) for x in (0, 8))
    x = images(1, (8, 8)).expand(4, -1, -1, -1)
    batch = Batch(tiles, x, torch.ones(4, 8, 8, dtype=torch.bool))
    explainer, model = SmoothGrad(samples=4, target=1), Model(SmallCnn())
    together = explainer.explain(batch, model).values
    assert len({tuple(one.flatten().tolist()) for one in together}) == 4, "the same image, other noise"
    turned = Batch(tiles[::-1], x, batch.valid)
    assert_close(explainer.explain(turned, model).values.flip(0), together, 1e-6)
    alone = replace(batch, tiles=tiles[2:3], pixels=x[2:3], valid=batch.valid[2:3])
    assert_close(explainer.explain(alone, model).values, together[2:3], 1e-6)


def test_doubts_of_noisy_copies_are_of_the_target_that_they_are_about() -> None:
    class Chooses(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.last = torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.layer(x).relu()
            return torch.cat([self.last(x.mean((2, 3))), (x * (x > 0.4)).sum((1, 2, 3))[:, None]], dim=1)

    net, x = Chooses().double(), images(2, (8, 8)).double()
    with listening() as heard:
        xaipipe.explain(net, x, "smoothgrad", target=[0, 1], base="deeplift", samples=4)
    assert [doubt.targets for doubt in heard.doubts] == [(1, 1)]
    with listening() as heard:
        xaipipe.explain(net, x, "smoothgrad", target=0, base="deeplift", samples=4)
    assert not heard.doubts


def test_noise_is_drawn_on_the_cpu_whatever_the_model_computes_in() -> None:
    batch = Batch((), images(2).double(), torch.ones(2, 32, 32, dtype=torch.bool))
    noise = normal(batch, 1, seed=4, sample=2, shape=(3, 32, 32))
    assert (noise.dtype, noise.device.type) == (torch.float32, "cpu")
    assert noise.equal(normal(replace(batch, pixels=batch.pixels.bfloat16()), 0, 4, 2, (3, 32, 32)))
    assert not noise.equal(normal(batch, 1, seed=4, sample=3, shape=(3, 32, 32)))
    assert not noise.equal(normal(batch, 1, seed=5, sample=2, shape=(3, 32, 32)))


def test_a_budget_makes_chunks_and_no_difference() -> None:
    model, x = SmallCnn().double(), images(2).double()
    want = xaipipe.explain(model, x, "smoothgrad", target=[1, 2], samples=9)
    got = xaipipe.explain(model, x, "smoothgrad", target=[1, 2], samples=9, budget=1)
    for one, other in zip(got, want, strict=True):
        assert_close(one.values, other.values, 1e-12)


def test_the_method_inside_has_parameters_of_its_own() -> None:
    model, x = SmallCnn(), images(2)
    plain = xaipipe.explain(model, x, "saliency", target=1, magnitude=True)
    inside = {"method": "saliency", "magnitude": True}
    smooth = xaipipe.explain(model, x, "smoothgrad", target=1, base=inside, sigma=0.0, samples=2)
    assert_close(smooth.values, plain.values, 1e-6)


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("salience", r"there is no explain method 'salience'.*did you mean 'saliency'"),
        ("smooth", "'smooth' is a postprocess method"),
        ({"magnitude": True}, 'a table: { method = "NAME"'),
        ({"method": "saliency", "magnitud": True}, "unknown parameter 'magnitud'.*did you mean 'magnitude'"),
        ({"method": "saliency", "target": 3}, "target, which is that of the method around it"),
        ({"method": "integrated_gradients", "steps": 0}, "parameter 'steps' has a value.*greater than or equal to 1"),
        ({"method": "integrated_gradients", "reference": torch.zeros(2, 3, 8, 8)}, "the same for all images"),
        (7, "the name of an explain method"),
    ],
)
def test_what_is_said_of_a_wrong_base(base: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        xaipipe.explain(SmallCnn(), images(1), "smoothgrad", base=base)


def test_a_file_says_it_as_a_table_and_a_run_refuses_tensors_inside(registry: Registry) -> None:
    table = {"method": "smoothgrad", "base": {"method": "integrated_gradients", "reference": "mean"}}
    config = build_config({"explain": table}, registry)
    assert repr(config.explainer.params.base).startswith("{'method': 'integrated_gradients', 'budget': 1073741824, ")
    table["base"]["reference"] = torch.zeros(3, 8, 8)
    with pytest.raises(UsageError, match=r"\[explain\] base.reference = a tensor \(3, 8, 8\)"):
        build_config({"explain": table}, registry)


def test_a_method_from_a_file_can_be_the_base(tmp_path: Path) -> None:
    (tmp_path / "doubled.py").write_text(
        "from xaipipe import hookimpl\nfrom xaipipe_gradients.saliency import Saliency\n"
        "class Doubled(Saliency):\n    name = 'doubled'\n    def summed(self, values):\n        return 2 * values\n"
        "@hookimpl\ndef xaipipe_methods():\n    return [Doubled]\n"
    )
    own = Registry(files=[tmp_path / "doubled.py"])
    built = build_config({"explain": {"method": "smoothgrad", "base": "doubled", "sigma": 0.0}}, own).explainer
    x = images(1)
    batch = Batch((), x, torch.ones(1, 32, 32, dtype=torch.bool))
    twice = built.asking(xaipipe.Question(1)).explain(batch, Model(SmallCnn())).values
    assert_close(twice, 2 * xaipipe.explain(SmallCnn(), x, "saliency", target=1).values, 1e-6)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"samples": 1}, "greater than or equal to 2"),
        ({"sigma": -0.1}, "greater than or equal to 0"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_what_is_said_of_bad_parameters(params: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        xaipipe.explain(SmallCnn(), images(1), "smoothgrad", **params)
