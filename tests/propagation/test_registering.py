"""Operators that nobody has described: refused in words, and made known in a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Everywhere, Of, agrees, numbers, pulled
from xaipipe import UsageError
from xaipipe.propagation import Rule, RuleTable, gradient_with, register
from xaipipe.propagation.operators import OPERATORS
from xaipipe.propagation.unknown import UnknownOperatorError

X = numbers(2, 3, 4, 4)


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    before = dict(OPERATORS._table)
    yield
    OPERATORS._table.clear()
    OPERATORS._table.update(before)


@torch.library.custom_op("xaipipe_tests::swish", mutates_args=())
def swish(x: Tensor, slope: float) -> Tensor:
    return x * torch.sigmoid(slope * x)


def _swish_gradient(ctx: Any, arriving: Tensor) -> tuple[Tensor, None]:
    gate = torch.sigmoid(ctx.slope * ctx.saved_tensors[0])
    return arriving * (gate + ctx.slope * ctx.saved_tensors[0] * gate * (1 - gate)), None


def _swish_context(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.slope = inputs[1]
    ctx.save_for_backward(inputs[0])


swish.register_autograd(_swish_gradient, setup_context=_swish_context)


@torch.library.custom_op("xaipipe_tests::conv", mutates_args=())
def conv(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight)


class Swishes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = Of(lambda x: swish(x, 2.0).reshape(x.shape))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x * 2).square()  # type: ignore[no-any-return]


def test_unknown_operators_are_named() -> None:
    """With the layer that ran them, and what to do."""
    with pytest.raises(UnknownOperatorError) as caught:
        pulled(Swishes(), X)
    assert str(caught.value) == (
        "this method has no rule for an operator of the model\n"
        "  got: xaipipe_tests::swish, 1 operands that depend on the input\n  where: layer 'act'\n"
        "  next: tell rules what it is by xaipipe.propagation.register('xaipipe_tests::swish', kind=…)"
        ", see docs/plugins.md; or use a gradient method"
    )
    assert caught.value.exit_code == 65


def test_values_that_are_added_to_others_are_not_just_put_there() -> None:
    places = (torch.tensor([0, 0]),)
    model = Of(lambda x: x.index_put(places, x[:1].expand(2, -1, -1, -1), accumulate=True))
    with pytest.raises(UnknownOperatorError, match="index_put"):
        pulled(model, X)


def test_unknown_operators_have_their_gradient_where_rules_are_not_strict() -> None:
    agrees(Swishes(), X, Everywhere(strict=False))
    agrees(Swishes(), X, gradient_with())


def test_an_operator_of_a_library() -> None:
    register("xaipipe_tests::swish", kind="activation")
    rules = agrees(Swishes(), X)
    assert "xaipipe_tests::swish" in [op.name for op in rules.seen if op.kind == "activation"]
    register("xaipipe_tests::swish", like="silu")  # once more, in other words
    rules = agrees(Swishes(), X)
    assert "silu" in [op.name for op in rules.seen]


def test_an_operator_that_is_like_a_layer() -> None:
    """Rules see its weights."""
    register("xaipipe_tests::conv", like="conv2d")
    rules = Everywhere()
    model = Of(lambda x, layer: conv(x, layer.weight), nn.Conv2d(3, 4, 3, bias=False))
    plainly = Of(lambda x, layer: F.conv2d(x, layer.weight), model.parts[0])
    (got,), (expected,) = pulled(model, X, rules=rules), pulled(plainly, X)
    torch.testing.assert_close(got.values, expected.values)
    assert rules.kinds == ["convolution"]


@pytest.mark.parametrize(
    ("kind", "operator"),
    [
        ("average", torch.logcumsumexp),
        ("route", torch.Tensor.nansum),
        ("statistic", torch.cumprod),
        ("product", torch.hypot),
        ("sum", torch.logaddexp),
        ("matmul", torch.cdist),
        ("max", torch.fmax),
    ],
)
def test_kinds(kind: str, operator: Any) -> None:
    """Whatever they are said to be, the gradient is theirs."""
    several = kind in ("product", "sum", "matmul", "max")
    model = Of(lambda x: operator(x, x.flip(2) * 2) if several else operator(x, 2))
    with pytest.raises(UnknownOperatorError):
        pulled(model, X)
    register(operator.__name__, kind=kind)
    rules = agrees(model, X)
    assert kind in rules.kinds or kind == "route"


@pytest.mark.parametrize(
    ("name", "said", "words"),
    [
        ("torch.swish", {"kind": "activation"}, r"no such name: 'torch.swish'[\s\S]*next: 'swish'"),
        ("swish_", {"kind": "activation"}, r"no such name: 'swish_'[\s\S]*no trailing underscore\n  next: 'swish'"),
        ("swish", {"kind": "activatoin"}, r"as 'activatoin'[\s\S]*did you mean 'activation'"),
        ("swish", {"kind": "norm"}, r"as 'norm'\n  expected: activation, average"),
        ("swish", {"like": "slu"}, r"no operator 'slu' is known\n  next: did you mean 'silu'"),
        ("swish", {}, r"what is the operator 'swish'\?\n  expected: one of kind"),
        ("swish", {"kind": "sum", "like": "add"}, r"what is the operator 'swish'"),
        ("relu", {"kind": "sum"}, "'relu' is torch's own, and known already"),
    ],
)
def test_what_cannot_be_registered(name: str, said: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        register(name, **said)


def test_a_rule_for_nothing_is_refused() -> None:
    rule: Rule = Everywhere().rule
    with pytest.raises(UsageError, match=r"no kind of operators, 'rleu'[\s\S]*did you mean 'relu'"):
        gradient_with({"rleu": rule})
    RuleTable({"relu": rule, "activation": rule})
