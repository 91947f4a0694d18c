"""Rules of operators without weights against slow definitions: sums, scales, poolings, norms, products, softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.propagation_methods import definitions
from tests.propagation_methods.definitions import case_of
from tests.propagation_methods.running import assert_accounted, assert_as_defined, pulled, relevances
from xaipipe.models.model import Model
from xaipipe.models.targets import Question
from xaipipe.propagation import Operation, Pulled, Rule, pull_back
from xaipipe_propagation.composites import around
from xaipipe_propagation.rules import Pass, SplitProduct

EPS = 1e-6
SHAPE = (4, 6, 5)
"""Of one image."""
CONSTANT = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
GRID = CONSTANT[:2, :3].permute(1, 2, 0)[None].tanh()
"""Places to sample, [1, 3, 5, 2]."""


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))  # what a model is known to be of

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def pixels(shape: Sequence[int] = SHAPE) -> Tensor:
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x.flatten()[::9] = 0.0
    return x


LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "residual add": lambda x: x[:, :2] + x[:, 2:],
    "difference": lambda x: x[:, :2] - x[:, 2:],
    "difference from a constant": lambda x: 2.0 - x,
    "alpha": lambda x: torch.add(x[:, :2], x[:, 2:], alpha=-0.5),
    "rsub": lambda x: torch.rsub(x[:, :2], x[:, 2:], alpha=3),
    "with itself": lambda x: x + x,
    "less itself": lambda x: x - x,
    "broadcast": lambda x: x[:, :2] + x[:, 2:, :1, :1],
    "broadcast both ways": lambda x: x[:, :2, :, :1] - x[:, 2:, :1, :],
    "plus a number": lambda x: x + 0.5,
    "plus a constant": lambda x: x + CONSTANT,
    "plus a larger constant": lambda x: x[:, :1, :1] + CONSTANT,
    "in place": lambda x: x[:, :2].clone().add_(x[:, 2:]),
    "average pooling": lambda x: F.avg_pool2d(x, 2),
    "average pooling with padding": lambda x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False),
    "adaptive pooling": lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
    "global pooling": lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    "mean": lambda x: x.mean(dim=(2, 3)),
    "mean of channels": lambda x: x.mean(1, keepdim=True),
    "sum": lambda x: x.sum(dim=(-2, -1)),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False),
    "nearest": lambda x: F.interpolate(x, size=(9, 4), mode="nearest"),
    "bicubic": lambda x: F.interpolate(x, size=(8, 7), mode="bicubic"),
    "cumsum": lambda x: x.cumsum(dim=2),
    "grid_sample": lambda x: F.grid_sample(x, GRID.expand(len(x), -1, -1, -1), align_corners=False),
}

HELD: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Callable[[Tensor], Tensor]]]] = {
    "layer norm": (
        lambda x: F.layer_norm(x, SHAPE, CONSTANT, CONSTANT / 2, 0.01),
        lambda x0: (
            lambda x: (
                (x - x.mean(dim=(1, 2, 3), keepdim=True))
                / (x0.var(dim=(1, 2, 3), keepdim=True, unbiased=False) + 0.01).sqrt()
                * CONSTANT
                + CONSTANT / 2
            )
        ),
    ),
    "group norm": (
        lambda x: F.group_norm(x, 2, eps=0.01),
        lambda x0: (
            lambda x: (
                (x.reshape(len(x), 2, -1) - x.reshape(len(x), 2, -1).mean(2, keepdim=True))
                / (x0.reshape(1, 2, -1).var(2, keepdim=True, unbiased=False) + 0.01).sqrt()
            )
        ),
    ),
    "instance norm": (
        lambda x: F.instance_norm(x, eps=0.01),
        lambda x0: (
            lambda x: (x - x.mean((2, 3), keepdim=True)) / (x0.var((2, 3), keepdim=True, unbiased=False) + 0.01).sqrt()
        ),
    ),
    "rms norm": (
        lambda x: F.rms_norm(x, (5,), CONSTANT[0, 0], 0.01),
        lambda x0: lambda x: x / (x0.square().mean(-1, keepdim=True) + 0.01).sqrt() * CONSTANT[0, 0],
    ),
    "normalize": (
        lambda x: F.normalize(x, dim=1),
        lambda x0: lambda x: x / x0.square().sum(1, keepdim=True).sqrt(),
    ),
}


@pytest.mark.parametrize("name", LINEAR)
def test_of_linear_operators(name: str) -> None:
    net = Function(LINEAR[name])
    assert_as_defined(net, pixels(), Pass(), lambda case: definitions.epsilon(case, EPS))


@pytest.mark.parametrize("name", HELD)
def test_of_norms_whose_statistics_are_held(name: str) -> None:
    norm, held = HELD[name]
    net, x = Function(norm), pixels()
    begins = relevances(net, x, 2)
    for begin, got in zip(begins, pulled(net, x, Pass(), begins), strict=True):
        for i in range(2):
            linear = held(x[i : i + 1])
            want = definitions.epsilon(case_of(linear, linear, x[i : i + 1], begin[i : i + 1]), EPS)
            torch.testing.assert_close(got.values[i].flatten(), torch.from_numpy(want), rtol=1e-8, atol=1e-8)
        assert_accounted(got)


def test_a_batch_norm_that_follows_no_layer_is_a_scale() -> None:
    norm = nn.BatchNorm2d(4).double().eval()
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    assert_as_defined(norm, pixels(), Pass(), lambda case: definitions.epsilon(case, EPS))


@pytest.mark.parametrize(
    "scaled",
    [lambda x: 3 * x, lambda x: x / 4, lambda x: -x, lambda x: x * CONSTANT],
)
def test_of_scales_without_a_shift(scaled: Callable[[Tensor], Tensor]) -> None:
    """There is nobody to share with: what arrives is handed on, where an output is zero too."""
    net, x = Function(scaled), pixels()
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    assert got.values.equal(begin)


def test_a_scale_that_spreads_its_operand_collects_all_that_arrives() -> None:
    net, x = Function(lambda x: x * CONSTANT), pixels((1, 6, 5))
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    torch.testing.assert_close(got.values, begin.sum(dim=1, keepdim=True))


@pytest.mark.parametrize("activation", [torch.relu, torch.sigmoid, F.gelu, torch.abs, F.softplus, torch.exp])
def test_activations_hand_on_what_arrives(activation: Callable[[Tensor], Tensor]) -> None:
    net, x = Function(activation), pixels()
    (begin,) = relevances(net, x, 1)
    assert pulled(net, x, Pass(), [begin])[0].values.equal(begin)


def test_a_gate_gets_nothing() -> None:
    """Squeeze and excitation: all relevance stays with the maps."""
    net, x = Function(lambda x: x * torch.sigmoid(x.mean((2, 3), keepdim=True))), pixels()
    (begin,) = relevances(net, x, 1)
    assert pulled(net, x, Pass(), [begin])[0].values.equal(begin)


def test_attention_hands_relevance_to_the_values() -> None:
    tokens = pixels((5, 4))

    def attention(x: Tensor) -> Tensor:
        return (x @ x.transpose(1, 2)).softmax(-1) @ x

    net = Function(attention)
    (begin,) = relevances(net, tokens, 1)
    p, z = (tokens @ tokens.transpose(1, 2)).softmax(-1), attention(tokens)
    share = begin / (z + EPS * torch.where(z < 0, -1.0, 1.0))
    (got,) = pulled(net, tokens, Pass(), [begin])
    torch.testing.assert_close(got.values, tokens * (p.transpose(1, 2) @ share), rtol=1e-10, atol=1e-10)
    assert_accounted(got)


def test_scaled_dot_product_attention_is_the_same_taken_apart() -> None:
    tokens = pixels((5, 4))
    fused = Function(lambda x: F.scaled_dot_product_attention(x, x, x))
    plain = Function(lambda x: ((x / 2) @ x.transpose(1, 2)).softmax(-1) @ x)
    (begin,) = relevances(plain, tokens, 1)
    maps = [pulled(net, tokens, Pass(), [begin])[0].values for net in (fused, plain)]
    torch.testing.assert_close(*maps, rtol=1e-12, atol=1e-12)


class Halves:
    strict = True

    def rule_for(self, op: Operation) -> Rule | None:
        return SplitProduct(False, EPS) if op.kind in ("product", "matmul") else around(EPS).get(op.kind)


def by_halves(net: nn.Module, x: Tensor, begin: Tensor) -> Pulled:
    asked = Question(lambda outputs: (outputs * begin).flatten(1).sum(1))
    return pull_back(Model.of(net), x, [asked], Halves())[0]


def test_without_gates_both_factors_get_half() -> None:
    x = pixels()
    net = Function(lambda x: x[:, :2] * torch.sigmoid(x[:, 2:]))
    (begin,) = relevances(net, x, 1)
    got = by_halves(net, x, begin)
    assert got.values.equal(torch.cat([begin / 2, begin / 2], dim=1))


def test_a_product_of_matrices_by_halves() -> None:
    tokens = pixels((5, 4))
    net = Function(lambda x: x @ x.transpose(1, 2))
    (begin,) = relevances(net, tokens, 1)
    z = tokens @ tokens.transpose(1, 2)
    share = begin / (z + EPS * torch.where(z < 0, -1.0, 1.0)) / 2
    want = tokens * (share @ tokens) + tokens * (share.transpose(1, 2) @ tokens)
    got = by_halves(net, tokens, begin)
    torch.testing.assert_close(got.values, want, rtol=1e-9, atol=1e-9)
    assert_accounted(got)


@pytest.mark.parametrize("before", [torch.clone, torch.relu])
def test_a_soft_maximum_hands_on_shares_of_its_sum(before: Callable[[Tensor], Tensor]) -> None:
    """To zeros, too, though a ReLU has made them."""
    net, x = Function(lambda x: before(x).logsumexp((2, 3))), pixels()
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    want = begin[..., None, None] * before(x).flatten(2).softmax(2).view_as(x)
    torch.testing.assert_close(got.values, want, rtol=1e-5, atol=1e-5)
    assert_accounted(got)


@pytest.mark.parametrize("far", [-1000.0, 200.0, 1000.0])
def test_a_soft_maximum_of_numbers_whose_exponentials_are_none(far: float) -> None:
    net = Function(lambda x: x.logsumexp((2, 3)))
    begins = relevances(net, pixels(), 2)
    at = [pulled(net, x, Pass(), begins) for x in (pixels() + far, pixels())]
    for got, want in zip(*at, strict=True):
        torch.testing.assert_close(got.values, want.values, rtol=1e-9, atol=1e-9)
        assert_accounted(got)


@pytest.mark.parametrize("dim", [1, -1])
def test_softmax_is_its_expansion_at_zero(dim: int) -> None:
    net, x = Function(lambda x: x.softmax(dim)), pixels()
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    want = x * (begin - x.softmax(dim) * begin.sum(dim, keepdim=True))
    torch.testing.assert_close(got.values, want)
    assert_accounted(got)


def test_a_masked_softmax_gives_nothing_to_what_is_hidden() -> None:
    mask = torch.tensor([False, True, False, False, True])
    net, x = Function(lambda x: x.masked_fill(mask, -torch.inf).softmax(-1)), pixels()
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    assert got.values.isfinite().all()
    assert not got.values[..., mask].any()
    assert_accounted(got)


@pytest.mark.parametrize(
    ("joined", "own"),
    [
        (lambda x: torch.cat([CONSTANT.expand(2, -1, -1, -1), x], dim=1), lambda r: r[:, 4:]),
        (lambda x: torch.stack([x, CONSTANT.expand(2, -1, -1, -1)], dim=1), lambda r: r[:, 0]),
        (lambda x: torch.where(CONSTANT > 0, x, CONSTANT), lambda r: r * (CONSTANT > 0)),
        (lambda x: F.pad(x, (1, 2, 0, 1)), lambda r: r[..., :6, 1:6]),
        (lambda x: F.pad(x, (1, 2), value=0.5), lambda r: r[..., 1:6]),
    ],
)
def test_what_stands_beside_the_inputs_own_values_is_a_bias(
    joined: Callable[[Tensor], Tensor], own: Callable[[Tensor], Tensor]
) -> None:
    net, x = Function(joined), pixels()
    (begin,) = relevances(net, x, 1)
    (got,) = pulled(net, x, Pass(), [begin])
    torch.testing.assert_close(got.values, own(begin))
    assert_accounted(got)


@pytest.mark.parametrize(
    "moved",
    [
        lambda x: torch.cat([x, 2 * x], dim=1),
        lambda x: x.flip(2).permute(0, 2, 1, 3).reshape(2, -1),
        lambda x: F.max_pool2d(x, 2),
        lambda x: x.amax(dim=(2, 3)),
        lambda x: torch.maximum(x[:, :2], x[:, 2:]),
        lambda x: F.pixel_shuffle(x, 2),
        lambda x: x.repeat(1, 2, 1, 1).chunk(2, dim=1)[0],
        lambda x: F.unfold(x, 3),
        lambda x: F.unfold(x, 3, padding=(0, 1)),
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(6, 5)),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    ],
)
def test_moving_values_moves_relevance(moved: Callable[[Tensor], Tensor]) -> None:
    net, x = Function(moved), pixels()
    got = pulled(net, x, Pass(), relevances(net, x, 2))
    for one in got:
        assert_accounted(one)
