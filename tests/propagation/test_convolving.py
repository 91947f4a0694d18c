"""Transposed convolutions, whatever way the library is asked in, against the definition."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from xaipipe.propagation.convolving import convolved, transposed
from xaipipe.propagation.weighted import Convolution

GEOMETRIES = [
    (kernel, stride, padding, size)
    for kernel in [(1, 1), (2, 2), (3, 3), (7, 7), (4, 5), (1, 3)]
    for stride in [(1, 1), (2, 2), (4, 4), (2, 3)]
    for padding in [(0, 0), (1, 1), (3, 3), (0, 2)]
    for size in [(16, 12), (13, 11)]
]


def by_definition(cotangents: Tensor, weight: Tensor, form: Convolution, size: tuple[int, ...]) -> Tensor:
    """Every output hands each input that it sees its cotangent, times the weight between them."""
    found = cotangents.new_zeros(
        len(cotangents), weight.shape[1], *(n + 2 * p for n, p in zip(size, form.padding, strict=True))
    )
    for at in itertools.product(*(range(n) for n in cotangents.shape[2:])):
        seen = tuple(slice(i * s, i * s + k) for i, s, k in zip(at, form.stride, weight.shape[2:], strict=True))
        found[(..., *seen)] += torch.einsum("no,oc...->nc...", cotangents[(..., *at)], weight)
    return found[(..., *(slice(p, p + n) for p, n in zip(form.padding, size, strict=True)))]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_way_is_the_same_sum(channels: int) -> None:
    torch.manual_seed(0)
    ways = 0
    for kernel, stride, padding, size in GEOMETRIES:
        form = Convolution(stride, padding, (1, 1), 1)
        weight = torch.randn(5, channels, *kernel, dtype=torch.float64)
        outputs = F.conv2d(torch.zeros(2, channels, *size, dtype=torch.float64), weight, None, stride, padding)
        cotangents = torch.randn_like(outputs)
        quick = transposed(form, cotangents, weight, torch.Size(size))
        if quick is None:
            continue
        ways += 1
        expected = by_definition(cotangents, weight, form, size)
        assert quick.is_contiguous()
        torch.testing.assert_close(quick, expected, rtol=0, atol=1e-12, msg=str((kernel, stride, padding, size)))
    assert ways > 50


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("size", [(9,), (8, 8), (11, 7), (3, 4, 5)])
def test_points_of_any_dimension(size: tuple[int, ...], images: int) -> None:
    """With few points and with many, of one image and of several."""
    torch.manual_seed(0)
    ones = (1,) * len(size)
    for stride in (ones, (2,) * len(size)):
        form = Convolution(stride, (0,) * len(size), ones, 1)
        weight = torch.randn(5, 3, *ones, dtype=torch.float64)
        cotangents = torch.randn(images, 5, *(-(-n // s) for n, s in zip(size, stride, strict=True))).double()
        quick = transposed(form, cotangents, weight, torch.Size(size))
        assert quick is not None
        torch.testing.assert_close(quick, by_definition(cotangents, weight, form, size), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "what",
    [
        {"groups": 2},
        {"transposed": True},
        {"dilation": (2, 2)},
        {"kernel": 3, "stride": (1, 1)},
        {"channels": 64},
        {"format": torch.channels_last},
        {"dtype": torch.bfloat16},
    ],
)
def test_the_library_is_asked_where_it_is_quick(what: dict[str, object]) -> None:
    kernel, channels = what.get("kernel", 4), what.get("channels", 4)
    form = Convolution(
        what.get("stride", (4, 4)), (0, 0), what.get("dilation", (1, 1)), what.get("groups", 1), "transposed" in what
    )
    dtype = what.get("dtype", torch.float32)
    weight = torch.zeros(8, channels // form.groups, kernel, kernel, dtype=dtype)
    cotangents = torch.zeros(1, 8, 5, 5, dtype=dtype).contiguous(
        memory_format=what.get("format", torch.contiguous_format)
    )
    assert transposed(form, cotangents, weight, torch.Size((20, 20))) is None


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("bias", [True, False])
def test_points_forward(stride: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 9, 8, dtype=torch.float64), torch.randn(5, 3, 1, 1, dtype=torch.float64)
    b = torch.randn(5, dtype=torch.float64) if bias else None
    quick = convolved(Convolution(stride, (0, 0), (1, 1), 1), x, weight, b)
    assert quick is not None
    assert quick.is_contiguous()
    seen = torch.einsum("oc,nchw->nohw", weight[:, :, 0, 0], x[:, :, :: stride[0], :: stride[1]])
    torch.testing.assert_close(quick, seen if b is None else seen + b[:, None, None], rtol=0, atol=1e-12)


def test_precision_and_graph_are_the_librarys() -> None:
    form, x, weight = Convolution((1, 1), (0, 0), (1, 1), 1), torch.randn(1, 3, 9, 9), torch.randn(5, 3, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert convolved(form, x, weight, None) is None
        assert transposed(form, torch.randn(1, 5, 9, 9), weight, x.shape[2:]) is None
    assert convolved(form, x.requires_grad_(), weight, None) is None
    assert convolved(form, torch.randn(3, 9, 9), weight, None) is None


def test_a_pull_for_several_targets_goes_the_quick_way() -> None:
    torch.manual_seed(0)
    form = Convolution((2, 2), (3, 3), (1, 1), 1)
    weight, x = torch.randn(4, 3, 7, 7, dtype=torch.float64), torch.zeros(2, 3, 15, 17, dtype=torch.float64)
    cotangents = torch.randn(3, 2, 4, 8, 9, dtype=torch.float64)
    for one, pulled in zip(cotangents, form.pull(cotangents, weight, x), strict=True):
        torch.testing.assert_close(pulled, by_definition(one, weight, form, (15, 17)), rtol=0, atol=1e-12)
