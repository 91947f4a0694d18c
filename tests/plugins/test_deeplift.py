"""DeepLIFT: the contract, and Σ contributions = f(x) − f(x') whatever the model is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe.errors import ExplanationWarning, InputError, UsageError
from xaipipe.testing import ExplainerContract, SmallCnn, images
from xaipipe_propagation.deeplift import DeepLift

RULES = ("rescale", "reveal_cancel")


class TestDeepLift(ExplainerContract):
    method = DeepLift
    scales_with_score = True
    conserves = True

    def expected_on_linear(self, weight: Tensor, x: Tensor, target: int) -> Tensor:
        return weight[target] * x


class TestRevealCancel(ExplainerContract):
    method = DeepLift
    params: ClassVar = {"rule": "reveal_cancel", "reference": "blurred"}
    scales_with_score = True


def explain(net: nn.Module, x: Tensor, **params: Any) -> xaipipe.Explanation:
    return xaipipe.explain(net, x, method="deeplift", **{"target": 1, **params})


class Around(nn.Module):
    """A convolution, any function of its maps, and a head."""

    def __init__(self, function: Callable[[Tensor], Tensor], size: tuple[int, int] = (8, 8)) -> None:
        super().__init__()
        self.function = function
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.maps = nn.Conv2d(3, 8, 3, padding=1).double()
            answers = function(self.maps(torch.randn(2, 3, *size, dtype=torch.float64))).flatten(1).shape[1]
            self.head = nn.Linear(answers, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.function(self.maps(x)).flatten(1))
        return answer


def halves(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :4], x[:, 4:]


def tokens(x: Tensor) -> Tensor:
    """Images second, as in sequences."""
    return F.gelu(F.layer_norm(x.flatten(2).permute(2, 0, 1), (8,))).mean(0)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": lambda x: F.relu6(8 * x),
    "leaky_relu": lambda x: F.leaky_relu_(x, 0.2),
    "hardswish": lambda x: F.hardswish(4 * x),
    "gelu": F.gelu,
    "silu in place": lambda x: x.mul_(x.sigmoid()),
    "elu": F.elu,
    "tanh": torch.tanh,
    "square": torch.square,
    "root": lambda x: x.abs().sqrt(),
    "log": lambda x: (x * x + 1e-3).log(),
    "power": lambda x: (x.abs() + 0.1) ** 1.7,
    "a constant divided": lambda x: 1 / (x.square() + 0.1),
    "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "overlapping windows": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "with places": lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 3),
    "amax": lambda x: x.amax((2, 3)),
    "amin": lambda x: x.amin(2),
    "max of a dimension": lambda x: x.max(dim=1)[0],
    "maximum": lambda x: torch.maximum(*halves(x)),
    "minimum": lambda x: torch.min(*halves(x)),
    "softmax": lambda x: x.softmax(1),
    "softmax, saturated": lambda x: (3000 * x).softmax(-1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
    "squeeze and excitation": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "glu": lambda x: F.glu(x, 1),
    "product": lambda x: torch.mul(*halves(x)),
    "quotient": lambda x: halves(x)[0] / (halves(x)[1].square() + 0.1),
    "attention": lambda x: F.scaled_dot_product_attention(*(x.flatten(2).transpose(1, 2),) * 3),
    "einsum": lambda x: torch.einsum("nchw,ndhw->ncd", x, x),
    "layer_norm": lambda x: F.layer_norm(x, (8, 8)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": F.instance_norm,
    "rms_norm": lambda x: F.rms_norm(x, (8,)),
    "normalize": F.normalize,
    "local_response_norm": lambda x: F.local_response_norm(x, 3, alpha=1.0),
    "a norm by hand": lambda x: (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-5).sqrt(),
    "standard deviation": lambda x: x / (x.std((2, 3), keepdim=True) + 0.1),
    "length": lambda x: x / (x.norm(dim=1, keepdim=True) + 0.1),
    "third norm": lambda x: x.norm(3, dim=1),
    "cosine": lambda x: F.cosine_similarity(*halves(x)),
    "tokens first": tokens,
    "resized": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "logsumexp of logarithms": lambda x: (9 * x - 100).logsumexp(1) / 50,
    "lp_pool2d": lambda x: F.lp_pool2d(x, 2, 3, stride=2),
    "windows": lambda x: F.unfold(x, 3, padding=1, stride=2).relu(),
    "residual": lambda x: F.relu(x + F.relu(x - 0.2)),
    "joined": lambda x: torch.cat([x.relu(), torch.ones_like(x), -x], 1),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_contributions_sum_to_the_difference_of_the_scores(function: str, rule: str) -> None:
    net, x = Around(FUNCTIONS[function]), images(3, (8, 8)).double()
    for reference in ("zeros", "blurred"):
        for score in ("logit", "probability"):
            found = explain(net, x, rule=rule, reference=reference, score=score)
            difference = found.scores - torch.tensor(found.diagnostics["reference_scores"], dtype=torch.float64)
            torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)), difference, rtol=0, atol=1e-12)
            assert float(difference.abs().max()) > 1e-6


@pytest.mark.parametrize("ends_in", [torch.bfloat16, torch.float32])
def test_rounding_inside_an_autocast_of_the_models_own_is_no_gap(ends_in: torch.dtype) -> None:
    class Lower(Around):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).to(ends_in)

    net, x = Lower(F.relu).float(), images(3, (8, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = explain(net, x)
    assert max(map(abs, found.diagnostics["gap"])) > 1e-5


def test_a_choice_by_value_inside_an_autocast_is_a_gap() -> None:
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 16, 3), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.last(self.first(x).relu().mean((2, 3)).topk(4, dim=1).values).float()

    with pytest.warns(ExplanationWarning, match="chooses by value"):
        explain(Chooses(), images(1, (8, 8)))


@pytest.mark.parametrize("rule", RULES)
def test_a_reference_near_the_image_gives_the_gradient(rule: str) -> None:
    """Also where differences are too small to be divided by, and for the image itself."""
    for function in ("gelu", "softmax", "layer_norm", "max_pool2d", "root", "quotient"):
        net, x = Around(FUNCTIONS[function]), images(2, (8, 8)).double()
        step = 1e-7 * images(2, (8, 8), seed=9).double()
        gradient = xaipipe.explain(net, x, method="saliency", target=1).values
        near = explain(net, x, rule=rule, reference=x - step)
        torch.testing.assert_close(near.values, gradient * step, rtol=1e-3, atol=1e-12)
        assert not explain(net, x, rule=rule, reference=x).values.any()


def test_a_batch_equals_its_images_one_by_one() -> None:
    net, x, references = Around(FUNCTIONS["max_pool2d"]), images(4, (8, 8)).double(), images(4, (8, 8), seed=8).double()
    together = explain(net, x, target="predicted", reference=references).values
    for i in range(4):
        alone = explain(net, x[i : i + 1], target="predicted", reference=references[i : i + 1]).values
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-14)


def test_many_references_give_the_mean_of_each_a_few_at_a_time() -> None:
    net, x, references = SmallCnn().double(), images(3).double(), images(11, seed=8).double()
    seen: list[int] = []
    handle = net.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    questions = ["predicted", 0]
    found = xaipipe.explain(net, x, method="deeplift", target=questions, references=references)
    handle.remove()
    assert max(seen) == 15  # five references at once for each of three images
    for target, got in zip(questions, found, strict=True):
        each = [explain(net, x, target=target, reference=one) for one in references]
        torch.testing.assert_close(got.values, torch.stack([one.values for one in each]).mean(dim=0))
        scores = [sum(one.diagnostics["reference_scores"][i] for one in each) / 11 for i in range(3)]
        assert got.diagnostics["reference_scores"] == pytest.approx(scores)
        assert got.diagnostics["references"] == 11
        assert got.scores.equal(each[0].scores)
        assert got.targets == each[0].targets


def test_a_segmentation_is_asked_about_the_same_pixels_of_the_reference() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.GELU(), nn.Conv2d(5, 3, 1)).double()
    x = images(3, (8, 8)).double()
    found = explain(net, x, references=images(2, (8, 8), seed=5).double())
    assert max(map(abs, found.diagnostics["gap"])) < 1e-12
    assert len(found.diagnostics["within_pixels"]) == 3


# -- what is said --------------------------------------------------------------------------------


def test_what_was_compared_is_recorded() -> None:
    named = explain(SmallCnn(), images(2)).diagnostics
    assert (named["rule"], named["reference"], named["references"]) == ("rescale", "zeros", 1)
    assert len(named["gap"]) == len(named["reference_scores"]) == 2
    assert explain(SmallCnn(), images(2), reference=images(2)).diagnostics["reference"] == "given"
    with pytest.raises(UsageError, match="not both"):
        explain(SmallCnn(), images(2), reference="zeros", references=images(2))


def leaky_by_hand(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def test_a_model_that_chooses_by_value_is_warned_about() -> None:
    net, x = Around(leaky_by_hand), images(2, (8, 8)).double()
    with pytest.warns(
        ExplanationWarning, match=r"deeplift: the map of image [01], target 1, does not sum .* is missing; .* by value"
    ):
        explain(net, x)


def test_contributions_that_cancel_are_warned_about() -> None:
    """A reference without any variation, which layer norms blow up, again and again."""

    def normalised(x: Tensor) -> Tensor:
        for _ in range(6):
            x = F.layer_norm(x, x.shape[1:])
        return x

    net, x = Around(normalised), images(2, (8, 8)).double()
    with torch.no_grad():
        net.maps.bias.zero_()
        net.head.bias.zero_()
    with pytest.warns(ExplanationWarning, match="cancel: choose another reference, or float64"):
        explain(net.float(), x.float())
    assert max(map(abs, explain(net.double(), x, reference="blurred").diagnostics["gap"])) < 1e-9


def test_an_unknown_operator_is_refused_by_name() -> None:
    net, x = Around(lambda x: torch.cumprod(x, 1)), images(2, (8, 8)).double()
    with pytest.raises(InputError, match=r"(?s)no rule for.*cumprod.*register\('cumprod'"):
        explain(net, x)
    net = Around(lambda x: x.norm(torch.inf, dim=1))
    with pytest.raises(InputError, match=r"(?s)no rule for.*norm, of the kind 'statistic'"):
        explain(net, x)


def test_an_unknown_operators_gradient_is_recorded_and_warned_about() -> None:
    for function, name in ((lambda x: torch.cumprod(x, 1), "cumprod"), (lambda x: x.norm(torch.inf, dim=1), "norm")):
        net, x = Around(function), images(2, (8, 8)).double()
        with pytest.warns(ExplanationWarning, match=f"by their gradient: {name}"):
            found = explain(net, x, unknown="gradient")
        assert found.diagnostics["by_gradient"] == (name,)
    assert "by_gradient" not in explain(SmallCnn(), images(1), unknown="gradient").diagnostics


def test_a_reference_that_the_model_treats_otherwise_is_refused() -> None:
    for function in (
        lambda x: x.relu() if x.mean() > 0.3 else x.relu().sigmoid(),
        lambda x: x.relu().sigmoid() if x.mean() > 0.3 else x.relu(),
        lambda x: x.relu() if x.mean() > 0.3 else x.sigmoid(),
        lambda x: x.relu() if x.mean() > 0.3 else x[:, :, :4].relu().repeat(1, 1, 2, 1),
    ):
        net = Around(function)
        with torch.no_grad():
            net.maps.bias.fill_(1)
        x = images(1, (8, 8)).double()
        with pytest.raises(InputError, match="something else for the reference"):
            explain(net, x, reference=x - 10 * net.maps.weight.sum(0).sign().mean((1, 2))[:, None, None])


def test_a_reference_without_a_score_is_refused() -> None:
    net = Around(lambda x: x / x.std((2, 3), keepdim=True))
    with torch.no_grad():
        net.maps.weight[:, :, [0, 2]] = net.maps.weight[:, :, :, [0, 2]] = 0  # nothing is seen of the padding
    with pytest.raises(InputError, match="NaN or infinity for the reference"):
        explain(net, images(2, (8, 8)).double())
