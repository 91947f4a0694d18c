"""ReLUs that become one with what they read give what two operators give, and keep less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe.errors import InputError
from xaipipe.models.targets import Question
from xaipipe.models.weight_cache import WeightCache
from xaipipe.propagation import Operation, Pulled, Rule, Rules, pull_back
from xaipipe.propagation.interception import Interception
from xaipipe.propagation.outputs import Output, WayBack
from xaipipe.propagation.rules import OfAnother
from xaipipe.running.live import peak_of_tensors
from xaipipe_propagation.custom import Chosen, CompositeTable
from xaipipe_propagation.named import COMPOSITES, Settings

COMPOSITE_NAMES = [name for name in COMPOSITES if "box" not in name]


class Alone(OfAnother):
    """A rule by another, of which nothing is known that would let a ReLU become one with it."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule


@dataclass(frozen=True)
class NothingMerges:
    rules: Rules

    @property
    def strict(self) -> bool:
        return self.rules.strict

    def rule_for(self, op: Operation) -> Rule | None:
        rule = self.rules.rule_for(op)
        return None if rule is None else Alone(rule)


class Net(nn.Module):
    """Two convolutions, whatever `between` does, and a head."""

    def __init__(self, between: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.norm, self.third = nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self._between = between
        self.double().eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self._between(self, x).mean(dim=(2, 3)))


def plain(net: Net, x: Tensor) -> Tensor:
    return F.relu(net.second(F.relu(net.first(x))))


def in_place(net: Net, x: Tensor) -> Tensor:
    return F.relu(net.second(net.first(x).relu_()), inplace=True)


def with_norm(net: Net, x: Tensor) -> Tensor:
    return net.third(net.norm(net.second(net.first(x).relu())).relu_()).clamp(min=0)


def residual(net: Net, x: Tensor) -> Tensor:
    x = net.first(x).relu_()
    out = net.second(x)
    out += x
    return net.third(out.relu_()).relu_()


def residual_functional(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    return F.relu(net.third(F.relu(net.second(x) + x)))


def residual_of_two_layers(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    return F.relu(net.norm(net.second(x)) + net.third(x))


def sum_without_relu(net: Net, x: Tensor) -> Tensor:
    x = net.first(x).relu_()
    out = net.second(x)
    out += x
    return net.third(out)


def read_before(net: Net, x: Tensor) -> Tensor:
    z = net.first(x)
    early = net.second(z)
    return early + F.relu(z)


def read_before_in_place(net: Net, x: Tensor) -> Tensor:
    z = net.first(x)
    early = net.second(z)
    return net.third(z.relu_()) + early


def read_after(net: Net, x: Tensor) -> Tensor:
    z = net.first(x)
    late = net.second(F.relu(z))
    return late + net.third(z)


def read_after_in_place(net: Net, x: Tensor) -> Tensor:
    z = net.first(x)
    late = net.second(z.relu_())
    return late + net.third(z)


def summand_read_after(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    a = net.second(x)
    return F.relu(a + x) + net.third(a)


def summand_seen_elsewhere(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    a = net.second(x)
    alias = a.detach()
    a += x
    return net.third(a.relu_()) + alias.abs().max()


def view_of_summand(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    a = net.second(x)
    half = a[:, :3]
    a += x
    return torch.cat([half, a.relu_()[:, 3:]], dim=1)


def sum_read_on(net: Net, x: Tensor) -> Tensor:
    """As in residual networks whose ReLUs come first."""
    x = F.relu(net.first(x))
    total = net.second(x) + x
    return net.third(F.relu(total)) + total


def sum_read_on_in_place(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    total = net.second(x)
    total += x
    return net.third(F.relu(total)) + total


def sum_read_before(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    total = net.second(x)
    total += x
    early = net.third(total)
    return early + F.relu(total)


def sum_read_in_vain(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    total = net.second(x)
    total += x
    late = net.third(F.relu(total))
    total.mean()
    return late


def sum_over_a_sum(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    total = net.second(x) + x
    total += net.third(x)
    return F.relu(total)


def doubled(net: Net, x: Tensor) -> Tensor:
    z = net.first(x)
    z += z
    return net.second(z.relu_())


def twice(net: Net, x: Tensor) -> Tensor:
    return F.relu(net.second(F.relu(net.second(F.relu(net.first(x))))))


def pooled(net: Net, x: Tensor) -> Tensor:
    return net.second(F.max_pool2d(F.relu(net.first(x)), 2)).relu_()


def squashed(net: Net, x: Tensor) -> Tensor:
    return torch.sigmoid(F.relu(net.second(F.relu(net.first(x)))))


def squashed_later(net: Net, x: Tensor) -> Tensor:
    return torch.exp(-F.max_pool2d(F.relu(net.first(x)).flip(2), 2))


def gated(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.first(x))
    return net.second(x * torch.sigmoid(net.third(x.mean(dim=(2, 3), keepdim=True)))).relu_()


WAYS = [
    plain, in_place, with_norm, residual, residual_functional, residual_of_two_layers, sum_without_relu, read_before,
    read_before_in_place, read_after, read_after_in_place, summand_read_after, summand_seen_elsewhere, view_of_summand,
    sum_read_on, sum_read_on_in_place, sum_read_before, sum_read_in_vain, sum_over_a_sum, doubled, twice, pooled,
    squashed, squashed_later, gated,
]  # fmt: skip


def back(net: nn.Module, rules: Rules, targets: Sequence[int] = (0, 2)) -> list[Pulled]:
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    return pull_back(xaipipe.Model.of(net), x, [Question(target) for target in targets], rules, "relevance")


def composite(name: str | CompositeTable) -> Rules:
    return Chosen.of(name).composite(Settings())


def assert_same(got: list[Pulled], expected: list[Pulled]) -> None:
    for one, other in zip(got, expected, strict=True):
        scale = float(other.values.abs().max())
        torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-11 * max(scale, 1))
        kept = [sum(part.amounts for part in pulled.absorbed) for pulled in (one, other)]
        torch.testing.assert_close(kept[0], kept[1], rtol=0, atol=1e-11 * max(scale, 1))


@pytest.mark.parametrize("between", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", COMPOSITE_NAMES)
def test_one_is_as_two(name: str, between: Callable[[Net, Tensor], Tensor]) -> None:
    net = Net(between)
    assert_same(back(net, composite(name)), back(net, NothingMerges(composite(name))))


@pytest.mark.parametrize("between", WAYS, ids=lambda way: way.__name__)
def test_one_target_is_as_two(between: Callable[[Net, Tensor], Tensor]) -> None:
    net = Net(between)
    assert_same(back(net, composite("epsilon"), [1]), back(net, NothingMerges(composite("epsilon")), [1]))


@pytest.mark.parametrize("rule", ["flat", "w_square"])
def test_rules_that_give_to_zeros_get_what_a_relu_cut_off(rule: str) -> None:
    net = Net(plain)
    table = CompositeTable.parse({"base": "epsilon", "layers": [{"pattern": "second", "rule": rule}]}, "test")
    assert_same(back(net, composite(table)), back(net, NothingMerges(composite(table))))


def passes_of(monkeypatch: pytest.MonkeyPatch, net: nn.Module) -> list[bool]:
    """For every forward pass: whether it merged ReLUs."""
    seen: list[bool] = []
    begin = Interception.begin

    def noted(self: Interception, pixels: Tensor) -> None:
        seen.append(self.ruling.merges)
        begin(self, pixels)

    monkeypatch.setattr(Interception, "begin", noted)
    back(net, composite("epsilon"))
    return seen


@pytest.mark.parametrize("between", [plain, residual, pooled, gated, read_after])
def test_one_pass_is_enough_where_zeros_get_nothing(
    monkeypatch: pytest.MonkeyPatch, between: Callable[[Net, Tensor], Tensor]
) -> None:
    assert passes_of(monkeypatch, Net(between)) == [True]


@pytest.mark.parametrize("between", [squashed, squashed_later])
def test_where_zeros_may_get_something_a_second_pass_keeps_what_relus_cut_off(
    monkeypatch: pytest.MonkeyPatch, between: Callable[[Net, Tensor], Tensor]
) -> None:
    assert passes_of(monkeypatch, Net(between)) == [True, False]


def test_what_a_layer_puts_out_may_be_an_output_too() -> None:
    class TwoHeads(Net):
        def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            z = self.first(x)
            return {"early": z, "late": self.head(F.relu(z).mean(dim=(2, 3)))}

    model = xaipipe.Model.of(TwoHeads(plain), output="early")
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    questions = [Question(lambda z: z[:, 0].sum(dim=(1, 2)))]
    pulled = [
        pull_back(model, x, questions, rules, "relevance")
        for rules in (composite("epsilon"), NothingMerges(composite("epsilon")))
    ]
    assert_same(pulled[0], pulled[1])


class Residual(nn.Module):
    """Blocks as in a ResNet whose norms are folded."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.inner = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(8))
        self.outer = nn.ModuleList(nn.Conv2d(32, 32, 3, padding=1) for _ in range(8))
        self.head = nn.Linear(32, 4)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x), inplace=True)
        for inner, outer in zip(self.inner, self.outer, strict=True):
            out = outer(F.relu(inner(x), inplace=True))
            out += x
            x = F.relu(out, inplace=True)
        return self.head(x.mean(dim=(2, 3)))


def peak(run: Callable[[], object]) -> int:
    """The most bytes of tensors at once, in the second run."""
    run()
    return peak_of_tensors(run)[1]


@pytest.mark.parametrize("name", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_gamma"])
def test_relevance_takes_hardly_more_memory_than_a_gradient(name: str) -> None:
    net = Residual()
    model = replace(xaipipe.Model.of(net), weights=WeightCache())  # weights of rules are made once for all images
    x = torch.randn(2, 3, 64, 64)

    def gradient() -> Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)[0]

    relevance = peak(lambda: xaipipe.explain(model, x, "lrp", target=0, composite=name))
    assert relevance <= 1.3 * peak(gradient)


def test_an_output_that_was_written_into_is_refused() -> None:
    output, tensor = Output(WayBack()), torch.ones(3)
    output.keep(tensor)
    tensor.add_(1)
    with pytest.raises(InputError, match="behind torch's back"):
        output.take()


def test_an_output_is_let_go_of_on_the_last_way_back() -> None:
    way_back = WayBack()
    output = Output(way_back)
    output.keep(torch.ones(3))
    assert output.take().tolist() == output.take().tolist() == [1, 1, 1]
    way_back.comes_again = False
    output.take()
    with pytest.raises(AssertionError):
        output.take()
