"""Whole models: shared, reused, compiled, in other precisions, with operators out of sight, left as they were found."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import xaipipe
from tests.propagation.everywhere import Booked, Everywhere, Of, agrees, mix, numbers, plain, pulled
from tests.propagation.test_writes import square
from xaipipe import InputError, Model
from xaipipe.models.targets import Question
from xaipipe.propagation import gradient_with, pull_back
from xaipipe.propagation.unknown import UnknownOperatorError


class Block(nn.Module):
    """One ReLU for all, in place; a residual add in place; a squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.gate = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        for _ in range(2):
            y = self.act(self.bn2(self.conv2(x)))
            y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
            y += x
            x = self.act(y)
        a, b = x.chunk(2, dim=1)
        x = torch.cat([b, a], dim=1)
        scores: Tensor = self.head(F.max_pool2d(x, 2).mean((2, 3)))
        return scores


def block() -> Block:
    return Block().double().eval()


X = numbers(3, 3, 8, 8)


def test_a_model_that_mixes_everything() -> None:
    rules = agrees(block(), X)
    assert rules.kinds.count("activation") > 0
    agrees(block(), X, gradient_with())


def test_a_batch_is_its_images() -> None:
    for rules in (Everywhere(rule=Booked()), gradient_with()):
        (together,) = pulled(block(), X, [0], rules)
        for i in range(len(X)):
            (alone,) = pulled(block(), X[i : i + 1], [0], rules)
            torch.testing.assert_close(together.values[i : i + 1], alone.values, rtol=1e-12, atol=1e-12)
            for whole, part in zip(together.absorbed, alone.absorbed, strict=True):
                torch.testing.assert_close(whole.amounts[:, i : i + 1], part.amounts, rtol=1e-12, atol=1e-12)


def test_threads_that_share_a_model() -> None:
    model = Model.of(block())
    inputs = [numbers(2, 3, 8, 8, seed=seed) for seed in range(8)]
    expected = [pull_back(model, x, [Question(0)], Everywhere(rule=Booked()))[0] for x in inputs]
    got: dict[int, Any] = {}

    def explain(i: int) -> None:
        for _ in range(5):
            got[i] = pull_back(model, inputs[i], [Question(0)], Everywhere(rule=Booked()))[0]

    threads = [threading.Thread(target=explain, args=(i,)) for i in range(len(inputs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, one in enumerate(expected):
        assert torch.equal(got[i].values, one.values)
        assert [a.operation.layer for a in got[i].absorbed] == [a.operation.layer for a in one.absorbed]
        assert all(torch.equal(a.amounts, b.amounts) for a, b in zip(got[i].absorbed, one.absorbed, strict=True))


class Writes(nn.Module):
    """All threads write into one buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(1, 3, 8, 8, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.memory[:] = x * 2
        x = x.exp().cumsum(2)
        self.memory[:, 0] += x[:, 0]
        return (self.memory * x).flatten(1)


def test_threads_that_write_into_one_buffer() -> None:
    module = Writes()
    expected = [pulled(module, numbers(1, 3, 8, 8, seed=i), [mix(0)])[0].values for i in range(4)]
    wrong: list[int] = []

    def explain(i: int) -> None:
        for _ in range(10):
            got = pulled(module, numbers(1, 3, 8, 8, seed=i), [mix(0)])[0].values
            wrong.extend([] if torch.equal(got, expected[i]) else [i])

    threads = [threading.Thread(target=explain, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not module.memory.any()
    assert not vars(module.memory)


def test_the_model_is_left_as_it_was() -> None:
    module = block()
    module.head.weight.grad = torch.ones_like(module.head.weight)
    calls: list[str] = []
    module.conv1.register_forward_hook(lambda *_: calls.append("hook"))
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = snapshot(module)
    pulled(module, X, [0, 1], Everywhere(rule=Booked()))
    with pytest.raises(xaipipe.XaipipeError):
        pulled(module, X[:, :2], [0])
    assert snapshot(module) == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert module.head.weight.grad.eq(1).all()
    assert calls == ["hook"]


def snapshot(module: nn.Module) -> list[Any]:
    parts = [
        (name, part.training, list(part._forward_hooks), list(part._forward_pre_hooks), sorted(vars(part)))
        for name, part in module.named_modules()
    ]
    tensors = [
        (name, id(t), t.requires_grad, t._version, sorted(vars(t)), t.grad is None)
        for name, t in (*module.named_parameters(), *module.named_buffers())
    ]
    return [parts, tensors]


# -- compiled -----------------------------------------------------------------------------------------


def eager(graph: Any, inputs: Any) -> Any:
    return graph.forward


def compiled_root() -> nn.Module:
    return torch.compile(block(), backend=eager)  # type: ignore[return-value]


def compiled_part() -> nn.Module:
    module = block()
    module.head = torch.compile(module.head, backend=eager)  # type: ignore[assignment]
    return module


def compiled_in_place() -> nn.Module:
    module = block()
    module.compile(backend=eager)
    module.bn1.compile(backend=eager)
    return module


def compiled_function() -> nn.Module:
    module = block()
    module.forward = torch.compile(module.forward, backend=eager)  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize("make", [compiled_root, compiled_part, compiled_in_place, compiled_function])
def test_compiled_models_are_explained_as_they_were_written(make: Callable[[], nn.Module]) -> None:
    module = make()
    with torch.no_grad():
        scores = module(X)  # it has been compiled by now
    expected = pulled(block(), X, [0, 1])
    rules = Everywhere()
    got = pulled(module, X, [0, 1], rules)
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one.values, other.values)
        torch.testing.assert_close(one.selection.scores, scores[:, one.selection.targets[0]])
    assert {op.layer for op in rules.seen} == {"", "conv1", "conv2", "gate", "act", "head"}
    tapped = pulled(module, X, [0], where=xaipipe.propagation.Where(layer="head"))
    assert tapped[0].values.shape == (3, 3)


def test_threads_leave_the_switch_of_the_compiler_as_it_was() -> None:
    import torch._dynamo.eval_frame as frames

    before = frames._stance
    module = compiled_root()
    threads = [threading.Thread(target=lambda: pulled(module, X, [0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert frames._stance == before


# -- precision ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("rules", [Everywhere, gradient_with])
def test_low_precision(kind: torch.dtype, rules: Callable[[], Any]) -> None:
    module, x = block().to(kind), X.to(kind)
    (got,) = pulled(module, x, [0], rules())
    scores, gradient = plain(module, x, lambda outputs: outputs[:, 0])
    exact = plain(block(), X, lambda outputs: outputs[:, 0])[1]
    assert got.values.dtype == kind
    torch.testing.assert_close(got.selection.scores, scores)
    error = (got.values.double() - exact).norm() / exact.norm()
    assert error <= 1.5 * (gradient.double() - exact).norm() / exact.norm() + 2 * torch.finfo(kind).eps


class Autocast(nn.Module):
    """A model that sets its own precision."""

    def __init__(self) -> None:
        super().__init__()
        self.block = Block().eval()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            scores = self.block(x)
            tokens = x.flatten(1, 2)[:, :4]
            attended, _ = self.attention(tokens, tokens, tokens, need_weights=False)
            products = torch.einsum("nij,nkj->nik", attended, tokens).flatten(1)
            return torch.cat([scores.float(), products.float()], dim=1)


@pytest.mark.parametrize("outside", [True, False])
@pytest.mark.parametrize("rules", [Everywhere, gradient_with])
def test_autocast(outside: bool, rules: Callable[[], Any]) -> None:
    module, x = (Block().eval() if outside else Autocast().eval()), X.float()
    with torch.autocast("cpu", torch.bfloat16, enabled=outside):
        scores, gradient = plain(module, x, mix(0))
        several = pulled(module, x, [mix(0), mix(1)], rules())
        (got,) = pulled(module, x, [mix(0)], rules())
    assert not torch.is_autocast_enabled("cpu")
    torch.testing.assert_close(got.selection.scores.float(), scores.float(), rtol=3e-2, atol=3e-2)
    assert (got.values - gradient).norm() <= 0.03 * gradient.norm()
    assert (several[0].values - got.values).norm() <= 0.01 * gradient.norm()


# -- out of sight -------------------------------------------------------------------------------------


def as_script(part: Any) -> Any:
    """torch wants people to stop doing this, but they have such models."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning):
            warnings.filterwarnings("ignore", "`torch.jit.script`", category)
        return torch.jit.script(part)


def _scripted(x: Tensor) -> Tensor:
    return torch.relu(x) * x


scripted = as_script(_scripted)


def checkpointed(x: Tensor) -> Tensor:
    result: Tensor = checkpoint(lambda x: torch.relu(x * 2) * x, x, use_reentrant=False)
    return result


def rerun(x: Tensor) -> Tensor:
    result: Tensor = checkpoint(lambda x: torch.relu(x * 2) * x, x, use_reentrant=True)
    return result


@pytest.mark.parametrize("function", [square, scripted])
@pytest.mark.parametrize("after", [True, False])
def test_what_cannot_be_seen_is_refused_by_rules_and_differentiated_otherwise(
    function: Callable[[Tensor], Tensor], after: bool
) -> None:
    """Also where it is the last thing that the model does."""
    model = Of(lambda x: function(x * 2) * 3 if after else function(x * 2).flatten(1))
    with pytest.raises(UnknownOperatorError) as caught:
        pulled(model, X)
    said = str(caught.value)
    assert said.startswith("the model computes with operators that cannot be seen\n  got: a tensor made by ")
    assert "expected: torch's own operators: no autograd.Function, no scripted function" in said
    agrees(model, X, Everywhere(strict=False))


def test_backward_hooks_of_the_users_own_are_refused_by_rules_and_called_otherwise() -> None:
    layer = nn.Conv2d(3, 4, 3)
    model, seen = Of(lambda x, layer: layer(x).relu(), layer), list[str]()
    handle = layer.register_full_backward_hook(lambda *_: seen.append("back"))
    with pytest.raises(UnknownOperatorError, match=r"a backward hook on a layer(.|\n)*its handle's remove"):
        pulled(model, X)
    rules = Everywhere(strict=False)
    agrees(model, X, rules)
    assert "back" in seen
    handle.remove()
    agrees(model, X)


def test_scripted_models() -> None:
    model = as_script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).double().eval())
    with pytest.raises(UnknownOperatorError):
        pulled(model, X)
    agrees(model, X, Everywhere(strict=False))


def test_exported_models() -> None:
    program = torch.export.export(block(), (X,))
    expected = pulled(block(), X, [0])[0].values
    torch.testing.assert_close(pulled(program.module(), X, [0])[0].values, expected, rtol=1e-12, atol=1e-12)


def test_checkpointing_changes_nothing() -> None:
    agrees(Of(lambda x: checkpointed(x.exp()) + x), X)
    agrees(Of(lambda x: checkpointed(checkpointed(x.exp())) + x), X, gradient_with())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_checkpointing_that_runs_out_of_sight_is_refused() -> None:
    for rules in (Everywhere(), gradient_with()):
        with pytest.raises(UnknownOperatorError, match="CheckpointFunctionBackward"):
            pulled(Of(lambda x: rerun(x.exp()) + x), X, rules=rules)


# -- what is no number, no tensor, no gradient --------------------------------------------------------


def test_masks_and_integers_from_the_input() -> None:
    def masked(x: Tensor) -> Tensor:
        largest = x.flatten(2).argmax(dim=2)
        keep = (x > 0) & (x.detach().abs() < 2)
        if bool(x.mean() > 100) or len(x) == 0:
            raise AssertionError
        order = x[:, 0, 0].argsort(dim=1)
        picked = x.flatten(2).gather(2, largest[:, :, None])
        return torch.cat([(x * keep).flatten(1), picked.flatten(1), x[:, 0, 0].gather(1, order)], dim=1)

    agrees(Of(masked), X)


def test_decisions_are_made_on_what_was_written() -> None:
    def deciding(x: Tensor) -> Tensor:
        y = x * 0
        y += 1
        return x * 3 if bool((y > 0).all()) and y.detach().max().item() == 1 else x

    agrees(Of(deciding), X)


def test_detach_inside_is_respected() -> None:
    agrees(Of(lambda x: x * x.detach() + (x.round() - x).detach() + x), X)
    with pytest.raises(InputError, match="does not depend on the pixels"):
        pulled(Of(lambda x: x.detach() * 2), X)


def test_gradients_switched_off_inside() -> None:
    def partly(x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = x.abs().mean()
        return x / scale

    agrees(Of(partly), X)


class Pair(NamedTuple):
    logits: Tensor
    features: Tensor


@dataclass
class Result:
    logits: Tensor
    nothing: None = None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y: {"logits": y, "other": y * 2},
        lambda y: (y, y * 2),
        lambda y: [{"deep": (y,)}],
        lambda y: Pair(y, y * 2),
        Result,
    ],
)
def test_answers_that_hold_several_tensors(wrap: Callable[[Tensor], Any]) -> None:
    """Each stands for what the model wrote into it after it had made it, and the containers stay the model's own."""
    held: list[Any] = []

    class Holding(nn.Module):
        def forward(self, x: Tensor) -> Any:
            y = x.flatten(1) * 2
            answer = wrap(y)
            y += 1
            y.relu_()
            held.append((answer, y))
            return answer

    name = {list: "0.deep.0", tuple: "0"}.get(type(wrap(X)), "logits")
    model = Model.of(Holding(), output=name)
    (got,) = pull_back(model, X, [Question(mix(0))], Everywhere())
    scores, gradient = plain(Of(lambda x: F.relu(x * 2 + 1)), X, mix(0))
    torch.testing.assert_close(got.selection.scores, scores)
    torch.testing.assert_close(got.values, gradient)


def test_nan_inside_is_reported() -> None:
    """Where it reaches the output by the model, where it does not by the explanation's checks."""
    with pytest.raises(InputError, match="NaN or infinity"):
        xaipipe.explain(Of(lambda x: x.log()), X, "saliency", target=0)

    def hidden(x: Tensor) -> Tensor:
        bad = (x - x.detach()).sqrt() * 0
        return torch.where(x > 100, bad, x)

    with pytest.raises(xaipipe.XaipipeError, match=r"(?i)nan|finite") as caught:
        xaipipe.explain(Of(hidden), X, "saliency", target=0)
    assert "saliency" in str(caught.value)
