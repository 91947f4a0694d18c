"""A sum that does not come out is said aloud, with the operator at which it stopped."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xaipipe
from xaipipe import ExplanationWarning
from xaipipe.propagation import Books, Call, Operation, Rule, register
from xaipipe.propagation.operators import OPERATORS, Described, Route, Surroundings
from xaipipe.propagation.unknown import UnknownOperatorError
from xaipipe.testing import SmallCnn, images
from xaipipe_propagation.composites import Composite, around
from xaipipe_propagation.conservation import BOUNDS, COARSE
from xaipipe_propagation.lrp import Lrp
from xaipipe_propagation.rules import Epsilon


class WithOdd(nn.Module):
    """A network with an operator that nobody has described, between two layers that hand on all they get."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 4, 3, bias=False)
            self.odd = Odd()
            self.head = nn.Linear(4, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.odd(self.stem(x)).mean((2, 3)))
        return answer


class Odd(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.asinh(x)


@pytest.fixture
def described() -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Says what `asinh` is, for one test."""

    def describe(describer: Callable[..., Any]) -> None:
        register("asinh", describer)

    yield describe
    OPERATORS._table.pop("asinh", None)


def lrp(net: nn.Module, x: Tensor, **params: Any) -> xaipipe.Explanation:
    return xaipipe.explain(net.to(x.dtype), x, "lrp", target=1, **params)


def as_route(call: Call, _: Surroundings) -> Route:
    return Route()


def as_kind(kind: str) -> Callable[[Call, Surroundings], Described]:
    def describer(call: Call, _: Surroundings) -> Described:
        operation = Operation(kind=kind, name=call.name, run=call.again(), layer=call.layer)
        return Described(operation, call.marks[0].passed_on(False), call.operands)

    return describer


def test_an_operator_that_nobody_described_is_refused() -> None:
    with pytest.raises(UnknownOperatorError, match=r"asinh[\s\S]*layer 'odd'[\s\S]*register\('asinh'"):
        lrp(WithOdd(), images(1).double())


@pytest.mark.parametrize("kind", ["route", "average"])
def test_a_lossy_operator_is_named_with_its_layer(described: Callable[..., None], kind: str) -> None:
    described(as_route if kind == "route" else as_kind("average"))
    with pytest.warns(ExplanationWarning) as told:
        found = lrp(WithOdd(), images(2).double())
    (text,) = [str(warning.message) for warning in told]
    assert "lrp: the relevance does not add up to the score" in text
    assert re.search(rf"where: asinh in layer 'odd' \({kind}\), 100% of what operators lost", text)
    assert any(abs(residual) > 1e-6 for residual in found.diagnostics["residual"])


def test_an_operator_described_rightly_adds_up(described: Callable[..., None]) -> None:
    described(as_kind("activation"))
    found = lrp(WithOdd(), images(2).double())
    assert max(map(abs, found.diagnostics["residual"])) < 1e-10


def test_a_kind_without_a_rule_is_refused(described: Callable[..., None]) -> None:
    described(as_kind("riddle"))
    with pytest.raises(UnknownOperatorError, match=r"kind of operator[\s\S]*registered as 'riddle'[\s\S]*activation"):
        lrp(WithOdd(), images(1).double())


class Forgetful(Rule):
    """Hands on half and says nothing."""

    def propagate(
        self, op: Operation, operands: Sequence[Tensor], output: Tensor | None, arriving: Tensor, books: Books
    ) -> list[Tensor]:
        (whole,) = Epsilon(1e-6).propagate(op, operands, output, arriving, books)
        return [whole / 2]


class ForgetfulLrp(Lrp):
    """LRP that loses half at one layer.

    Misleads when: always.

    Example: none.

    Reference: none.
    """

    def rules(self, batch: Any, model: Any) -> Composite:
        good = Epsilon(1e-6)
        return Composite({**around(1e-6), "convolution": good, "linear": good}, layers=(("block", Forgetful()),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_rule_that_forgets_is_named(dtype: torch.dtype) -> None:
    batch = xaipipe.Batch(tiles=(), pixels=images(2).to(dtype), valid=torch.ones(2, 32, 32, dtype=torch.bool))
    with pytest.warns(ExplanationWarning, match=r"where: conv2d in layer 'block' \(convolution\)"):
        ForgetfulLrp(target=1).explain(batch, xaipipe.Model.of(SmallCnn().to(dtype)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_adds_up_is_not_warned_of(dtype: torch.dtype) -> None:
    found = lrp(SmallCnn(), images(2).to(dtype))
    scale = max(abs(found.diagnostics[part][0]) for part in ("begun", "arrived", "bias"))
    assert abs(found.diagnostics["residual"][0]) <= BOUNDS.get(dtype, COARSE) * scale


def test_rounding_inside_an_autocast_of_the_models_own_is_no_loss() -> None:
    class Casting(SmallCnn):
        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x).float()

    assert lrp(Casting(), images(2)).values.isfinite().all()


def test_a_part_of_the_way_is_not_warned_of() -> None:
    """What goes past a layer, or is kept from some channels, is gone on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lrp(SmallCnn(), images(1).double(), channels={"stem": [0]})
    assert abs(found.diagnostics["elsewhere"][0]) > 1e-4
    assert "residual" not in found.diagnostics


class TokensFirst(nn.Module):
    """A transformer layer whose tokens come first and images second."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 8, stride=8)
            self.attention = nn.MultiheadAttention(8, 2)
            self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).permute(2, 0, 1)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        answer: Tensor = self.head(tokens.mean(0))
        return answer


def test_where_images_do_not_come_first_the_batch_adds_up() -> None:
    found = lrp(TokensFirst(), images(2).double())
    assert found.diagnostics["absorbed_by"].startswith("the batch")
    assert max(map(abs, found.diagnostics["residual"])) < 1e-12
    assert found.diagnostics["bias"][0] == found.diagnostics["bias"][1]


class OneByOne(nn.Module):
    """Every image by itself, without a dimension of images."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 8, 3)
            self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.head(self.stem(image).relu().mean((1, 2))) for image in x])


@pytest.mark.parametrize("composite", ["zero", "epsilon_plus_flat", "epsilon_alpha2_beta1"])
def test_images_that_a_model_takes_one_by_one(composite: str) -> None:
    x = images(2).double()
    both = lrp(OneByOne(), x, composite=composite)
    assert max(map(abs, both.diagnostics["residual"])) < 1e-12
    for image in range(2):
        alone = lrp(OneByOne(), x[image : image + 1], composite=composite)
        torch.testing.assert_close(both.values[image : image + 1], alone.values, rtol=1e-10, atol=1e-14)
        assert abs(alone.diagnostics["bias"][0]) > 1e-4
