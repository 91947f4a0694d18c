"""Many questions from one forward pass, and the way back that ends at a layer or leads through some channels."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Booked, Everywhere, Of, mix, numbers, pulled
from tests.propagation.test_models import X, block
from xaipipe import InputError, Model, UsageError
from xaipipe.models.targets import Question
from xaipipe.propagation import Gradient, Where, gradient_with, pull_back
from xaipipe.propagation import passes as passes_module


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model, self.runs = block(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        scores: Tensor = self.model(x)
        return scores


def test_many_questions_are_single_ones() -> None:
    """More than go back at once; the books too."""
    model, targets = Counted(), [mix(seed) for seed in range(13)]
    together = pulled(model, X, targets, Everywhere(rule=Booked()))
    assert model.runs == 1
    for target, one in zip(targets, together, strict=True):
        (alone,) = pulled(model, X, [target], Everywhere(rule=Booked()))
        torch.testing.assert_close(one.values, alone.values, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(one.begun, alone.begun, rtol=1e-12, atol=1e-12)
        assert len(one.absorbed) == len(alone.absorbed) > 10
        for a, b in zip(one.absorbed, alone.absorbed, strict=True):
            torch.testing.assert_close(a.amounts, b.amounts, rtol=1e-12, atol=1e-12)


def test_books_are_what_the_rule_entered() -> None:
    """`Booked` enters all that arrives: at the last layer that is what begun."""
    (got,) = pulled(block(), X, [0], Everywhere(rule=Booked()))
    last = next(a for a in reversed(got.absorbed) if a.operation.layer == "head")
    torch.testing.assert_close(last.amounts[0], got.begun)
    assert not last.amounts[1:].any()


def test_rules_that_absorb_nothing_have_no_books() -> None:
    (got,) = pulled(block(), X, [0], Everywhere(rule=Gradient()))
    assert got.absorbed == ()


def test_few_images_go_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many targets there are: memory is for so many images and no more."""
    sizes: list[int] = []

    class Noted(Gradient):
        def propagate(self, op, operands, output, arriving, books):  # type: ignore[no-untyped-def]
            sizes.append(arriving.shape[0] * arriving.shape[1])
            return super().propagate(op, operands, output, arriving, books)

    pulled(block(), X, [mix(seed) for seed in range(40)], Everywhere(rule=Noted()))
    assert max(sizes) <= passes_module.AT_ONCE
    sizes.clear()
    many = numbers(passes_module.AT_ONCE + 4, 3, 8, 8)
    pulled(block(), many, [0, 1], Everywhere(rule=Noted()))
    assert max(sizes) == len(many)  # one target at a time


def test_relevance_begins_with_the_score() -> None:
    model = Model.of(block())
    (got,) = pull_back(model, X, [Question(1)], gradient_with(), start="relevance")
    torch.testing.assert_close(got.begun, got.selection.scores)


def test_what_is_handed_back_has_no_graph() -> None:
    (got,) = pulled(block(), X, [0])
    assert not got.values.requires_grad
    assert not got.selection.outputs.requires_grad
    assert not got.selection.scores.requires_grad


# -- layers and channels ------------------------------------------------------------------------------


def at(module: nn.Module, layer: str, target: int, run: int = -1) -> Tensor:
    """torch's gradient at a layer's output."""
    outputs: list[Tensor] = []
    module = module.to(torch.float64)

    def keep(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
        outputs.append(output.clone())
        return outputs[-1].clone()

    handle = dict(module.named_modules())[layer].register_forward_hook(keep)
    scores = module(X.clone().requires_grad_().clone())[:, target].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(scores, outputs[run])
    return gradient


@pytest.mark.parametrize("layer", ["conv1", "bn1", "conv2", "bn2", "gate", "act", "head"])
@pytest.mark.parametrize("rules", [Everywhere, gradient_with])
def test_at_a_layer(layer: str, rules: type[Everywhere]) -> None:
    """Inside of a folded layer too; of several runs of a layer it is the last."""
    got = pulled(block(), X, [0, 1], rules(), Where(layer=layer))
    for target, one in enumerate(got):
        torch.testing.assert_close(one.values, at(block(), layer, target), rtol=1e-12, atol=1e-12)


def test_a_layer_that_runs_several_times_counts_the_last() -> None:
    first, last = at(block(), "conv2", 0, run=0), at(block(), "conv2", 0, run=-1)
    assert not torch.allclose(first, last)
    (got,) = pulled(block(), X, [0], where=Where(layer="conv2"))
    torch.testing.assert_close(got.values, last)


def masked(layer: str, channels: list[int]) -> Tensor:
    """torch's gradient, with everything but some channels of a layer taken out on the way back."""
    module = block()

    def only(part: nn.Module, inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        mask = torch.zeros(output.shape[1], dtype=output.dtype).index_fill(0, torch.tensor(channels), 1)
        output.register_hook(lambda g: g * mask.reshape(-1, *[1] * (g.ndim - 2)))
        return output.clone()

    dict(module.named_modules())[layer].register_forward_hook(only)
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(module(leaf.clone())[:, 0].sum(), leaf)
    return gradient


@pytest.mark.parametrize(("layer", "channels"), [("bn1", [0, 2]), ("conv1", [1]), ("gate", [3]), ("head", [0, 1])])
def test_through_some_channels(layer: str, channels: list[int]) -> None:
    for targets in ([0], [0, 1]):
        got = pulled(block(), X, targets, where=Where(channels={layer: channels}))
        torch.testing.assert_close(got[0].values, masked(layer, channels), rtol=1e-12, atol=1e-12)


def test_channels_add_up() -> None:
    whole = pulled(block(), X, [0])[0].values
    parts = [pulled(block(), X, [0], where=Where(channels={"bn1": [c]}))[0].values for c in range(4)]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-12, atol=1e-12)
    none = pulled(block(), X, [0], where=Where(channels={"bn1": []}))[0].values
    assert not none.any()


def test_at_some_channels_of_a_layer() -> None:
    got = pulled(block(), X, [0], where=Where(layer="bn1", channels={"bn1": [1]}))[0].values
    expected = at(block(), "bn1", 0)
    expected[:, [0, 2, 3]] = 0
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair, self.unused, self.mean = Of(lambda x: x), nn.ReLU(), Mean()
        self.pair.forward = lambda x: (x, x)  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.pair(x)[0]).flatten(1) * self.mean(x)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Where(layer="pear"), "the model has no layer 'pear'\n  where: Odd\n  next: did you mean 'pair'"),
        (Where(channels={"pear": [0]}), "the model has no layer 'pear'"),
        (Where(layer="unused"), "layer 'unused' was not run by the model's forward pass"),
        (Where(channels={"unused": [0]}), "layer 'unused' was not run by the model's forward pass"),
        (Where(layer="pair"), "layer 'pair' has no channels\n  got: tuple\n  expected: a tensor"),
        (Where(layer="mean"), r"layer 'mean' has no channels\n  got: \(\)"),
    ],
)
def test_places_that_are_none(where: Where, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        pulled(Odd(), X, where=where)


@pytest.mark.parametrize("channels", [[4], [-1], [0, 7]])
def test_channels_that_are_none(channels: list[int]) -> None:
    with pytest.raises(UsageError, match=r"layer 'bn1' has no such channels\n  got: \[.*\]\n  expected: 0 … 3"):
        pulled(block(), X, where=Where(channels={"bn1": channels}))


def test_targets_that_do_not_look_at_the_output() -> None:
    free = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(InputError, match="does not depend on the pixels"):
        pulled(block(), X, [lambda outputs: free * 2])


@pytest.mark.parametrize("rules", [gradient_with(), Everywhere(rule=Booked())], ids=["gradient", "books"])
def test_a_pass_holds_nothing_when_it_is_over(rules: Everywhere) -> None:
    """Not even until garbage is collected: a method that makes many passes would hold many inputs."""
    model = Model.of(block())
    gc.collect()
    gc.disable()
    try:
        pixels = X.clone()
        held = weakref.ref(pixels.untyped_storage())
        (got,) = pull_back(model, pixels, [Question(0)], rules)
        assert got.values.any()
        del got, pixels
        assert held() is None
    finally:
        gc.enable()
