"""The ops that also say what they keep of each image's relevance, against numpy in float64 and the plain ops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.ops.definitions import OPS, Op
from tests.ops.numbers import (
    DTYPES,
    LAYOUTS,
    assert_all_same_bits,
    assert_same_bits,
    channels_last,
    every_dtype,
    needs_cuda,
    numbers,
    ordinary,
    reversed_axes,
)
from xaipipe import ops
from xaipipe.ops import _library

# -- what is kept of each element, in float64 from what is stored --


def of_division(relevance: Any, z: Any, s: Any, eps: float) -> Any:
    return relevance - z * s


def of_alpha_beta(
    relevance: Any, z: Any, z_plus: Any, s_plus: Any, s_minus: Any, alpha: float, beta: float, eps: float
) -> Any:
    return relevance * (alpha - beta) - (z_plus * s_plus - np.minimum(z - z_plus, 0) * s_minus)


def of_gamma(relevance: Any, z: Any, z_plus: Any, s_w: Any, s_plus: Any, gamma: float, eps: float) -> Any:
    return relevance - (z * s_w + z_plus * s_plus)


def of_residual(relevance: Any, a: Any, b: Any, r_a: Any, r_b: Any, eps: float) -> Any:
    return relevance - (r_a + r_b)


@dataclass(frozen=True)
class Keeping:
    plain: Op
    formula: Callable[..., Any]
    parameters: tuple[float, ...]

    @property
    def name(self) -> str:
        return f"{self.plain.name}_and_kept"

    def __call__(self, *arguments: Any) -> tuple[Tensor, ...]:
        results: tuple[Tensor, ...] = getattr(ops, self.name)(*arguments)
        return results

    def operands(self, shape: tuple[int, ...], dtype: torch.dtype, seed: int, *targets: int) -> list[Tensor]:
        return self.plain.operands(shape, dtype, seed, targets, draw=ordinary)

    def elements(self, *tensors: Tensor) -> np.ndarray:
        """From what went in and came out."""
        with np.errstate(all="ignore"):
            values = self.formula(*(tensor.double().numpy() for tensor in tensors), *self.parameters)
        return np.asarray(values)


PLAIN = {op.name: op for op in OPS}
KEEPING = (
    Keeping(PLAIN["stabilised_divide"], of_division, (0.25,)),
    Keeping(PLAIN["alpha_beta_shares"], of_alpha_beta, (2.0, 1.0, 0.25)),
    Keeping(PLAIN["gamma_shares"], of_gamma, (0.25, 0.25)),
    Keeping(PLAIN["residual_shares"], of_residual, (0.25,)),
)
every_op = pytest.mark.parametrize("op", KEEPING, ids=lambda op: op.name)


def assert_kept(op: Keeping, tensors: list[Tensor], results: tuple[Tensor, ...], images: int) -> None:
    """Against math.fsum, which is exact: a number goes through 64 + 8 additions and one a chunk, each half a unit of
    roundoff, so that 100 units of the sum of magnitudes are more than enough."""
    *shares, kept = results
    elements = op.elements(*tensors, *shares)
    leading = kept.shape[:-1]
    assert kept.dtype == torch.float64
    assert kept.shape == (*tensors[0].shape[: tensors[0].dim() - tensors[1].dim()], images)
    rows = elements.reshape(math.prod(leading), images, -1)
    for target, image in itertools.product(range(rows.shape[0]), range(images)):
        row = rows[target, image]
        got = kept.reshape(-1, images)[target, image].item()
        if np.isfinite(row).all():
            assert abs(got - math.fsum(row)) <= 2.0**-52 * 100 * math.fsum(abs(row))
        else:
            assert not math.isfinite(got)


def in_the_order_of_the_kernel(elements: np.ndarray) -> float:
    """csrc/common/kept.h, word for word."""
    total = 0.0
    for first in range(0, len(elements), 16384):
        chunk = elements[first : first + 16384]
        sums = np.zeros(256)
        for start in range(0, len(chunk), 256):
            row = chunk[start : start + 256]
            sums[: len(row)] += row
        while len(sums) > 1:
            sums = sums[: len(sums) // 2] + sums[len(sums) // 2 :]
        total += sums[0]
    return total


@every_dtype
@every_op
def test_kept_is_what_the_formula_says_bit_for_bit(op: Keeping, dtype: torch.dtype) -> None:
    tensors = op.operands((2, 40_001), dtype, 1, 2)
    results = op(*tensors, *op.parameters, 2)
    assert_all_same_bits(results[:-1], op.plain(*tensors, *op.parameters))
    assert_kept(op, tensors, results, 2)
    elements = op.elements(*tensors, *results[:-1])
    expected = [[in_the_order_of_the_kernel(image) for image in target] for target in elements]
    assert_same_bits(results[-1], torch.tensor(expected))


@settings(max_examples=200)
@given(
    op=st.sampled_from(KEEPING),
    targets=st.sampled_from([(), (1,), (3,), (2, 3)]),
    images=st.integers(1, 4),
    parts=st.integers(0, 3),
    shape=st.lists(st.integers(0, 6), max_size=3).map(tuple),
    dtype=st.sampled_from(DTYPES),
    layouts=st.tuples(*[st.sampled_from(LAYOUTS)] * 3),
    extreme=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_shape_and_layout(
    op: Keeping,
    targets: tuple[int, ...],
    images: int,
    parts: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layouts: tuple[Callable[[Tensor], Tensor], ...],
    extreme: bool,
    seed: int,
) -> None:
    draw = numbers if extreme else ordinary
    tensors = op.plain.operands((images * parts, *shape), dtype, seed, targets, draw=draw)
    elsewhere = [layout(tensor) for layout, tensor in zip(layouts, tensors, strict=False)]
    results = op(*elsewhere, *op.parameters, images)
    assert_all_same_bits(results[:-1], op.plain(*tensors, *op.parameters))
    assert_kept(op, tensors, results, images)


@every_op
def test_a_nan_reaches_its_own_image_only(op: Keeping) -> None:
    tensors = op.operands((3, 7), torch.float32, 2)
    clean = op(*tensors, *op.parameters, 3)[-1]
    tensors[0][1, 4] = torch.nan
    kept = op(*tensors, *op.parameters, 3)[-1]
    assert_same_bits(kept, torch.tensor([clean[0], torch.nan, clean[2]], dtype=torch.float64))


@every_op
def test_nothing_keeps_nothing(op: Keeping) -> None:
    for shape, images in (((0, 5), 2), ((4, 0), 2)):
        kept = op(*op.operands(shape, torch.float32, 3, 2), *op.parameters, images)[-1]
        assert kept.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert op(*op.operands((4, 5), torch.float32, 3, 0), *op.parameters, 2)[-1].shape == (0, 2)


def test_every_op_that_keeps_is_tested() -> None:
    assert {op.name for op in KEEPING} == {name for name in ops.__all__ if name.endswith("_and_kept")}


# -- the same bits whatever computes them --


@every_dtype
@every_op
def test_instruction_sets_threads_and_denormals_do_not_matter(
    op: Keeping, dtype: torch.dtype, restore_isa: None, restore_threads: None
) -> None:
    tensors = op.operands((2, 60_001), dtype, 4, 2)
    tensors[0] *= 1e-38
    torch.set_num_threads(1)
    expected = op(*tensors, *op.parameters, 2)
    for isa, threads in itertools.product(_library.kernels().build_info()["isas_available"], (1, 2, 3)):
        _library.kernels().set_isa(isa)
        torch.set_num_threads(threads)
        assert_all_same_bits(op(*tensors, *op.parameters, 2), expected)
    assert torch.set_flush_denormal(True)
    try:
        results = op(*tensors, *op.parameters, 2)
    finally:
        torch.set_flush_denormal(False)
    assert_all_same_bits(results, expected)


# -- memory --


@every_op
def test_channels_last_is_read_where_it_lies(op: Keeping, kernel_calls: list[tuple[Any, ...]]) -> None:
    tensors = [channels_last(tensor) for tensor in op.operands((4, 3, 4, 5), torch.float32, 5, 6)]
    results = op(*tensors, *op.parameters, 2)
    ((_, _, inputs, outputs, n, repeats, _, images, *_),) = kernel_calls
    assert inputs == [tensor.data_ptr() for tensor in tensors]
    assert outputs == [result.data_ptr() for result in results[:-1]]
    assert (n, repeats, images) == (4 * 3 * 4 * 5, 6, 2)
    assert_kept(op, tensors, results, 2)


@every_op
def test_images_that_are_not_outermost_are_copied(op: Keeping) -> None:
    tensors = [reversed_axes(tensor) for tensor in op.operands((4, 3, 5), torch.float32, 6)]
    results = op(*tensors, *op.parameters, 4)
    assert all(result.is_contiguous() for result in results)
    assert_all_same_bits(results, op(*(tensor.contiguous() for tensor in tensors), *op.parameters, 4))


# -- batches --


@every_op
def test_a_batch_of_targets_copies_no_activation(op: Keeping, kernel_calls: list[tuple[Any, ...]]) -> None:
    tensors = op.operands((4, 5), torch.float32, 7, 3)
    in_dims = tuple(0 if repeated else None for repeated in op.plain.repeated) + (None,) * (len(op.parameters) + 1)
    results = torch.func.vmap(op, in_dims=in_dims)(*tensors, *op.parameters, 2)
    ((_, _, inputs, _, n, repeats, *_),) = kernel_calls
    assert inputs == [tensor.data_ptr() for tensor in tensors]
    assert (n, repeats) == (20, 3)
    assert_all_same_bits(results, op(*tensors, *op.parameters, 2))


@every_op
def test_any_batch_equals_one_by_one(op: Keeping) -> None:
    for targets, batched in itertools.product(
        ((), (2,)), itertools.product((True, False), repeat=len(op.plain.repeated))
    ):
        if not any(batched):
            continue
        tensors = op.operands((4, 3), torch.float32, 8, *targets)
        in_dims = [
            index % (tensor.dim() + 1) if batch else None
            for index, (tensor, batch) in enumerate(zip(tensors, batched, strict=True))
        ]
        tensors = [
            tensor if axis is None else ordinary((*tensor.shape[:axis], 5, *tensor.shape[axis:]), torch.float32, axis)
            for tensor, axis in zip(tensors, in_dims, strict=True)
        ]
        results = torch.func.vmap(op, in_dims=(*in_dims, *[None] * (len(op.parameters) + 1)))(
            *tensors, *op.parameters, 2
        )
        for sample in range(5):
            alone = [t if axis is None else t.select(axis, sample) for t, axis in zip(tensors, in_dims, strict=True)]
            assert_all_same_bits(tuple(result[sample] for result in results), op(*alone, *op.parameters, 2))


@every_op
def test_images_are_checked_in_batches_too(op: Keeping) -> None:
    tensors = op.operands((3,), torch.float32, 9)
    with pytest.raises(ValueError, match=r"got images 1 and \w+ of shape \(\)"):
        torch.func.vmap(op, in_dims=(*[0] * len(tensors), *[None] * (len(op.parameters) + 1)))(
            *tensors, *op.parameters, 1
        )


# -- what torch expects, and errors --


@every_op
def test_opcheck(op: Keeping) -> None:
    registered = getattr(torch.ops.xaipipe, op.name).default
    for targets, layout in (((), reversed_axes), ((2,), channels_last)):
        tensors = [layout(tensor) for tensor in op.operands((2, 3, 4, 5), torch.float32, 10, *targets)]
        torch.library.opcheck(registered, (*tensors, *op.parameters, 2))


@every_op
def test_compiles_without_a_graph_break(op: Keeping) -> None:
    def rule(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * result for result in op(*tensors, *op.parameters, 3))

    tensors = op.operands((6, 7), torch.float32, 11, 2)
    compiled = torch.compile(rule, fullgraph=True, backend="aot_eager", dynamic=True)
    for got, expected in zip(compiled(*tensors), rule(*tensors), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0)


@every_op
def test_images_that_do_not_fit(op: Keeping) -> None:
    tensors = op.operands((4, 5), torch.float32, 12)
    for images in (0, -1, 3, 8):
        with pytest.raises(ValueError, match=rf"{op.name}: got images {images} and \w+ of shape \(4, 5\), expected 1"):
            op(*tensors, *op.parameters, images)
    with pytest.raises(ValueError, match=r"got images 1 and \w+ of shape \(\)"):
        op(*(tensor[0, 0] for tensor in tensors), *op.parameters, 1)


@every_op
def test_what_the_plain_op_refuses(op: Keeping) -> None:
    tensors = op.operands((4, 5), torch.float32, 13)
    with pytest.raises(ValueError, match=rf"{op.name}: got \w+ of shape .*, expected"):
        op(*tensors[:-1], tensors[-1][:1], *op.parameters, 2)
    with pytest.raises(ValueError, match=rf"{op.name}: got eps -1.0, expected 0"):
        op(*tensors, *op.parameters[:-1], -1.0, 2)
    with pytest.raises(TypeError, match=rf"{op.name}: got list for relevance"):
        op([1.0], *tensors[1:], *op.parameters, 2)
    with pytest.raises(RuntimeError, match=rf"{op.name}: got relevance that requires a gradient"):
        op(tensors[0].requires_grad_(), *tensors[1:], *op.parameters, 2)


# -- CUDA --


@needs_cuda
@pytest.mark.gpu
@every_dtype
@every_op
def test_cuda_gives_the_bits_of_the_cpu(op: Keeping, dtype: torch.dtype) -> None:
    for shape, images, targets in (
        ((2, 0), 2, ()),
        ((6, 11), 3, (4,)),
        ((2, 2_000_003), 2, ()),
        ((1, 40_000), 1, (3,)),
    ):
        tensors = op.operands(shape, dtype, 14, *targets)
        results = op(*(tensor.cuda() for tensor in tensors), *op.parameters, images)
        assert all(result.is_cuda for result in results)
        assert_all_same_bits(tuple(result.cpu() for result in results), op(*tensors, *op.parameters, images))


@needs_cuda
@pytest.mark.gpu
@every_op
def test_cuda_graphs_capture_it(op: Keeping) -> None:
    tensors = [tensor.cuda() for tensor in op.operands((2, 30_000), torch.float32, 15, 4)]
    expected = op(*tensors, *op.parameters, 2)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = op(*tensors, *op.parameters, 2)
    for result in captured:
        result.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert_all_same_bits(captured, expected)
