"""Batch norms are folded exactly wherever they stand, and only where they may be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Everywhere, Of, agrees, mix, numbers, plain, pulled
from xaipipe.propagation import Weighted, gradient_with


def used(norm: nn.Module, seed: int = 7) -> nn.Module:
    """A norm that has seen data."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*norm.named_buffers(), *norm.named_parameters()]:
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.data = drawn + 0.5 if "var" in name else drawn * 2 - 1
    return norm


def norm(channels: int, dimensions: int = 2, **settings: object) -> nn.Module:
    kind = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dimensions]
    return used(kind(channels, **settings))  # type: ignore[arg-type]


def folded(rules: Everywhere) -> list[Weighted]:
    return [op for op in rules.seen if isinstance(op, Weighted) and op.weights.norms]


def alone(rules: Everywhere) -> list[str]:
    return [op.name for op in rules.seen if op.kind == "scale"]


FOLDED: dict[str, tuple[Callable[..., Tensor], list[nn.Module]]] = {
    "conv": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 4, 3), norm(4)]),
    "conv without bias": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 4, 3, bias=False), norm(4)]),
    "grouped": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 6, 3, groups=3, padding=1, stride=2), norm(6)]),
    "same": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 6, (2, 3), padding="same", dilation=2), norm(6)]),
    "reflected": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), norm(6)]),
    "transposed": (lambda x, c, n: n(c(x)), [nn.ConvTranspose2d(3, 4, 3), norm(4)]),
    "transposed in groups": (
        lambda x, c, n: n(c(x.repeat(1, 2, 1, 1))),
        [nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2, output_padding=1, padding=1), norm(4)],
    ),
    "one dimension": (lambda x, c, n: n(c(x.flatten(2))), [nn.Conv1d(3, 4, 3), norm(4, 1)]),
    "three dimensions": (lambda x, c, n: n(c(x[:, None])), [nn.Conv3d(1, 4, (3, 2, 2)), norm(4, 3)]),
    "linear": (lambda x, c, n: n(c(x.flatten(1))), [nn.Linear(48, 5), norm(5, 1)]),
    "without affine": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 4, 3), norm(4, affine=False)]),
    "own eps": (lambda x, c, n: n(c(x)), [nn.Conv2d(3, 4, 3), norm(4, eps=0.3)]),
    "twice": (lambda x, c, n, m: m(n(c(x))), [nn.Conv2d(3, 4, 3), norm(4), norm(4, eps=0.1)]),
    "in an in-place chain": (
        lambda x, c, n, r: r(n(c(x))).add_(1).mul_(2),
        [nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(inplace=True)],
    ),
    "by hand": (
        lambda x, c, n: torch.batch_norm(
            c(x), n.weight, n.bias, n.running_mean, n.running_var, False, 0.1, 1e-5, False
        ),
        [nn.Conv2d(3, 4, 3), norm(4)],
    ),
    "beside its own input": (lambda x, c, n: n(z := c(x)) * z + z, [nn.Conv2d(3, 4, 3), norm(4)]),
    "two norms of one": (lambda x, c, n, m: n(z := c(x)) * m(z), [nn.Conv2d(3, 4, 3), norm(4), norm(4, eps=1.0)]),
    "reused": (lambda x, c, n: n(c(n(c(x)))), [nn.Conv2d(3, 3, 3, padding=1), norm(3)]),
}
ALONE: dict[str, tuple[Callable[..., Tensor], list[nn.Module]]] = {
    "alone": (lambda x, n: n(x), [norm(3)]),
    "before a conv": (lambda x, n, c: c(n(x)), [norm(3), nn.Conv2d(3, 4, 3)]),
    "after a sum": (lambda x, c, n: n(c(x) + x), [nn.Conv2d(3, 3, 1), norm(3)]),
    "after an activation": (lambda x, c, n: n(c(x).relu()), [nn.Conv2d(3, 3, 1), norm(3)]),
    "of a view": (lambda x, c, n: n(c(x).transpose(1, 2)), [nn.Conv2d(3, 4, 1), norm(4)]),
    "of a transposed square": (lambda x, c, n: n(c(x).transpose(1, 3)), [nn.Conv2d(3, 4, 1), norm(4)]),
    "of a slice": (lambda x, c, n: n(c(x)[:, 1:]), [nn.Conv2d(3, 4, 3), norm(3)]),
    "of what was written into": (lambda x, c, n: n(c(x).add_(x)), [nn.Conv2d(3, 3, 1), norm(3)]),
    "tokens": (lambda x, c, n: n(c(x.flatten(2))), [nn.Linear(16, 3), norm(3, 1)]),
    "square tokens": (lambda x, c, n: n(c(x.flatten(2)[:, :, :3])), [nn.Linear(3, 3), norm(3, 1)]),
    "a product": (lambda x, c, n: n(x.flatten(1) @ c.weight), [nn.Linear(48, 48), norm(48, 1)]),
    "conv of one image": (
        lambda x, c, n: torch.stack([n(c(one)) for one in x]),
        [nn.Conv2d(3, 4, 1), norm(4, 1)],
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded(name: str) -> None:
    function, parts = FOLDED[name]
    rules = agrees(Of(function, *parts), numbers(2, 3, 4, 4))
    assert folded(rules)
    assert not alone(rules) or name == "in an in-place chain"
    if name == "twice":
        assert max(len(op.weights.norms) for op in folded(rules)) == 2


@pytest.mark.parametrize("name", ALONE)
def test_not_folded(name: str) -> None:
    function, parts = ALONE[name]
    rules = agrees(Of(function, *parts), numbers(2, 3, 4, 4))
    assert not folded(rules)
    assert "batch_norm" in alone(rules)


def test_folded_weights_are_those_of_one_layer() -> None:
    """The layer that rules see gives what conv and norm give together."""
    function, parts = FOLDED["transposed in groups"]
    model, x = Of(function, *parts), numbers(2, 3, 4, 4)
    rules = Everywhere()
    pulled(model, x, [mix(0)], rules)
    (op,) = folded(rules)
    together = op.forward(x.repeat(1, 2, 1, 1))
    torch.testing.assert_close(together.flatten(1), model(x), rtol=1e-12, atol=1e-12)
    by_parts = op.forward(x.repeat(1, 2, 1, 1), "positive") + op.forward(x.repeat(1, 2, 1, 1), "negative")
    torch.testing.assert_close(by_parts, together, rtol=1e-12, atol=1e-12)


def test_single_images_with_channels_last() -> None:
    """torch's own gradient of a norm is wrong here, so that the norm is written out for the comparison."""

    class Tokens(nn.Module):
        def __init__(self, by_hand: bool) -> None:
            super().__init__()
            self.norm, self.by_hand = norm(3), by_hand

        def forward(self, x: Tensor) -> Tensor:
            n, shape = self.norm, (1, -1, 1, 1)
            if self.by_hand:
                scaled = (x - n.running_mean.view(shape)) / (n.running_var + n.eps).sqrt().view(shape)
                y = scaled * n.weight.view(shape) + n.bias.view(shape)
            else:
                y = n(x)
            return (y.flatten(2).transpose(1, 2) @ numbers(3, 3)).flatten(1)

    x = numbers(1, 3, 4, 4)
    _, gradient = plain(Tokens(by_hand=True).double().eval(), x, mix(0))
    for rules in (Everywhere(), gradient_with()):
        (got,) = pulled(Tokens(by_hand=False).double().eval(), x, [mix(0)], rules)
        torch.testing.assert_close(got.values, gradient, rtol=1e-12, atol=1e-12)


NORMS: list[Callable[[Tensor], Tensor]] = [
    lambda x: F.layer_norm(x, (4, 4), numbers(4, 4), numbers(4, 4, seed=1), 0.1),
    lambda x: nn.LayerNorm(4, elementwise_affine=False)(x),
    lambda x: F.rms_norm(x, (4,), numbers(4)),
    lambda x: F.rms_norm(x, (3, 4, 4), eps=0.2),
    lambda x: F.group_norm(x.repeat(1, 2, 1, 1), 2, numbers(6), numbers(6, seed=1)),
    lambda x: F.instance_norm(x, weight=numbers(3), bias=numbers(3, seed=1), eps=0.3),
    lambda x: F.instance_norm(x, numbers(3), numbers(3, seed=1).abs(), use_input_stats=False),
    lambda x: F.normalize(x, dim=1),
    lambda x: F.normalize(x, p=1.0, dim=2),
    lambda x: F.local_response_norm(x, 2),
    lambda x: F.batch_norm(x, None, None, numbers(3), numbers(3, seed=1), training=True),
]


@pytest.mark.parametrize("i", range(len(NORMS)))
def test_norms_by_their_own_statistics(i: int) -> None:
    """Their gradient is that of the norm; what rules linearise has the same values where it was linearised."""
    x = numbers(2, 3, 4, 4)
    rules = agrees(Of(NORMS[i]), x)
    agrees(Of(NORMS[i]), x, gradient_with())
    for op in rules.seen:
        if op.linearised is not None:
            torch.testing.assert_close(op.linearised(_operand(op, x)), op.run(_operand(op, x)), rtol=1e-9, atol=1e-9)


def _operand(op: object, x: Tensor) -> Tensor:
    return x.repeat(1, 2, 1, 1) if getattr(op, "name", "") == "group_norm" else x
