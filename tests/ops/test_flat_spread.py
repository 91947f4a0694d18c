"""xaipipe.ops.flat_spread against sums taken one by one in numpy, bit for bit, and what the rule promises."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from tests.ops.numbers import (
    COMPUTED_IN,
    DTYPES,
    LAYOUTS,
    as_it_is,
    assert_same_bits,
    channels_last,
    from_numpy,
    needs_cuda,
    numbers,
    ordinary,
    to_numpy,
)
from xaipipe.ops import _library, flat_spread


def expected_of(
    relevance: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int, int],
) -> Tensor:
    """csrc/lrp/flat_spread.h's four lines, an addition at a time."""
    kind = COMPUTED_IN[relevance.dtype]

    def cell(axis: int, output: int, k: int) -> int | None:
        at = output * stride[axis] - padding[axis] + k * dilation[axis]
        return at if 0 <= at < size[axis + 1] else None

    def inside(axis: int, output: int) -> int:
        return sum(cell(axis, output, k) is not None for k in range(kernel[axis]))

    values = to_numpy(relevance)
    leading, (channels, rows, columns) = values.shape[:-3], values.shape[-3:]
    with np.errstate(all="ignore"):
        share = np.zeros((*leading, rows, columns), kind)
        for channel in range(channels):
            share = share + values[..., channel, :, :]
        across = np.zeros((*leading, rows, size[2]), kind)
        out = np.zeros((*leading, 1, *size[1:]), kind)
        for oy, ox in itertools.product(range(rows), range(columns)):
            among = inside(0, oy) * inside(1, ox) * size[0]
            share[..., oy, ox] = share[..., oy, ox] / kind(among) if among else 0
        for kx, ox in itertools.product(range(kernel[1]), range(columns)):
            if (x := cell(1, ox, kx)) is not None:
                across[..., x] += share[..., ox]
        for ky, oy in itertools.product(range(kernel[0]), range(rows)):
            if (y := cell(0, oy, ky)) is not None:
                out[..., 0, y, :] += across[..., oy, :]
    return from_numpy(out, relevance.dtype)


def rows_out(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


AXIS = st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))


@settings(max_examples=200)
@given(
    rows=AXIS,
    columns=AXIS,
    leading=st.sampled_from([(), (2,), (3, 2)]),
    channels=st.integers(0, 5),
    input_channels=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES),
    draw=st.sampled_from([numbers, ordinary]),
    layout=st.sampled_from(LAYOUTS),
    seed=st.integers(0, 2**31),
)
def test_any_geometry_and_layout(
    rows: tuple[int, ...],
    columns: tuple[int, ...],
    leading: tuple[int, ...],
    channels: int,
    input_channels: int,
    dtype: torch.dtype,
    draw: Callable[..., Tensor],
    layout: Callable[[Tensor], Tensor],
    seed: int,
) -> None:
    outputs = rows_out(*rows), rows_out(*columns)
    assume(min(outputs) >= 0)
    geometry = [(one, other) for one, other in zip(rows[1:], columns[1:], strict=True)]
    size = (input_channels, rows[0], columns[0])
    relevance = draw((*leading, channels, *outputs), dtype, seed)
    result = flat_spread(layout(relevance), *geometry, size)
    assert_same_bits(result, expected_of(relevance, *geometry, size))


@pytest.mark.parametrize("layout", [as_it_is, channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set_and_number_of_threads(
    dtype: torch.dtype, layout: Callable[[Tensor], Tensor], restore_isa: None, restore_threads: None
) -> None:
    relevance = ordinary((2, 33, 20, 75), dtype, 1)
    geometry = ((3, 5), (1, 2), (1, 2), (1, 1), (3, 20, 150))
    expected = expected_of(relevance, *geometry)
    for isa in _library.kernels().build_info()["isas_available"]:
        _library.kernels().set_isa(isa)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_same_bits(flat_spread(layout(relevance), *geometry), expected)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(3, 1, 1, 1), (7, 2, 3, 1), (3, 2, 0, 2), ((1, 3), (2, 1), (0, 1), 1)]
)
def test_relevance_is_conserved_over_cells_and_channels(kernel: Any, stride: Any, padding: Any, dilation: Any) -> None:
    x = torch.zeros(2, 3, 17, 19, dtype=torch.float64)
    shape = (kernel, kernel) if isinstance(kernel, int) else kernel
    y = conv2d(x, torch.zeros(4, 3, *shape, dtype=torch.float64), None, stride, padding, dilation)
    relevance = ordinary(tuple(y.shape), torch.float64, 2)
    result = flat_spread(relevance, kernel, stride, padding, dilation, (3, 17, 19))
    torch.testing.assert_close(result.expand(2, 3, 17, 19).sum((1, 2, 3)), relevance.sum((1, 2, 3)))


def test_padding_as_torch_calls_it_same() -> None:
    """An even kernel adds an odd number of rows, and the larger half of them comes after the image."""
    relevance = ordinary((1, 3, 6, 7), torch.float32, 3)
    result = flat_spread(relevance, (4, 2), 1, (1, 0), 1, (2, 6, 7))
    torch.testing.assert_close(result.expand(1, 2, 6, 7).sum(), relevance.sum())


def test_windows_within_the_padding_keep_what_they_have() -> None:
    relevance = torch.ones(1, 1, 4)
    result = flat_spread(relevance, (1, 1), 1, (0, 1), 1, (1, 1, 2))
    assert result.tolist() == [[[1.0, 1.0]]]


def test_any_batch_equals_one_by_one() -> None:
    relevance = ordinary((2, 3, 4, 5, 6), torch.float32, 4)
    geometry = ((3, 3), (1, 1), (1, 1), (1, 1), (3, 5, 6))
    for axis in range(2):
        batched = torch.func.vmap(lambda one: flat_spread(one, *geometry), in_dims=axis)(relevance)
        alone = torch.stack([flat_spread(relevance.select(axis, i), *geometry) for i in range(relevance.shape[axis])])
        assert_same_bits(batched, alone)


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype) -> None:
    relevance = ordinary((2, 3, 4, 5), dtype, 5)
    arguments = ([3, 3], [1, 1], [1, 1], [1, 1], [2, 4, 5])
    for layout in (as_it_is, channels_last):
        torch.library.opcheck(torch.ops.xaipipe.flat_spread.default, (layout(relevance), *arguments))


def test_compiles_without_a_graph_break() -> None:
    def rule(relevance: Tensor) -> Tensor:
        return 2 * flat_spread(relevance, 3, 1, 1, 1, (2, *relevance.shape[-2:]))

    relevance = ordinary((2, 3, 4, 5), torch.float32, 6)
    compiled = torch.compile(rule, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_same_bits(compiled(relevance), rule(relevance))


R = torch.ones(1, 2, 4, 4)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((R[0, 0], 3, 1, 1, 1, (3, 4, 4)), ValueError, r"got relevance of shape \(4, 4\), expected \(\*, C, H, W\)"),
        (
            (R, 3, 1, 0, 1, (3, 4, 4)),
            ValueError,
            "got relevance with 4 rows, expected 2: what a convolution makes of 4",
        ),
        ((R, 3, 1, (1, 0), 1, (3, 4, 4)), ValueError, "got relevance with 4 columns, expected 2"),
        ((R, 0, 1, 1, 1, (3, 4, 4)), ValueError, "got kernel 0, expected whole numbers of 1 or more"),
        ((R, (3,), 1, 1, 1, (3, 4, 4)), ValueError, r"got kernel \(3,\), expected 2 whole numbers"),
        ((R, 3, 1, "same", 1, (3, 4, 4)), ValueError, "got padding 'same', expected 2 whole numbers"),
        ((R, 3, (1, 0), 1, 1, (3, 4, 4)), ValueError, r"got stride \(1, 0\), expected whole numbers of 1 or more"),
        ((R, 3, 1, 1, 1, (4, 4)), ValueError, r"got size \(4, 4\), expected 3 whole numbers"),
        ((R, 3, 1, 1, 1, (0, 4, 4)), ValueError, r"got size \(0, 4, 4\), expected \(C, H, W\) of the input"),
        ((R.half(), 3, 1, 1, 1, (3, 4, 4)), TypeError, "got relevance of torch.float16"),
        (([1.0], 3, 1, 1, 1, (3, 4, 4)), TypeError, "got list for relevance"),
    ],
)
def test_worded_errors(arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"flat_spread: {words}"):
        flat_spread(*arguments)


def test_gradients_are_refused_rather_than_lost() -> None:
    with pytest.raises(RuntimeError, match="flat_spread: got relevance that requires a gradient"):
        flat_spread(R.clone().requires_grad_(), 3, 1, 1, 1, (3, 4, 4))


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("layout", [as_it_is, channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_gives_the_bits_of_the_cpu(dtype: torch.dtype, layout: Callable[[Tensor], Tensor]) -> None:
    for shape, geometry in (
        ((2, 64, 112, 112), (7, 2, 3, 1, (3, 224, 224))),
        ((1, 5, 9, 9), (3, 1, 2, 2, (1, 9, 9))),
        ((0, 5, 9, 9), (3, 1, 1, 1, (1, 9, 9))),
    ):
        relevance = ordinary(shape, dtype, 7)
        result = flat_spread(layout(relevance).cuda(), *geometry)
        assert_same_bits(result.cpu(), flat_spread(relevance, *geometry))
