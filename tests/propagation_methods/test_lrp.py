"""The contract for every composite, and the exact answers of LRP on a linear model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import xaipipe
from tests.propagation_methods.networks import seeded
from xaipipe import ExplanationWarning, InputError, UsageError
from xaipipe.propagation.unknown import UnknownOperatorError
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe_propagation.lrp import Lrp
from xaipipe_propagation.named import COMPOSITES


class TestLrpZero(ExplainerContract):
    """LRP-0 of a linear model is input times weight."""

    method = Lrp
    params: ClassVar = {"composite": "zero"}
    conserves = True
    scales_with_score = True
    tolerance = 1e-4

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * x


class TestLrpEpsilon(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon"}
    scales_with_score = True
    tolerance = 1e-3


class TestLrpEpsilonPlus(ExplainerContract):
    method = Lrp
    scales_with_score = True


class TestLrpEpsilonPlusFlat(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon_plus_flat"}
    scales_with_score = True


class TestLrpAlpha2Beta1(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon_alpha2_beta1"}
    scales_with_score = True


class TestLrpAlpha2Beta1Flat(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon_alpha2_beta1_flat"}
    scales_with_score = True


class TestLrpGammaBox(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon_gamma_box", "low": [-6.0], "high": [6.0]}
    scales_with_score = True


class TestLrpExcitationBackprop(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "excitation_backprop"}
    scales_with_score = True


class TestLrpEpsilonGamma(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": "epsilon_gamma"}
    scales_with_score = True


class TestLrpOfOnesOwn(ExplainerContract):
    method = Lrp
    params: ClassVar = {"composite": {"last": "zero", "first": {"rule": "gamma", "gamma": 0.5}, "norm": "pass"}}
    scales_with_score = True


def test_every_composite_has_its_contract() -> None:
    classes = [value for name, value in globals().items() if name.startswith("TestLrp")]
    tried = [one.params.get("composite", "epsilon_plus") for one in classes]
    assert {one for one in tried if isinstance(one, str)} == set(COMPOSITES)


def close(got: Tensor, want: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((got.double() - want.double()).abs().max() / want.double().abs().max())


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_plus_flat", "epsilon_gamma_box", "excitation_backprop"])
def test_float32_is_close_to_float64(composite: str) -> None:
    """Where all contributions that are divided by are of one sign, or nearly so. Pure epsilon is ill-conditioned."""
    x = images(4)
    single = xaipipe.explain(SmallCnn(), x, "lrp", target=1, composite=composite)
    double = xaipipe.explain(SmallCnn().double(), x.double(), "lrp", target=1, composite=composite)
    assert close(single.values, double.values) < 1e-5


@pytest.mark.parametrize("composite", sorted(COMPOSITES))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_finite_and_roughly_right(composite: str, dtype: torch.dtype) -> None:
    x = images(2)
    half = xaipipe.explain(SmallCnn().to(dtype), x.to(dtype), "lrp", target=1, composite=composite)
    assert half.values.dtype == dtype
    assert half.values.isfinite().all()
    double = xaipipe.explain(SmallCnn().double(), x.double(), "lrp", target=1, composite=composite)
    if composite not in ("zero", "epsilon"):
        assert float(torch.corrcoef(torch.stack([half.values.double().flatten(), double.values.flatten()]))[0, 1]) > 0.9


def test_under_autocast() -> None:
    x = images(2)
    with torch.autocast("cpu", torch.bfloat16):
        lower = xaipipe.explain(SmallCnn(), x, "lrp", target=1)
    plain = xaipipe.explain(SmallCnn(), x, "lrp", target=1)
    assert lower.values.isfinite().all()
    assert close(lower.values, plain.values) < 0.2
    assert not lower.values.equal(plain.values)


class Answers(nn.Module):
    """A network that says more than one thing, or says it without a gradient."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = SmallCnn(), how

    def forward(self, x: Tensor) -> Any:
        answer = self.net(x)
        return {"tuple": (answer, x), "detached": answer.detach(), "dict": {"logits": answer}}[self.how]


def test_tuples_and_dicts_need_a_name() -> None:
    want = xaipipe.explain(SmallCnn(), images(1), "lrp", target=1).values
    for how, output in (("tuple", 0), ("dict", "logits")):
        assert xaipipe.explain(Answers(how), images(1), "lrp", target=1, output=output).values.equal(want)
    with pytest.raises(UsageError, match="the model returns several outputs"):
        xaipipe.explain(Answers("tuple"), images(1), "lrp", target=1)


def test_detached_outputs_are_refused() -> None:
    with pytest.raises(InputError, match="does not depend on the pixels by differentiable operators"):
        xaipipe.explain(Answers("detached"), images(1), "lrp", target=1)


def test_nan_in_the_weights_is_reported() -> None:
    net = SmallCnn()
    with torch.no_grad():
        net.block.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        xaipipe.explain(net, images(1), "lrp", target=1)


def test_nan_that_does_not_reach_the_score_is_reported_too() -> None:
    """A channel that the network multiplies away."""

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bad, self.net = nn.Conv2d(3, 3, 1), SmallCnn()
            nn.init.constant_(self.bad.weight, float("nan"))

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.net(torch.where(x > -100, x, self.bad(x)))
            return answer

    with pytest.raises(xaipipe.XaipipeError, match="NaN"):
        xaipipe.explain(Hidden(), images(1), "lrp", target=1)


@pytest.mark.parametrize("x", [torch.zeros(1, 3, 32, 32, dtype=torch.int32), torch.full((1, 3, 32, 32), torch.nan)])
def test_inputs_that_are_no_pixels_are_refused(x: Tensor) -> None:
    with pytest.raises(InputError):
        xaipipe.explain(SmallCnn(), x, "lrp", target=1)


class Dynamic(nn.Module):
    """A convolution whose kernel is made of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(3, 27)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.make(x.mean((0, 2, 3))).reshape(3, 1, 3, 3)
        return F.conv2d(x, kernel, groups=3).mean((2, 3))


def test_weights_that_depend_on_the_input_are_refused() -> None:
    with pytest.raises(UnknownOperatorError, match=r"conv2d, 2 operands that depend on the input"):
        xaipipe.explain(seeded(Dynamic), images(1).double(), "lrp", target=1)


def test_a_setting_that_no_rule_takes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"none of the composite's rules takes gamma[\s\S]*leave out gamma"):
        xaipipe.explain(SmallCnn(), images(1), "lrp", gamma=0.5)


def test_settings_make_a_difference() -> None:
    x = images(1)
    for composite, name, values in (
        ("epsilon_gamma_box", "gamma", (0.1, 1.0)),
        ("epsilon_alpha2_beta1", "alpha", (1.5, 3.0)),
        ("epsilon", "epsilon", (1e-3, 1e-1)),
        ("epsilon_gamma_box", "low", ([-9.0], [-7.0])),
    ):
        more = {"high": [9.0]} if name == "low" else {}
        maps = [
            xaipipe.explain(SmallCnn(), x, "lrp", target=1, composite=composite, **{name: value}, **more).values
            for value in values
        ]
        assert close(maps[0], maps[1]) > 1e-3


def test_bounds_of_z_box_come_from_the_preprocessing() -> None:
    """No pixel can be darker than black or brighter than white."""
    net, x = SmallCnn().double(), images(1).double().clamp(-0.7, 1.7)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    model = xaipipe.Model(net, preprocess=xaipipe.Preprocess(size=32, mean=mean, std=std))
    low, high = ([(end - m) / s for m, s in zip(mean, std, strict=True)] for end in (0, 1))
    given = xaipipe.explain(net, x, "lrp", target=1, composite="epsilon_gamma_box", low=low, high=high)
    assert xaipipe.explain(model, x, "lrp", target=1, composite="epsilon_gamma_box").values.equal(given.values)


def test_pixels_beyond_the_bounds_of_z_box_are_doubted(recwarn: pytest.WarningsRecorder) -> None:
    x = torch.full((2, 3, 8, 8), 0.5)
    x[1, 2, 4, 4] = 1.25
    params = {"composite": "epsilon_gamma_box", "low": [0.0], "high": [1.0]}
    xaipipe.explain(SmallCnn(), x[:1], "lrp", target=1, **params)
    xaipipe.explain(SmallCnn(), x.clamp(max=1.005), "lrp", target=1, **params)
    assert not recwarn.list, "a rounding is no doubt"
    message = r"pixels of image 1 are not between[\s\S]*from 0.5 to 1.25 in channel 2[\s\S]*from 0 to 1"
    with pytest.warns(ExplanationWarning, match=message):
        xaipipe.explain(SmallCnn(), x, "lrp", target=1, **params)


def test_pixels_beyond_the_bounds_of_noisy_copies_are_doubted_once() -> None:
    x = torch.rand(2, 3, 8, 8)
    base = {"method": "lrp", "composite": "epsilon_gamma_box", "low": [0.0], "high": [1.0]}
    with pytest.warns(ExplanationWarning, match="of a noisy copy of image [01]: z_box: pixels of") as found:
        xaipipe.explain(SmallCnn(), x, "smoothgrad", target=1, base=base, samples=8, sigma=0.5)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"low": [-1.0]}, "z_box needs both bounds"),
        ({"high": [1.0]}, "z_box needs both bounds"),
        ({"low": [1.0], "high": [-1.0]}, "low lies above high"),
        ({"low": [0.0, 0.0, 2.0], "high": [1.0]}, "low lies above high"),
        ({"low": [0.0, 0.0], "high": [1.0]}, r"low does not fit the channels[\s\S]*1 or 3 values"),
        ({"low": [0.0], "high": []}, "high does not fit the channels"),
    ],
)
def test_bounds_that_are_none_are_refused(bounds: dict[str, list[float]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        xaipipe.explain(SmallCnn(), images(1), "lrp", composite="epsilon_gamma_box", **bounds)


def test_an_exact_run_refuses_the_relevance_of_a_layer(tiny: nn.Module, slide_file: Path, tmp_path: Path) -> None:
    tables = {
        "explain": {"method": "lrp", "target": 1, "layer": "2"},
        "load": {"tile": 64},
        "run": {"mode": "exact"},
        "store": {"shard": 64},
    }
    model = xaipipe.Model(tiny, preprocess=xaipipe.Preprocess(size=32, mean=(0, 0, 0), std=(1, 1, 1)))
    with pytest.raises(UsageError, match=r"an exact run of 'lrp' gives the relevance of pixels[\s\S]*layer = '2'"):
        xaipipe.Pipeline(tables, model=model).run(slide_file, tmp_path / "out.zarr")
