"""xaipipe.ops.box_combine against its formula in numpy, bit for bit, and the rule that it is part of."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d

from tests.ops.numbers import (
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
from xaipipe.ops import _library, box_combine, stabilised_divide


def expected_of(x: Tensor, g: Tensor, low: Tensor, high: Tensor) -> Tensor:
    dtype, axis = x.dtype, g.dim() - x.dim() + 1
    bound_shape = (-1,) + (1,) * (x.dim() - 2)
    low, high = (bound.to(torch.float32 if dtype == torch.bfloat16 else dtype) for bound in (low, high))
    with np.errstate(all="ignore"):
        back, plus, minus = np.split(to_numpy(g), 3, axis=axis)
        lower, upper = (to_numpy(bound).reshape(bound_shape) for bound in (low, high))
        return from_numpy(to_numpy(x) * back - lower * plus - upper * minus, dtype)


def operands(
    targets: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    seed: int,
    draw: Callable[..., Tensor] = numbers,
) -> list[Tensor]:
    channels = shape[1]
    shapes = [shape, (*targets, shape[0], 3 * channels, *shape[2:]), (channels,), (channels,)]
    return [draw(of, dtype, seed + index) for index, of in enumerate(shapes)]


@settings(max_examples=200)
@given(
    targets=st.sampled_from([(), (1,), (3,), (2, 2)]),
    shape=st.tuples(st.integers(0, 3), st.integers(0, 4)).flatmap(
        lambda first: st.lists(st.integers(0, 6), max_size=3).map(lambda rest: (*first, *rest))
    ),
    dtype=st.sampled_from(DTYPES),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 4),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout(
    targets: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layouts: tuple[Callable[[Tensor], Tensor], ...],
    seed: int,
) -> None:
    tensors = operands(targets, shape, dtype, seed)
    result = box_combine(*(layout(tensor) for layout, tensor in zip(layouts, tensors, strict=True)))
    assert_same_bits(result, expected_of(*tensors))


@pytest.mark.parametrize("layout", [as_it_is, channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_instruction_set_and_number_of_threads(
    dtype: torch.dtype, layout: Callable[[Tensor], Tensor], restore_isa: None, restore_threads: None
) -> None:
    tensors = operands((2,), (2, 3, 101, 103), dtype, 1)
    expected = expected_of(*tensors)
    elsewhere = [layout(tensor) for tensor in tensors]
    for isa in _library.kernels().build_info()["isas_available"]:
        _library.kernels().set_isa(isa)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_same_bits(box_combine(*elsewhere), expected)


def test_channels_last_is_read_where_it_lies_and_stays() -> None:
    x, g, low, high = operands((2,), (2, 3, 4, 5), torch.float32, 2)
    result = box_combine(channels_last(x), channels_last(g), low, high)
    assert all(image.is_contiguous(memory_format=torch.channels_last) for image in result)


def test_bounds_keep_their_precision_beside_bfloat16() -> None:
    x, g = torch.zeros(1, 1, 1, dtype=torch.bfloat16), torch.ones(1, 3, 1, dtype=torch.bfloat16)
    low, high = torch.tensor([-2.1171]), torch.tensor([2.125])
    assert box_combine(x, g, low, high).item() == torch.tensor(2.1171 - 2.125).bfloat16().item()


@pytest.mark.parametrize("stride", [1, 2])
def test_the_rule_conserves_and_agrees_with_its_definition(stride: int) -> None:
    """R_i = sum over j of (x_i w_ij − l_i w⁺_ij − h_i w⁻_ij) / (the sum of that over i) · R_j."""
    x = torch.rand(1, 2, 5, 5, dtype=torch.float64) * 3 - 1
    low, high = torch.tensor([-1.0, -1.5]).double(), torch.tensor([2.0, 2.5]).double()
    weights = ordinary((4, 2, 3, 3), torch.float64, 3)
    stacked = torch.cat([weights, weights.clamp(min=0), weights.clamp(max=0)], dim=1)
    bounds = torch.ones_like(x)
    pixels = torch.cat([x, -low.view(2, 1, 1) * bounds, -high.view(2, 1, 1) * bounds], dim=1)
    z = conv2d(pixels, stacked, stride=stride, padding=1)
    relevance = ordinary(tuple(z.shape), torch.float64, 4)
    s = stabilised_divide(relevance, z, 0.0)
    result = box_combine(x, conv_transpose2d(s, stacked, stride=stride, padding=1), low, high)
    torch.testing.assert_close(result.sum(), relevance.sum())
    torch.testing.assert_close(result, by_definition(x, weights, low, high, relevance, stride))


def by_definition(x: Tensor, weights: Tensor, low: Tensor, high: Tensor, relevance: Tensor, stride: int) -> Tensor:
    received = torch.zeros_like(x)
    _, outputs, rows, columns = relevance.shape
    for j, oy, ox in itertools.product(range(outputs), range(rows), range(columns)):
        parts = torch.zeros_like(x)
        for c, ky, kx in itertools.product(range(2), range(3), range(3)):
            y, at = oy * stride + ky - 1, ox * stride + kx - 1
            if 0 <= y < x.shape[2] and 0 <= at < x.shape[3]:
                w = weights[j, c, ky, kx]
                parts[0, c, y, at] = x[0, c, y, at] * w - low[c] * w.clamp(min=0) - high[c] * w.clamp(max=0)
        received += parts / parts.sum() * relevance[0, j, oy, ox]
    return received


def test_any_batch_equals_one_by_one() -> None:
    for targets, batched in itertools.product(((), (2,)), itertools.product((True, False), repeat=4)):
        if not any(batched):
            continue
        tensors = operands(targets, (2, 3, 4), torch.float32, 5)
        in_dims = []
        for index, batch in enumerate(batched):
            axis = index % (tensors[index].dim() + 1)
            in_dims.append(axis if batch else None)
            if batch:
                of = tensors[index].shape
                tensors[index] = numbers((*of[:axis], 5, *of[axis:]), torch.float32, 6 + index)
        results = torch.func.vmap(box_combine, in_dims=tuple(in_dims))(*tensors)
        for sample in range(5):
            alone = [t if d is None else t.select(d, sample) for t, d in zip(tensors, in_dims, strict=True)]
            assert_same_bits(results[sample], box_combine(*alone))


def test_a_batch_of_targets_is_one_call(kernel_calls: list[tuple[Any, ...]]) -> None:
    x, g, low, high = operands((4,), (2, 3, 5), torch.float32, 7)
    result = torch.func.vmap(box_combine, in_dims=(None, 0, None, None))(x, g, low, high)
    assert len(kernel_calls) == 1
    assert_same_bits(result, expected_of(x, g, low, high))


@pytest.mark.parametrize("dtype", DTYPES)
def test_opcheck(dtype: torch.dtype) -> None:
    for targets, layout in (((), as_it_is), ((2,), channels_last)):
        tensors = [layout(tensor) for tensor in operands(targets, (2, 3, 4, 5), dtype, 8, ordinary)]
        torch.library.opcheck(torch.ops.xaipipe.box_combine.default, tensors)


def test_compiles_without_a_graph_break() -> None:
    tensors = operands((2,), (2, 3, 4, 5), torch.float32, 9)
    compiled = torch.compile(
        lambda *all_of: 2 * box_combine(*all_of), fullgraph=True, backend="aot_eager", dynamic=True
    )
    torch.testing.assert_close(compiled(*tensors), 2 * box_combine(*tensors), rtol=0, atol=0, equal_nan=True)


X, G, BOUND = torch.ones(2, 3, 4), torch.ones(2, 9, 4), torch.ones(3)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((X[0, 0], G, BOUND, BOUND), ValueError, r"got x of shape \(4,\), expected \[N, C, ...\]"),
        ((X, X, BOUND, BOUND), ValueError, r"got g of shape \(2, 3, 4\), expected \(\*, 2, 9, 4\): three times"),
        ((X, G[0], BOUND, BOUND), ValueError, r"got g of shape \(9, 4\), expected \(\*, 2, 9, 4\)"),
        ((X, G.double(), BOUND, BOUND), TypeError, "got g of torch.float64, expected torch.float32"),
        ((X.half(), G.half(), BOUND, BOUND), TypeError, "got x of torch.float16, expected float32"),
        ((X, G, BOUND[:1], BOUND), ValueError, r"got low of shape \(1,\), .* expected \(3,\), floating point on cpu"),
        ((X, G, BOUND, BOUND.int()), ValueError, r"got high of shape \(3,\), torch.int32 on cpu"),
        ((X, G, BOUND, BOUND.to("meta")), ValueError, "got high of .* on meta"),
        ((X, G, -1.0, BOUND), TypeError, "got float for low, expected a tensor"),
    ],
)
def test_worded_errors(arguments: tuple[Any, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=f"box_combine: {words}"):
        box_combine(*arguments)


def test_gradients_are_refused_rather_than_lost() -> None:
    with pytest.raises(RuntimeError, match="box_combine: got g that requires a gradient"):
        box_combine(X, G.clone().requires_grad_(), BOUND, BOUND)


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize("layout", [as_it_is, channels_last])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_gives_the_bits_of_the_cpu(dtype: torch.dtype, layout: Callable[[Tensor], Tensor]) -> None:
    for targets, shape in (((), (1, 3, 5)), ((3,), (2, 3, 33, 31)), ((), (2, 3, 1024, 1024)), ((2,), (0, 3, 5))):
        tensors = operands(targets, shape, dtype, 10)
        result = box_combine(*(layout(tensor).cuda() for tensor in tensors))
        assert_same_bits(result.cpu(), box_combine(*tensors))
