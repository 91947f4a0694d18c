"""Batch norms are folded where that is the same, and only there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import xaipipe
from xaipipe import Model, Question
from xaipipe.testing import images
from xaipipe_cam.quick_forward import QuickForward


class Norms(nn.Module):
    """A convolution, its norm, and a way of putting both together."""

    def __init__(self, together: Callable[[Norms, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3), nn.BatchNorm2d(6)
        self.other = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)
        self.together = together

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(self.together(self, x).relu_().mean(dim=(2, 3)))
        return answer


def in_turn(net: Norms, x: Tensor) -> Tensor:
    maps: Tensor = net.norm(net.conv(x))
    return maps


def as_functions(net: Norms, x: Tensor) -> Tensor:
    maps = F.conv2d(x, bias=None, weight=net.conv.weight, groups=3)
    return F.batch_norm(maps, net.norm.running_mean, net.norm.running_var, eps=0.1)


def twice(net: Norms, x: Tensor) -> Tensor:
    return in_turn(net, x) + in_turn(net, x.flip(3))


def read_before_the_norm(net: Norms, x: Tensor) -> Tensor:
    maps = net.conv(x)
    answer: Tensor = net.norm(maps) + maps
    return answer


def with_two_norms(net: Norms, x: Tensor) -> Tensor:
    return in_turn(net, x) + net.other(net.conv(x.flip(3)))


def by_the_batch(net: Norms, x: Tensor) -> Tensor:
    return F.batch_norm(net.conv(x), None, None, training=True)


def with_new_weights(net: Norms, x: Tensor) -> Tensor:
    maps: Tensor = net.norm(F.conv2d(x, net.conv.weight * 2, groups=3))
    return maps


def for_many(net: Norms, x: Tensor) -> Tensor:
    """Another way for more than one image, which is not seen beforehand."""
    return in_turn(net, x) if len(x) == 1 else net.conv(x)


def for_many_in_between(net: Norms, x: Tensor) -> Tensor:
    maps = net.conv(x)
    return net.norm(maps if len(x) == 1 else maps * 2)


FOLDED = [in_turn, as_functions, twice]
NOT_FOLDED = [read_before_the_norm, with_two_norms, by_the_batch, with_new_weights]
DEVIATING = [for_many, for_many_in_between]


def made(together: Callable[[Norms, Tensor], Tensor]) -> Norms:
    torch.manual_seed(3)
    net = Norms(together).double().eval()
    for norm in (net.norm, net.other):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return net


@pytest.mark.parametrize("together", [*FOLDED, *NOT_FOLDED, *DEVIATING])
def test_the_answer_is_the_models(together: Callable[[Norms, Tensor], Tensor]) -> None:
    net, x = made(together), images(3).double()
    quick = QuickForward(Model.of(net), x[:1])
    assert (quick.held > 0) == (together not in NOT_FOLDED)
    (answer,) = quick.ask(x, [Question(2)])
    torch.testing.assert_close(answer.scores, net(x)[:, 2].detach(), rtol=1e-12, atol=1e-12)
    assert (quick.held > 0) == (together in FOLDED)


def test_what_is_folded_is_not_normalised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = QuickForward(Model.of(made(in_turn)), images(1).double())
    monkeypatch.setattr(torch, "batch_norm", lambda *_: pytest.fail("the norm was run"))
    quick.ask(images(2).double(), [Question(1)])


def test_what_somebody_keeps_has_the_values_that_it_should() -> None:
    """What a question asks of a layer, by a hook, is answered as by a plain pass."""
    net, x, kept = made(in_turn), images(3).double(), {}
    layer = next(part for part in net.modules() if isinstance(part, nn.Conv2d))
    layer.register_forward_hook(lambda module, given, output: kept.update(output=output))
    quick = QuickForward(Model.of(net), x[:1])
    (answer,) = quick.ask(x, [Question(lambda outputs: kept["output"][:, 1].mean(dim=(1, 2)))])
    torch.testing.assert_close(answer.scores, layer(x)[:, 1].mean(dim=(1, 2)).detach())


@pytest.mark.parametrize("name", ["running_mean", "weight"])
def test_a_norm_that_the_model_adapts_is_left_alone(name: str) -> None:
    def adapted(net: Norms, x: Tensor) -> Tensor:
        getattr(net.norm, name).data.copy_(x.mean() + torch.arange(len(net.norm.weight)))
        return in_turn(net, x)

    net, x = made(adapted), images(3).double()
    quick = QuickForward(Model.of(net), x[:1])
    (answer,) = quick.ask(x[1:2], [Question(2)])
    torch.testing.assert_close(answer.scores, net(x[1:2])[:, 2].detach())


def test_norms_under_autocast_are_left_alone() -> None:
    def lower(net: Norms, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return in_turn(net, x).float()

    assert QuickForward(Model.of(made(lower).float()), images(1)).held == 0


def test_scorecam_with_norms_is_that_of_the_same_network_without() -> None:
    net, x = made(in_turn), images(2).double()
    plain = made(in_turn)
    plain.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(plain.conv, plain.norm)
    plain.norm = nn.Identity()  # type: ignore[assignment]
    got, expected = (xaipipe.explain(one, x, "scorecam", target=1, layer="norm") for one in (net, plain))
    torch.testing.assert_close(got.values, expected.values, rtol=1e-9, atol=1e-12)
