"""Every elementwise op against its formula in numpy, bit for bit, and what all of them promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.definitions import OPS, Op, every_op
from tests.ops.numbers import (
    DTYPES,
    LAYOUTS,
    assert_all_same_bits,
    channels_last,
    every_dtype,
    needs_cuda,
    not_aligned,
    ordinary,
    reversed_axes,
)
from xaipipe import ops
from xaipipe.ops import _library

# -- values --


@every_dtype
@every_op
def test_large_arrays_agree_with_the_formula(op: Op, dtype: torch.dtype) -> None:
    for parameters in op.parameters:
        tensors = op.operands((100_003,), dtype, 1)
        assert_all_same_bits(op(*tensors, *parameters), op.expected(*tensors, *parameters))


@settings(max_examples=400)
@given(
    op=st.sampled_from(OPS),
    choice=st.integers(0, 4),
    targets=st.sampled_from([(), (1,), (3,), (2, 3)]),
    shape=st.lists(st.integers(0, 7), max_size=4).map(tuple),
    dtype=st.sampled_from(DTYPES),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout(
    op: Op,
    choice: int,
    targets: tuple[int, ...],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layouts: tuple[Callable[[Tensor], Tensor], ...],
    seed: int,
) -> None:
    parameters = op.parameters[choice % len(op.parameters)]
    tensors = op.operands(shape, dtype, seed, targets)
    elsewhere = [layout(tensor) for layout, tensor in zip(layouts, tensors, strict=False)]
    results = op(*elsewhere, *parameters)
    assert_all_same_bits(results, op.expected(*tensors, *parameters))
    if not targets:
        first = elsewhere[op.repeated.index(True)]
        assert all(result.stride() == torch.empty_like(first).stride() for result in results)


@every_op
def test_views_that_are_negated_and_expanded(op: Op) -> None:
    tensors = [tensor.to(torch.complex64).conj().imag[:1].expand(4, 5) for tensor in op.operands((1, 5), DTYPES[0], 3)]
    assert all(tensor.is_neg() for tensor in tensors)
    assert_all_same_bits(op(*tensors, *op.parameters[0]), op.expected(*tensors, *op.parameters[0]))


@every_op
def test_nan_stays_where_it_is(op: Op) -> None:
    parameters = op.parameters[0]
    for index in range(len(op.repeated)):
        tensors = op.operands((9,), torch.float32, 4, draw=ordinary)
        clean = op(*tensors, *parameters)
        tensors[index][5] = torch.nan
        for result, before in zip(op(*tensors, *parameters), clean, strict=True):
            here = torch.arange(9) == 5
            assert torch.equal(result[~here], before[~here])
            assert not result[5].isfinite() or torch.equal(result, before)
        assert any(result[5].isnan() for result in op(*tensors, *parameters))


# -- the same bits whatever computes them --


@every_dtype
@every_op
def test_every_instruction_set_gives_the_same_bits(op: Op, dtype: torch.dtype, restore_isa: None) -> None:
    arguments = (*op.operands((33_001,), dtype, 5, (2,)), *op.parameters[0])
    expected = op.expected(*arguments)
    for isa in _library.kernels().build_info()["isas_available"]:
        _library.kernels().set_isa(isa)
        assert _library.kernels().build_info()["isa_in_use"] == isa
        assert_all_same_bits(op(*arguments), expected)


@every_op
def test_number_of_threads_does_not_matter(op: Op, restore_threads: None) -> None:
    for targets in ((), (3,)):
        arguments = (*op.operands((150_007,), torch.float32, 6, targets), *op.parameters[0])
        expected = op.expected(*arguments)
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert_all_same_bits(op(*arguments), expected)


@every_op
def test_flushing_denormals_does_not_matter(op: Op) -> None:
    tensors = [1e-38 * tensor for tensor in op.operands((100_003,), torch.float32, 7)]
    expected = op.expected(*tensors, *op.parameters[0])
    assert torch.set_flush_denormal(True)
    try:
        results = op(*tensors, *op.parameters[0])
        still_flushing = (torch.tensor([1e-30]) * 1e-10).item() == 0.0
    finally:
        torch.set_flush_denormal(False)
    assert_all_same_bits(results, expected)
    assert still_flushing


# -- memory: read where it lies, activations once --


@every_op
def test_channels_last_is_read_where_it_lies(op: Op, kernel_calls: list[tuple[Any, ...]]) -> None:
    tensors = [channels_last(tensor) for tensor in op.operands((2, 3, 4, 5), torch.float32, 8, (6,))]
    results = op(*tensors, *op.parameters[0])
    ((_, _, inputs, outputs, n, repeats, *_),) = kernel_calls
    assert inputs == [tensor.data_ptr() for tensor in tensors]
    assert outputs == [result.data_ptr() for result in results]
    assert (n, repeats) == (2 * 3 * 4 * 5, 6)
    assert all(result[0].is_contiguous(memory_format=torch.channels_last) for result in results)


@every_op
def test_targets_that_are_no_blocks_are_copied_into_blocks(op: Op) -> None:
    tensors = [reversed_axes(tensor) for tensor in op.operands((2, 3), torch.float32, 9, (4,))]
    results = op(*tensors, *op.parameters[0])
    assert_all_same_bits(results, op.expected(*tensors, *op.parameters[0]))
    shared = tensors[op.repeated.index(False)]
    assert all(result.stride() == (6, *shared.stride()) for result in results)


@every_op
def test_a_batch_of_targets_copies_no_activation(op: Op, kernel_calls: list[tuple[Any, ...]]) -> None:
    tensors = op.operands((7, 5), torch.float32, 10, (4,))
    in_dims = tuple(0 if repeated else None for repeated in op.repeated) + (None,) * len(op.parameters[0])
    torch.func.vmap(op, in_dims=in_dims)(*tensors, *op.parameters[0])
    ((_, _, inputs, _, n, repeats, *_),) = kernel_calls
    assert inputs == [tensor.data_ptr() for tensor in tensors]
    assert (n, repeats) == (35, 4)


def test_every_public_op_is_tested() -> None:
    kept = {name for name in ops.__all__ if name.endswith("_and_kept")}  # test_kept.py
    assert {op.name for op in OPS} | {"box_combine", "flat_spread"} | kept == set(ops.__all__)


# -- CUDA --


@needs_cuda
@pytest.mark.gpu
@every_dtype
@every_op
def test_cuda_gives_the_bits_of_the_cpu(op: Op, dtype: torch.dtype) -> None:
    for shape, targets in (((0,), ()), ((1,), ()), ((4096,), ()), ((4097,), ()), ((5_000_019,), ()), ((4097,), (3,))):
        for layout in (lambda x: x, not_aligned):
            for parameters in op.parameters:
                tensors = op.operands(shape, dtype, 18, targets)
                results = op(*(layout(tensor).cuda() for tensor in tensors), *parameters)
                assert all(result.is_cuda for result in results)
                assert_all_same_bits(tuple(result.cpu() for result in results), op(*tensors, *parameters))


@needs_cuda
@pytest.mark.gpu
@every_op
def test_cuda_graphs_capture_it(op: Op) -> None:
    tensors = [tensor.cuda() for tensor in op.operands((1000,), torch.float32, 19, (4,))]
    expected = op(*tensors, *op.parameters[0])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op(*tensors, *op.parameters[0])
    for result in captured:
        result.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert_all_same_bits(captured, expected)
