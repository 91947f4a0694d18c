"""Sums and rectifiers are left to the convolutions where that is the same, and only there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe import Model, Question
from xaipipe.testing import images
from xaipipe_cam import fused
from xaipipe_cam.quick_forward import QuickForward

needs_operators = pytest.mark.skipif(not fused.are_there(), reason="torch has no fused convolutions here")


class Block(nn.Module):
    """Convolutions with norms, another for a way around them, and a way of putting all that together."""

    def __init__(self, together: Callable[[Block, Tensor], Tensor]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.Conv2d(6, 6, (1, 3), padding=(0, 1))
        self.around = nn.Conv2d(6, 6, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(6) for _ in range(3))
        self.head = nn.Linear(6, 4)
        self.together = together

    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.norms[0](self.one(x)))

    def second(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norms[1](self.two(x))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.together(self, F.relu(self.stem(x))).mean(dim=(2, 3)))
        return answer


def identity(net: Block, x: Tensor) -> Tensor:
    return F.relu(net.second(net.first(x)) + x)


def identity_first(net: Block, x: Tensor) -> Tensor:
    return torch.relu(torch.add(x, net.second(net.first(x))))


def in_place(net: Block, x: Tensor) -> Tensor:
    maps = net.second(net.first(x))
    same = maps
    maps += x
    maps.relu_()
    return same


def a_way_around(net: Block, x: Tensor) -> Tensor:
    maps = net.second(net.first(x))
    maps += net.norms[2](net.around(x))
    return F.relu(maps, inplace=True)


def the_way_around_first(net: Block, x: Tensor) -> Tensor:
    around = net.norms[2](net.around(x))
    return F.relu(net.second(net.first(x)) + around)


def without_norms(net: Block, x: Tensor) -> Tensor:
    return F.relu(net.two(net.one(x).relu_()) + x)


def twice(net: Block, x: Tensor) -> Tensor:
    return identity(net, identity(net, x))


def identity_read_later(net: Block, x: Tensor) -> Tensor:
    return identity(net, x) * x


def in_another_order(net: Block, x: Tensor) -> Tensor:
    return F.relu(net.second(net.first(x)) + x.contiguous())


FUSED = [
    *(identity, identity_first, in_place, a_way_around, the_way_around_first),
    *(without_norms, twice, identity_read_later, in_another_order),
]


def twice_in_two_ways(net: Block, x: Tensor) -> Tensor:
    return net.second(identity(net, x))


def sum_read_again(net: Block, x: Tensor) -> Tensor:
    total = net.second(x) + x
    return F.relu(total) - total


def norm_read_again(net: Block, x: Tensor) -> Tensor:
    maps = net.second(x)
    return F.relu(maps + x) * maps


def written_into_the_other(net: Block, x: Tensor) -> Tensor:
    around = x * 1
    around += net.second(x)
    return F.relu(around) + around


def broadcast(net: Block, x: Tensor) -> Tensor:
    return F.relu(net.second(x) + x.mean(dim=(2, 3), keepdim=True))


def scaled(net: Block, x: Tensor) -> Tensor:
    return F.relu(torch.add(net.second(x), x, alpha=2))


def to_itself(net: Block, x: Tensor) -> Tensor:
    maps = net.second(x)
    return F.relu(maps + maps)


def up_to_six(net: Block, x: Tensor) -> Tensor:
    return F.relu6(net.second(x) + x)


def seen_before_it_is_rectified(net: Block, x: Tensor) -> Tensor:
    maps = net.second(x)
    part = maps[:, :3]
    maps.relu_()
    return torch.cat([part, maps[:, 3:]], dim=1)


def padded_in_words(net: Block, x: Tensor) -> Tensor:
    return F.relu(F.conv2d(x, net.two.weight, padding="same") + x)


NOT_FUSED = [
    *(twice_in_two_ways, sum_read_again, norm_read_again, written_into_the_other, broadcast, scaled, to_itself),
    *(up_to_six, seen_before_it_is_rectified, padded_in_words),
]


def if_many(otherwise: Callable[[Block, Tensor], Tensor]) -> Callable[[Block, Tensor], Tensor]:
    """Another way for more than one image, which is not seen beforehand."""

    def together(net: Block, x: Tensor) -> Tensor:
        return identity(net, x) if len(x) == 1 else otherwise(net, x)

    together.__name__ = otherwise.__name__
    return together


def nothing_added(net: Block, x: Tensor) -> Tensor:
    return net.second(net.first(x)).relu()


def another_step(net: Block, x: Tensor) -> Tensor:
    return F.relu((net.second(net.first(x)) + x) * 2)


def another_reader(net: Block, x: Tensor) -> Tensor:
    total = net.second(net.first(x)) + x
    return F.relu(total) + total


def another_reader_of_the_norm(net: Block, x: Tensor) -> Tensor:
    maps = net.second(net.first(x))
    return F.relu(maps + x) + maps


def input_written_over(net: Block, x: Tensor) -> Tensor:
    first = net.first(x)
    maps = net.second(first)
    first.mul_(2)
    return F.relu(maps + x)


def another_reader_before(net: Block, x: Tensor) -> Tensor:
    total = net.second(net.first(x)) + x
    doubled = total * 2
    return F.relu(total) + doubled


def another_dilation(net: Block, x: Tensor) -> Tensor:
    maps = F.conv2d(x, net.one.weight, net.one.bias, padding=2, dilation=2, groups=2)
    return F.relu(net.second(F.relu(net.norms[0](maps))) + x)


def with_a_gradient(net: Block, x: Tensor) -> Tensor:
    with torch.enable_grad():
        return identity(net, x)


def of_lower_precision(net: Block, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return identity(net, x).float()


DEVIATING = [
    *(nothing_added, another_step, another_reader, another_reader_of_the_norm, input_written_over),
    *(another_reader_before, another_dilation, with_a_gradient, of_lower_precision),
]


def made(together: Callable[[Block, Tensor], Tensor]) -> Block:
    torch.manual_seed(3)
    net = Block(together).eval().requires_grad_(False)
    for norm in net.norms:
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    return net


def assert_same_answers(quick: QuickForward, net: Block, x: Tensor) -> None:
    (answer,) = quick.ask(x, [Question(2)])
    expected = net(x)
    torch.testing.assert_close(answer.outputs, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


@needs_operators
@pytest.mark.parametrize("together", FUSED)
def test_sums_are_left_to_convolutions(
    together: Callable[[Block, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = made(together), images(3)
    quick, sums = QuickForward(Model.of(net), x[:1]), []
    added = fused._added_and_rectified
    monkeypatch.setattr(fused, "_added_and_rectified", lambda *given: sums.append(1) or added(*given))
    assert_same_answers(quick, net, x)
    assert_same_answers(quick, net, x[:2])
    assert len(sums) == (4 if together is twice else 2)
    assert quick.held > 0


@pytest.mark.parametrize("together", NOT_FUSED)
def test_other_sums_are_left_alone(
    together: Callable[[Block, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = made(together), images(3)
    quick = QuickForward(Model.of(net), x[:1])
    monkeypatch.setattr(fused, "_added_and_rectified", lambda *_: pytest.fail("it was left to a convolution"))
    assert_same_answers(quick, net, x)
    assert quick.held > 0


@needs_operators
@pytest.mark.parametrize("otherwise", DEVIATING)
def test_what_a_model_does_otherwise_is_noticed(otherwise: Callable[[Block, Tensor], Tensor]) -> None:
    net, x = made(if_many(otherwise)), images(3)
    quick = QuickForward(Model.of(net), x[:1])
    assert quick.held > 0
    assert_same_answers(quick, net, x)
    assert quick.held == 0


@pytest.mark.parametrize("together", [*FUSED, *NOT_FUSED])
def test_without_the_operators_norms_are_folded(
    together: Callable[[Block, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = made(together), images(3)
    monkeypatch.setattr("xaipipe_cam.fused.are_there", lambda: False)
    quick = QuickForward(Model.of(net), x[:1])
    assert (quick.held > 0) == (together not in (without_norms, padded_in_words))
    assert_same_answers(quick, net, x)


@pytest.mark.parametrize("missing", ["_put_out", "_added_and_rectified", "_reordered"])
def test_operators_that_do_something_else_are_not_there(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, missing, lambda x, *_: torch.zeros(()))
    assert not fused.are_there.__wrapped__()


@pytest.mark.parametrize("method", ["scorecam", "ablationcam"])
@pytest.mark.parametrize("together", [a_way_around, identity_read_later])
def test_maps_are_those_of_plain_passes(
    method: str, together: Callable[[Block, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = made(together), images(2)
    got = xaipipe.explain(net, x, method, target=1, layer="norms.1", signed=True)
    monkeypatch.setattr(QuickForward, "_try_out", lambda *_: None)
    expected = xaipipe.explain(made(together), x, method, target=1, layer="norms.1", signed=True)
    torch.testing.assert_close(got.values, expected.values, rtol=1e-3, atol=1e-5)
