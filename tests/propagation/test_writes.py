"""Models that write into tensors: every name of the memory sees it, and nobody's memory is really written into."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Booked, Everywhere, Of, agrees, mix, numbers, plain, pulled
from xaipipe import InputError
from xaipipe.propagation import Where
from xaipipe.propagation.unknown import UnknownOperatorError

Case = Callable[[Tensor], Tensor]


def slice_add(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :2] += 1
    return y * y


def slice_add_of_itself(x: Tensor) -> Tensor:
    y = x * 2
    y[:, :2] += y[:, 1:]
    y[..., 0] *= y[..., 1]
    return y * y


def put(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0] = (x * x)[:, 1]
    y[:, 1, 2:] = 3.0
    return y * x


def put_by_mask(x: Tensor) -> Tensor:
    y = x * 2
    y[x > 0] = 0.5
    y[torch.arange(len(x)), 1] = x[:, 2]
    return y * x


def view_then_relu(x: Tensor) -> Tensor:
    y = x * 2
    y.view(len(x), -1).relu_()
    return y * x


def name_of_a_view(x: Tensor) -> Tensor:
    y = x * 2
    v = y.view(len(x), -1)
    v.relu_()
    return y * x + v.view_as(x)


def base_then_view(x: Tensor) -> Tensor:
    """The base is written into, then its view, and both are used."""
    y = x * 2
    v = y[:, :2]
    y.mul_(x)
    v.add_(1)
    return y * x + F.pad(v, (0, 0, 0, 0, 0, 1))


def alias_of_the_result(x: Tensor) -> Tensor:
    """What an in-place operator returns is the same memory again."""
    y = x * 2
    v = y.flatten(1)
    w = v.relu_()
    w.add_(1)
    y.sub_(0.5)
    return y * x + v.view_as(x) * w.view_as(x)


def two_views(x: Tensor) -> Tensor:
    y = x * 2
    a, b = y[:, :2], y[:, 1:]
    a.mul_(3)
    b.relu_()
    a.add_(b.clone())
    return y * y


def view_of_a_view(x: Tensor) -> Tensor:
    y = x * 2
    v = y.permute(0, 2, 3, 1)
    w = v[:, 1:]
    w[..., 0].exp_()
    return (y * v.permute(0, 3, 1, 2)).flatten(1) + F.pad(w.flatten(1), (0, 12))


def chunks(x: Tensor) -> Tensor:
    """torch has no gradient for this; the values are those of the slices."""
    y = x * 2
    for part in (y[:, :1], y[:, 1:2], y[:, 2:]):
        part.relu_()
    return y * x


def transposed_add(x: Tensor) -> Tensor:
    y = x[:, 0] * 2
    y.mT.add_(torch.arange(4.0, dtype=x.dtype))
    y.transpose(1, 2).mul_(x[:, 1])
    return y * y


def channels_last(x: Tensor) -> Tensor:
    y = (x * 2).contiguous(memory_format=torch.channels_last)
    tokens = y.permute(0, 2, 3, 1).view(len(x), -1, 3)
    y.mul_(x)
    tokens[:, 0] += 1
    y.add_(x.contiguous())
    return y.permute(0, 2, 3, 1).view(len(x), -1, 3) * tokens


def fill_and_zero(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0].zero_()
    y[:, 1].fill_(2.0)
    y[:, 2].copy_(x[:, 0] * x[:, 1])
    return y * y


def allocated(x: Tensor) -> Tensor:
    """Written into memory of its own, part by part, and through views of it."""
    out = x.new_zeros(x.shape)
    view = out[:, 2]
    out[:, 0] = x[:, 1] * 2
    out[:, 1].copy_(x[:, 0])
    view.add_(x[:, 2] * x[:, 2])
    out.view(len(x), -1)[:, :4] += x[:, 0, 0]
    return out * out


def allocated_in_other_words(x: Tensor) -> Tensor:
    first = torch.cat([x[:, 1, :1] * 2 + x[:, 0, :1], x[:, 1, 1:] * 2], dim=1)
    return torch.stack([first, x[:, 0], x[:, 2] ** 2], dim=1) ** 2


def many_writes(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(40):
        out += x * i
    return out * x


def index_writes(x: Tensor) -> Tensor:
    y = x * 2
    y.index_fill_(1, torch.tensor([0]), 1.0)
    y.index_add_(1, torch.tensor([1]), x[:, :1])
    y.scatter_(2, torch.zeros(len(x), 3, 1, 4, dtype=torch.long), x[:, :, :1])
    y.masked_fill_(x > 1, 0.0)
    return y * x


def inplace_relu_chain(x: Tensor) -> Tensor:
    y = x * 2
    z = F.relu(y, inplace=True)
    z += x
    y *= 2
    return F.relu_(z) * y


def into_the_input(x: Tensor) -> Tensor:
    x -= 0.5
    x[:, 0] *= 2
    return x * x


def detached_mask(x: Tensor) -> Tensor:
    """`detach` shows memory: after a write it shows what was written."""
    y = x * 2
    shown = y.detach()
    y.relu_()
    return y * x + shown * x


def under_no_grad(x: Tensor) -> Tensor:
    """torch's gradient knows nothing of such a write."""
    y = x * x
    with torch.no_grad():
        y.mul_(2)
        y[:, 0] = 1
        y[:, 1].add_(3)
    return y * x


def by_detached(x: Tensor) -> Tensor:
    y = x * x
    y.detach().add_(1)
    y.data[:, 0] = 2
    return y + x


def comparison(x: Tensor) -> Tensor:
    y = x * 2
    y.gt_(0)
    return y * x


def two_views_in_other_words(x: Tensor) -> Tensor:
    relu = torch.relu
    first, second, third = 6 * x[:, 0], relu(6 * x[:, 1]), relu(2 * x[:, 2])
    return torch.stack([first + second, second + third, third], dim=1) ** 2


WRITES: list[Case] = [
    slice_add, slice_add_of_itself, put, put_by_mask, view_then_relu, name_of_a_view, base_then_view, transposed_add,
    alias_of_the_result, view_of_a_view, chunks, channels_last, fill_and_zero, many_writes, index_writes,
    inplace_relu_chain, into_the_input, under_no_grad, comparison,
]  # fmt: skip


@pytest.mark.parametrize("write", WRITES, ids=lambda case: case.__name__)
@pytest.mark.parametrize("strict", [True, False])
def test_writes(write: Case, strict: bool) -> None:
    known = index_writes is not write  # index_add has no rule
    agrees(Of(write), numbers(2, 3, 4, 4), Everywhere(strict and known))


@pytest.mark.parametrize("write", [detached_mask, by_detached], ids=lambda case: case.__name__)
def test_what_is_shown_by_detach(write: Case) -> None:
    agrees(Of(write), numbers(2, 3, 4, 4))


@pytest.mark.parametrize("strict", [True, False])
def test_views_that_torch_loses(strict: bool) -> None:
    """Made before their memory was written into, or of memory that another one shows as well."""
    same_as(allocated, allocated_in_other_words, Everywhere(strict))
    same_as(two_views, two_views_in_other_words, Everywhere(strict))


def same_as(function: Case, other: Case, rules: Everywhere) -> None:
    """The same scores and gradients as another function's."""
    x = numbers(2, 3, 4, 4)
    for targets in ([mix(0)], [mix(0), mix(1)]):
        for target, got in zip(targets, pulled(Of(function), x, targets, rules), strict=True):
            scores, gradient = plain(Of(other), x, target)
            torch.testing.assert_close(got.selection.scores, scores, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(got.values, gradient, rtol=1e-12, atol=1e-12)


def test_chunks_can_be_written_into() -> None:
    """torch refuses the gradient here, though models that only predict do it."""

    def by_chunks(x: Tensor) -> Tensor:
        y = x * 2
        for part in y.chunk(3, dim=1):
            part.relu_()
        for part in y.unbind(1):
            part.add_(1)
        return y * x

    def by_slices(x: Tensor) -> Tensor:
        return (F.relu(x * 2) + 1) * x

    same_as(by_chunks, by_slices, Everywhere())


class Remembers(nn.Module):
    """Writes what depends on the input into its own buffer, and through a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(2, 3, 4, 4, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.row = self.memory[:, 2]

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.memory[:, :2] = x[:, 1:] * 2
        self.row.copy_(x[:, 0])
        return (self.memory * x).flatten(1)


def test_a_model_that_keeps_what_it_saw() -> None:
    """Its memory stays as it was; what it counts without looking at the pixels is counted, as in any other pass."""
    x = numbers(2, 3, 4, 4)
    model = Remembers()
    (got,) = pulled(model, x, [mix(0)])
    assert not model.memory.any()
    assert not model.memory.requires_grad
    assert model.count == 1
    assert not [name for t in (model.memory, model.row, model.count) for name in vars(t)]
    _, gradient = plain(Of(lambda x: torch.cat([x[:, 1:] * 2, x[:, :1]], dim=1) * x), x, mix(0))
    torch.testing.assert_close(got.values, gradient)


def test_writes_that_change_a_shape_are_refused() -> None:
    for name in ("unsqueeze_(0)", "squeeze_()", "t_()", "transpose_(0, 1)", "swapaxes_(1, 2)", "resize_(2, 3)"):
        code = compile(f"(x * 2)[:, :, 0, 0].{name}", "model", "eval")
        with pytest.raises(UnknownOperatorError) as caught:
            pulled(Of(lambda x, code=code: eval(code)), numbers(2, 3, 4, 4))
        assert str(caught.value).startswith("the model changes the shape of a tensor in place\n  got: ")
        assert "(without the underscore) returns" in str(caught.value)


def test_writes_that_torch_refuses_are_refused() -> None:
    def broadcast(x: Tensor) -> Tensor:
        return x.mean(dim=1, keepdim=True).add_(x)

    with pytest.raises(InputError, match="doesn't match the broadcast shape"):
        pulled(Of(broadcast), numbers(2, 3, 4, 4))


class Square(torch.autograd.Function):
    """Out of sight of everybody."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor) -> Tensor:
        return arriving[0] * 2 * ctx.saved_tensors[0]


def square(x: Tensor) -> Tensor:
    squared: Tensor = Square.apply(x)  # type: ignore[no-untyped-call]
    return squared


def stale_name(x: Tensor) -> Tensor:
    y = x * 2
    y.relu_()
    return square(y) + x


def stale_view(x: Tensor) -> Tensor:
    y = x * 2
    v = y[:, :2]
    y.relu_()
    return square(v) + x[:, 1:]


def stale_constant(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, 0] = x[:, 1]
    return square(out) + x


def stale_base(x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    out[:, 0].add_(x[:, 1])
    return square(out) + x


def stale_twice(x: Tensor) -> Tensor:
    y = x * 2
    y.relu_()
    return square(square(y)) + x


@pytest.mark.parametrize(
    "stale", [stale_name, stale_view, stale_constant, stale_base, stale_twice], ids=lambda case: case.__name__
)
def test_memory_that_is_read_out_of_sight_after_a_write(stale: Case) -> None:
    """An `autograd.Function` is not seen, and would get the memory as it was before."""
    with pytest.raises(UnknownOperatorError) as caught:
        pulled(Of(stale), numbers(2, 3, 4, 4), rules=Everywhere(strict=False))
    assert str(caught.value) == (
        "the model writes into a tensor in place, and then hands it to operators that cannot be seen\n"
        "  got: a tensor made by SquareBackward\n  where: the model's own forward\n"
        "  next: hand on what the writing operator returns, or a clone"
    )


@pytest.mark.parametrize(
    "fresh",
    [
        lambda x: square((x * 2).relu_()),
        lambda x: square(F.relu(x * 2, inplace=True)) + square(x),
        lambda x: square((x * 2).chunk(3, dim=1)[0]) + (x * 2).chunk(3, dim=1)[1].relu(),
    ],
)
def test_memory_that_is_read_out_of_sight_as_it_is(fresh: Case) -> None:
    agrees(Of(fresh), numbers(2, 3, 4, 4), Everywhere(strict=False))


def test_a_constant_that_a_rule_looked_at_may_not_change() -> None:
    def counting(x: Tensor) -> Tensor:
        factor = torch.ones(3, 4, 4, dtype=x.dtype)
        for _ in range(3):
            x = x * factor
            factor += 1
        return x

    with pytest.raises(InputError) as caught:
        pulled(Of(counting), numbers(2, 3, 4, 4))
    assert str(caught.value) == (
        "the model changed a tensor in place that it had computed with before\n  got: (3, 4, 4), an argument of mul\n"
        "  where: the model's own forward\n"
        "  next: make a new one (a = a + 1 in the place of a += 1), or compute with a clone"
    )


def test_a_constant_that_no_rule_looked_at_may() -> None:
    def counting(x: Tensor) -> Tensor:
        offset = torch.ones(3, 4, 4, dtype=x.dtype)
        for _ in range(3):
            x = x * (offset + 1)
            offset += 1
        return x

    agrees(Of(counting), numbers(2, 3, 4, 4))


def test_nothing_is_kept_alive_by_a_pass() -> None:
    """Neither by cycles nor by what is handed back: after it the model's tensors are gone."""
    alive: list[weakref.ref[Tensor]] = []

    def noted(x: Tensor, layer: nn.Module) -> Tensor:
        y = layer(x)
        z = F.relu(y, inplace=True)
        z[:, 0] += 1
        v = z.view(len(z), -1)
        alive.extend(map(weakref.ref, (x, y, z, v)))
        return v * v

    model = Of(noted, nn.Conv2d(3, 3, 1))
    gc.collect()
    gc.disable()
    try:
        got = pulled(model, numbers(2, 3, 4, 4), [mix(0), mix(1)], Everywhere(rule=Booked()), Where(layer="parts.0"))
        assert len(got) == 2
        assert len(got[0].absorbed) > 2
        assert [reference() for reference in alive] == [None] * 4
    finally:
        gc.enable()
