"""Every rule of weighted layers against its slow definition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.propagation_methods import definitions
from tests.propagation_methods.definitions import Array, Case
from tests.propagation_methods.running import assert_as_defined, pulled
from xaipipe.propagation import Rule
from xaipipe_propagation.rules import AlphaBeta, Bounds, Contributions, Epsilon, Flat, Gamma, Pass, WSquare, ZBox

EPS = 1e-3
LOW, HIGH = -1.5, 2.0

RULES: dict[str, tuple[Rule, Callable[[Case], Array]]] = {
    "zero": (Epsilon(0.0), definitions.zero),
    "epsilon": (Epsilon(EPS), lambda case: definitions.epsilon(case, EPS)),
    "norm": (Contributions(EPS), lambda case: definitions.epsilon(case, EPS)),
    "gamma": (Gamma(0.25, EPS), lambda case: definitions.gamma(case, 0.25, EPS)),
    "alpha_beta": (AlphaBeta(2.0, 1.0, EPS), lambda case: definitions.alpha_beta(case, 2.0, EPS)),
    "alpha_beta 1.5": (AlphaBeta(1.5, 0.5, EPS), lambda case: definitions.alpha_beta(case, 1.5, EPS)),
    "z_plus": (AlphaBeta(1.0, 0.0, EPS), lambda case: definitions.z_plus(case, EPS)),
    "w_square": (WSquare(EPS), lambda case: definitions.w_square(case, EPS)),
    "flat": (Flat(), definitions.flat),
}

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "plain": (lambda: nn.Conv2d(3, 4, 3), (3, 6, 5)),
    "no bias": (lambda: nn.Conv2d(3, 4, 3, padding=1, bias=False), (3, 5, 4)),
    "strided": (lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), (3, 6, 7)),
    "dilated": (lambda: nn.Conv2d(2, 3, 3, dilation=2, padding=2), (2, 6, 5)),
    "oblong": (lambda: nn.Conv2d(2, 3, (3, 1), stride=(1, 2), padding=(1, 0)), (2, 5, 6)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 4, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4, padding=1), (4, 5, 4)),
    "same, even kernel": (lambda: nn.Conv2d(2, 3, (2, 4), padding="same"), (2, 5, 4)),
    "padded in front": (lambda: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 2)), nn.Conv2d(3, 4, 3, padding=1)), (3, 4, 5)),
    "padded in front alike": (lambda: nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(3, 4, 3, stride=2)), (3, 4, 5)),
    "padded above": (lambda: nn.Sequential(nn.ZeroPad2d((0, 0, 2, 0)), nn.Conv2d(4, 4, 3, groups=4)), (4, 4, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 3, 4)),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2), (4, 3, 2)),
    "1-d": (lambda: nn.Conv1d(3, 4, 3, padding=1), (3, 9)),
    "transposed 1-d": (lambda: nn.ConvTranspose1d(3, 2, 3, stride=2), (3, 5)),
    "3-d": (lambda: nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), (2, 3, 4, 3)),
    "linear": (lambda: nn.Linear(12, 5), (12,)),
    "linear, no bias": (lambda: nn.Linear(12, 5, bias=False), (12,)),
    "linear on tokens": (lambda: nn.Linear(6, 5), (4, 6)),
    "batch norm behind": (lambda: _normed(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)), (3, 4, 5)),
    "batch norm behind, no bias": (lambda: _normed(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)), (3, 4, 5)),
    "batch norm behind transposed": (
        lambda: _normed(nn.ConvTranspose2d(4, 6, 2, groups=2, stride=2), nn.BatchNorm2d(6)),
        (4, 2, 3),
    ),
    "batch norm behind linear": (lambda: _normed(nn.Linear(8, 4), nn.BatchNorm1d(4)), (8,)),
    "product with a constant": (lambda: _Product("from behind"), (4, 6)),
    "product with a constant in front": (lambda: _Product("from the front"), (4, 6)),
    "einsum": (lambda: _Product("einsum"), (4, 6)),
}


class _Product(nn.Module):
    """A constant matrix times the input, in some spelling."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.randn(*{"from the front": (3, 4)}.get(how, (6, 3))))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "from the front":
            return self.weight @ x
        return x @ self.weight if self.how == "from behind" else torch.einsum("...ti,io->...to", x, self.weight)


def _normed(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """Statistics and an eps of the norm's own."""
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    norm.eps = 0.02
    return nn.Sequential(layer, norm)


class _Rectified(nn.Module):
    """The layer behind a ReLU that changes nothing, from which follows that its input is nowhere negative."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.layer(torch.relu(x))
        return answer


def pixels(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Of both signs, with zeros of both signs among them."""
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x.flatten()[::7] = 0.0
    x.flatten()[3::11] = -0.0
    return x


def made(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make().double().eval()


pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("layer", LAYERS)
def test_of_signed_inputs(layer: str, rule: str) -> None:
    make, shape = LAYERS[layer]
    assert_as_defined(made(make), pixels(shape), *RULES[rule])


@pytest.mark.parametrize("rule", ["zero", "epsilon", "gamma", "alpha_beta", "alpha_beta 1.5", "z_plus"])
@pytest.mark.parametrize("layer", LAYERS)
def test_of_inputs_known_to_be_nonnegative(layer: str, rule: str) -> None:
    """The engine knows it from the ReLU, and takes a shorter way."""
    make, shape = LAYERS[layer]
    propagate, definition = RULES[rule]
    x = pixels(shape).abs()
    layer_itself = made(make)
    assert_as_defined(_Rectified(layer_itself), x, propagate, definition)


@pytest.mark.parametrize("own", ["shared", "of each image"])
@pytest.mark.parametrize("layer", [name for name, (_, shape) in LAYERS.items() if len(shape) == 3])
def test_z_box(layer: str, own: str) -> None:
    make, shape = LAYERS[layer]
    x = pixels(shape).clamp(LOW, HIGH)
    steps = torch.linspace(0, 0.5, shape[0], dtype=torch.float64)
    low, high = LOW - steps, HIGH + steps
    bounds = Bounds(low, high) if own == "shared" else Bounds(low.expand(2, -1), high.expand(2, -1))
    at_inputs = [(b[:, None, None] * torch.ones(shape, dtype=torch.float64)).reshape(-1).numpy() for b in (low, high)]
    assert_as_defined(made(make), x, ZBox(bounds, EPS), lambda case: definitions.z_box(case, *at_inputs, EPS))


def test_z_box_of_a_bound_for_each_image() -> None:
    layer, x = made(lambda: nn.Conv2d(3, 4, 3)), pixels((3, 5, 5))
    low, high = x.flatten(2).amin(dim=2), x.flatten(2).amax(dim=2)
    both = pulled(layer, x, ZBox(Bounds(low, high), EPS), [torch.ones(2, 4, 3, 3).double()])[0].values
    for i in range(2):
        alone = ZBox(Bounds(low[i], high[i]), EPS)
        torch.testing.assert_close(
            pulled(layer, x[i : i + 1], alone, [torch.ones(1, 4, 3, 3).double()])[0].values[0], both[i]
        )


def test_pass_hands_on_what_arrives() -> None:
    layer = made(lambda: nn.Conv2d(3, 3, 3, padding=1))
    assert_as_defined(layer, pixels((3, 4, 5)), Pass(), definitions.handed_on)


@pytest.mark.parametrize("rule", ["zero", "epsilon", "gamma", "alpha_beta", "z_plus", "w_square", "flat", "norm"])
@pytest.mark.parametrize("known", [False, True])
def test_outputs_that_are_zero(rule: str, known: bool) -> None:
    """Weights of zero, of both signs, and inputs that cancel."""
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0] * 4, [-0.0] * 4, [1.0, -1, 0, 0], [-1.0, 1, -2, 2]]))
        layer.bias.copy_(torch.tensor([0.0, -0.0, 0.0, -0.0]))
    x = torch.tensor([[1.0, 1, 2, 2], [0.0, 0, 0, 0]], dtype=torch.float64)
    net: nn.Module = _Rectified(layer) if known else layer
    assert_as_defined(net, x, *RULES[rule])


def test_flat_where_an_output_sees_nothing_but_padding() -> None:
    layer = made(lambda: nn.Conv2d(2, 3, 2, padding=2))
    assert_as_defined(layer, pixels((2, 3, 3)), *RULES["flat"])
    grouped = made(lambda: nn.Conv2d(2, 2, 2, padding=2, groups=2))
    assert_as_defined(grouped, pixels((2, 3, 3)), *RULES["flat"])


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    groups = draw(st.integers(1, 2))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    options: dict[str, Any] = {
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 2))),
        "dilation": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        "padding": (draw(st.integers(0, 2)), draw(st.integers(0, 1))),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    torch.manual_seed(draw(st.integers(0, 99)))
    layer = nn.Conv2d(groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), kernel, **options)
    return layer.double(), (layer.in_channels, draw(st.integers(5, 7)), draw(st.integers(5, 6)))


@given(made=convolutions(), rule=st.sampled_from(sorted(RULES)), known=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_of_any_convolution(made: tuple[nn.Module, tuple[int, ...]], rule: str, known: bool, seed: int) -> None:
    layer, shape = made
    x = pixels(shape, seed)
    assert_as_defined(_Rectified(layer) if known else layer, x.abs() if known else x, *RULES[rule])


def test_contributions_are_found_by_unit_vectors() -> None:
    """The definition's own footing: W and b of a linear layer are its weight and its bias."""
    layer = made(lambda: nn.Linear(3, 2))
    case = definitions.case_of(layer, layer, torch.ones(1, 3).double(), torch.ones(1, 2))
    np.testing.assert_allclose(case.weight, layer.weight.detach().numpy().T, atol=1e-15)
    np.testing.assert_allclose(case.bias, layer.bias.detach().numpy(), atol=1e-15)
