"""However an operator is spelt, it gets the rule of its kind, and the rule's answer is where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.propagation.everywhere import Everywhere, Of, agrees, numbers

aten = torch.ops.aten
C = numbers(3, 4, 4, seed=5)
"""A constant."""
GRID = numbers(2, 3, 5, 2, seed=6).tanh()
"""Places to sample."""


def written(change: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """What a tensor is after it was written into; the input of the network stays as it is."""

    def run(x: Tensor) -> Tensor:
        x = x * 1.5
        change(x)
        return x

    return run


def iadd(x: Tensor) -> None:
    x += C


def isub(x: Tensor) -> None:
    x -= x * 0.5


def imul(x: Tensor) -> None:
    x *= C


def idiv(x: Tensor) -> None:
    x /= 3


def ipow(x: Tensor) -> None:
    x **= 2


def put(x: Tensor) -> None:
    x[:, :2] = x[:, 1:] * 2


SPELLINGS: dict[str, list[Callable[[Tensor], Any]]] = {
    "sum": [
        lambda x: x + C,
        lambda x: C + x,
        lambda x: 1.0 + x,
        lambda x: x + x * 2,
        lambda x: x.add(C),
        lambda x: x.add(x, alpha=2),
        lambda x: torch.add(C, x, alpha=3),
        lambda x: torch.add(input=x, other=x * 2),
        lambda x: aten.add(x, x),
        lambda x: aten.add.Tensor(x, C),
        lambda x: x - C,
        lambda x: C - x,
        lambda x: 1 - x,
        lambda x: x.sub(x * 3),
        lambda x: torch.sub(C, x, alpha=2),
        lambda x: torch.subtract(x, C),
        lambda x: torch.rsub(x, C),
        lambda x: x.subtract(1),
        lambda x: x + x.mean(dim=(2, 3), keepdim=True),
        written(iadd),
        written(isub),
        written(lambda x: x.add_(C)),
        written(lambda x: x.add_(x, alpha=2)),
        written(lambda x: x.sub_(1)),
        written(lambda x: aten.add_(x, C)),
    ],
    "scale": [
        lambda x: x * C,
        lambda x: C * x,
        lambda x: 2 * x,
        lambda x: x.mul(C),
        lambda x: torch.multiply(x, C),
        lambda x: torch.mul(input=x, other=2.0),
        lambda x: torch.mul(C, other=x),
        lambda x: x / 3,
        lambda x: x.div(C),
        lambda x: torch.true_divide(x, 2),
        lambda x: -x,
        lambda x: x.neg(),
        lambda x: torch.negative(x),
        lambda x: torch.addcmul(x, C, C, value=2) * 2,
        written(imul),
        written(idiv),
        written(lambda x: x.mul_(2)),
        written(lambda x: x.div_(C)),
        written(lambda x: x.neg_()),
    ],
    "product": [
        lambda x: x * x,
        lambda x: x * x.sigmoid(),
        lambda x: x.mul(x.mean(dim=1, keepdim=True)),
        lambda x: x / (x.abs() + 1),
        lambda x: torch.div(x, x.exp()),
        lambda x: torch.addcmul(x, x, x + 1, value=0.5),
        lambda x: torch.addcmul(input=x, tensor1=x, tensor2=x, value=0.5),
        lambda x: x.addcdiv(x, x.exp()),
        lambda x: F.glu(torch.cat([x, x * 2], dim=1), dim=1),
        lambda x: torch.lerp(x, x * 3, 0.25) * x,
        lambda x: torch.lerp(x, end=x.exp(), weight=x),
        written(lambda x: x.mul_(x.clone())),
    ],
    "activation": [
        lambda x: F.relu(x),
        lambda x: torch.relu(x),
        lambda x: x.relu(),
        lambda x: aten.relu(x),
        lambda x: aten.relu.default(x),
        lambda x: F.relu(x * 1, inplace=True),
        lambda x: F.relu(x * 1, True),
        lambda x: F.relu_(x * 1),
        lambda x: torch.relu_(x * 1),
        lambda x: x.clamp(min=0),
        lambda x: x.clip(-1, 1),
        lambda x: torch.clamp_min(x, 0),
        lambda x: torch.maximum(x, torch.zeros_like(x)),
        lambda x: F.leaky_relu(x, 0.2),
        lambda x: F.leaky_relu_(x * 1, 0.2),
        lambda x: F.elu(x * 1, 1.0, True),
        lambda x: F.gelu(x),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: F.silu(x),
        lambda x: F.mish(x),
        lambda x: F.hardswish(x),
        lambda x: F.hardtanh(x, -1, 1),
        lambda x: F.relu6(x),
        lambda x: F.prelu(x, torch.full((3,), 0.2, dtype=x.dtype)),
        lambda x: F.softplus(x),
        lambda x: F.threshold(x, 0.1, 0.0),
        lambda x: torch.sigmoid(x),
        lambda x: x.sigmoid(),
        lambda x: torch.special.expit(x),
        lambda x: x.tanh(),
        lambda x: x**2,
        lambda x: torch.pow(x, 3),
        lambda x: 2**x,
        lambda x: 1 / (x + 9),
        lambda x: (x + 9).reciprocal(),
        lambda x: x.abs().sqrt(),
        lambda x: torch.absolute(x),
        lambda x: x.exp(),
        lambda x: x.square(),
        lambda x: (x + 9).log(),
        lambda x: torch.nan_to_num(x),
        written(ipow),
        written(lambda x: x.relu_()),
        written(lambda x: F.relu(x, inplace=True)),
        written(lambda x: x.clamp_(min=0)),
        written(lambda x: x.clip_(0, 1)),
        written(lambda x: x.sigmoid_()),
        written(lambda x: x.abs_()),
        written(lambda x: aten.relu_(x)),
        written(lambda x: x.exp_()),
    ],
    "average": [
        lambda x: x.mean(dim=(2, 3)),
        lambda x: torch.mean(x, 1),
        lambda x: x.sum(dim=1),
        lambda x: torch.sum(x, dim=(1, 2)),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: torch.nn.functional.avg_pool2d(x, kernel_size=2, stride=1),
        lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda x: F.adaptive_avg_pool2d(x, (1, None)),
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, size=(6, 6), mode="bilinear"),
        lambda x: F.interpolate(x, None, 2, "bicubic"),
        lambda x: F.grid_sample(x, GRID, align_corners=False),
        lambda x: F.grid_sample(x, grid=GRID, mode="bicubic", padding_mode="border", align_corners=True),
        lambda x: F.lp_pool2d(x, 2, 2, stride=1),
        lambda x: F.lp_pool2d(x.exp(), 1.5, kernel_size=(1, 3), ceil_mode=True),
        lambda x: F.lp_pool1d(x.flatten(2), 2, 3),
        lambda x: x.cumsum(dim=2),
        lambda x: torch.einsum("nchw->nc", x),
        lambda x: torch.einsum("nchw->nc", [x]),
    ],
    "logsumexp": [
        lambda x: torch.logsumexp(x, (2, 3)),
        lambda x: x.logsumexp(1, keepdim=True),
        lambda x: torch.special.logsumexp(x - 1000, dim=-1),
    ],
    "max": [
        lambda x: F.max_pool2d(x, 2),
        lambda x: torch.max_pool2d(x, 2),
        lambda x: F.adaptive_max_pool2d(x, 2),
        lambda x: x.amax(dim=(2, 3)),
        lambda x: torch.amin(x, dim=1),
        lambda x: torch.maximum(x, x * 2),
        lambda x: torch.max(x, x.flip(1)),
        lambda x: aten.maximum(x, x * x),
    ],
    "matmul": [
        lambda x: x @ x.transpose(2, 3),
        lambda x: torch.matmul(x, x.mT),
        lambda x: torch.matmul(x, other=x.mT),
        lambda x: x.flatten(0, 1).bmm(x.flatten(0, 1).mT).reshape(len(x), -1),
        lambda x: torch.einsum("nchw,ndhw->ncd", x, x),
        lambda x: torch.einsum("nchw,ndhw->ncd", [x, x * 2]),
        lambda x: torch.einsum("nchw,ndhw->ncd", (x, x)),
        lambda x: torch.stack([one.flatten(1).mm(one.flatten(1).T) for one in x]),
        lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2], alpha=2),
        lambda x: torch.baddbmm(x[:, 0], batch1=x[:, 1], batch2=x[:, 2], beta=0),
    ],
    "linear": [
        lambda x: x @ C[0],
        lambda x: C[0] @ x,
        lambda x: torch.matmul(C, x),
        lambda x: torch.einsum("nchw,chw->nc", x, C),
        lambda x: torch.einsum("chw,nchw->nhw", C, x),
        lambda x: torch.einsum("nchw,chw->nc", [x, C]),
        lambda x: torch.tensordot(x, C, dims=([2, 3], [1, 2])),
        lambda x: F.linear(x, C[0], C[1, 0]),
        lambda x: F.linear(input=x, weight=C[0], bias=None),
        lambda x: torch.matmul(x, other=C[0]),
        lambda x: torch.matmul(input=C[0], other=x),
        lambda x: x.flatten(0, 1).bmm(mat2=C[:1].expand(6, 4, 4)),
        lambda x: torch.tensordot(a=x, b=C[0], dims=1),
        lambda x: torch.addmm(C[0, 0], x.flatten(0, 2), C[1]).reshape(len(x), -1),
        lambda x: torch.stack([one.mv(C[0, 0]) for one in x[:, 0]]),
        lambda x: aten.linear(x, C[0]),
    ],
    "softmax": [
        lambda x: x.softmax(dim=1),
        lambda x: torch.softmax(x, -1),
        lambda x: F.softmax(x, dim=2),
        lambda x: F.log_softmax(x, 1),
        lambda x: torch.log_softmax(x, dim=1),
        lambda x: aten._softmax(x, 1, False),
    ],
    "statistic": [
        lambda x: x.flatten(2).norm(dim=2),
        lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
        lambda x: x.std(dim=(2, 3)),
        lambda x: x.flatten(2).var(2),
    ],
    "join": [
        lambda x: torch.cat([x, C.expand_as(x)], dim=1),
        lambda x: torch.cat((C.expand_as(x), x), 2),
        lambda x: torch.stack([x, C.expand_as(x)], dim=1),
        lambda x: torch.where(C > 0, x, 0.0),
        lambda x: x.masked_fill(C > 0, -1.0),
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
    ],
}
MOVES: list[Callable[[Tensor], Any]] = [
    lambda x: torch.cat([x, x * 2], dim=1),
    lambda x: torch.concat((x, x), 1),
    lambda x: torch.where(C > 0, x, x * 2),
    lambda x: torch.cat(x.chunk(3, dim=1)[::-1], dim=1),
    lambda x: torch.cat(x.split([1, 2], dim=1)[::-1], 1),
    lambda x: torch.stack(x.unbind(1)[::-1], 1),
    lambda x: torch.stack(torch.unbind(x, 2), 3),
    lambda x: x[:, [2, 0]],
    lambda x: x[..., 1],
    lambda x: x[:, C[:, 0, 0] > 0],
    lambda x: x.view(len(x), -1),
    lambda x: x.permute(0, 2, 3, 1).reshape(len(x), -1, 3),
    lambda x: x.swapaxes(1, 2),
    lambda x: torch.movedim(x, 1, -1),
    lambda x: torch.moveaxis(x, 1, -1),
    lambda x: x.flatten(2).mT,
    lambda x: x[:, 0].transpose(1, 2),
    lambda x: x.unsqueeze(1).expand(-1, 2, -1, -1, -1),
    lambda x: x.repeat(1, 2, 1, 1),
    lambda x: x.repeat_interleave(2, 1),
    lambda x: x.narrow(1, 1, 2),
    lambda x: x.select(1, 1),
    lambda x: x.index_select(1, torch.tensor([1, 1])),
    lambda x: x.gather(2, x.argmax(dim=2, keepdim=True)),
    lambda x: x.max(dim=2).values,
    lambda x: torch.max(x, 1)[0],
    lambda x: x.topk(2, dim=2)[0],
    lambda x: x.sort(dim=3)[0],
    lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    lambda x: x.flip(2),
    lambda x: x.roll(1, 2),
    lambda x: F.pad(x, (1, 1, 1, 1)),
    lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    lambda x: F.pixel_shuffle(x.repeat_interleave(4, 1), 2),
    lambda x: F.pixel_unshuffle(x, 2),
    lambda x: F.channel_shuffle(x.repeat(1, 2, 1, 1), 2),
    lambda x: F.unfold(x, 3),
    lambda x: F.unfold(x, (2, 3), dilation=(1, 2), padding=(0, 2), stride=(2, 1)),
    lambda x: F.unfold(input=x, kernel_size=2, padding=1),
    lambda x: aten.im2col(x, [2, 2], [1, 1], [1, 1], [1, 1]),
    lambda x: x.unfold(2, 2, 1),
    lambda x: x.to(torch.float64, copy=True),
    lambda x: x.tril(),
    lambda x: x.diagonal(dim1=2, dim2=3),
    lambda x: F.dropout(x, 0.5, training=False) * 1,
    lambda x: x.contiguous(memory_format=torch.channels_last).clone(),
    lambda x: x.scatter(1, torch.zeros(len(x), 1, 4, 4, dtype=torch.long), x[:, 2:]),
    written(put),
]
CASES = [(kind, i) for kind, functions in SPELLINGS.items() for i in range(len(functions))]


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_spelling(kind: str, i: int) -> None:
    """The same gradient as torch's, and the operator was seen as what it is."""
    rules = agrees(Of(SPELLINGS[kind][i]), numbers(2, 3, 4, 4))
    assert kind in rules.kinds


@pytest.mark.parametrize("i", range(len(MOVES)))
def test_what_only_moves_values_needs_no_rule(i: int) -> None:
    agrees(Of(MOVES[i]), numbers(2, 3, 4, 4))


RELUS = [
    F.relu,
    torch.relu,
    Tensor.relu,
    nn.ReLU(),
    lambda x: F.relu(x * 1, inplace=True),
    lambda x: torch.relu_(x * 1),
    lambda x: nn.ReLU(True)(x * 1),
]


@pytest.mark.parametrize("relu", RELUS)
def test_every_relu_is_one_activation(relu: Callable[[Tensor], Tensor]) -> None:
    rules = Everywhere()
    agrees(Of(relu), numbers(2, 3, 4, 4), rules)
    assert [op.name for op in rules.seen if op.kind == "activation"] == ["relu"] * 4  # three times alone, once together
