"""What xaipipe.ops.stabilised_divide has besides the other elementwise ops: its values by hand, and gradients."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops.numbers import DTYPES, assert_same_bits, needs_cuda, numbers
from xaipipe.ops import stabilised_divide


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_of_either_zero_is_positive(dtype: torch.dtype) -> None:
    z = torch.tensor([0.0, -0.0, -1.0, 1.0], dtype=dtype)
    result = stabilised_divide(torch.ones(4, dtype=dtype), z, 1.0)
    assert result.tolist() == [1.0, 1.0, -0.5, 0.5]


@pytest.mark.parametrize("dtype", DTYPES)
def test_eps_zero_is_ieee_division(dtype: torch.dtype) -> None:
    relevance = torch.tensor([1.0, -1.0, 0.0, 1.0, 1.0], dtype=dtype)
    z = torch.tensor([-0.0, 0.0, 0.0, np.nan, -np.inf], dtype=dtype)
    result = stabilised_divide(relevance, z, 0.0)
    expected = torch.tensor([np.inf, -np.inf, np.nan, np.nan, -0.0], dtype=dtype)
    assert_same_bits(result, expected)


# -- gradients --


def operands(*targets: int) -> tuple[Tensor, Tensor]:
    """Away from z = 0, where the formula jumps."""
    generator = torch.Generator().manual_seed(0)
    relevance = torch.randn(*targets, 3, 4, generator=generator, dtype=torch.float64)
    z = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    return relevance.requires_grad_(), (z + z.sign()).requires_grad_()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # read by torch 2.15 itself
@pytest.mark.parametrize("targets", [(), (2,)])
def test_opcheck_with_gradients(targets: tuple[int, ...]) -> None:
    torch.library.opcheck(torch.ops.xaipipe.stabilised_divide.default, (*operands(*targets), 0.1))


@pytest.mark.parametrize("targets", [(), (2,)])
def test_gradients_and_their_gradients(targets: tuple[int, ...]) -> None:
    def divide(relevance: Tensor, z: Tensor) -> Tensor:
        return stabilised_divide(relevance, z, 0.1)

    assert torch.autograd.gradcheck(divide, operands(*targets))
    assert torch.autograd.gradgradcheck(divide, operands(*targets))


def test_gradients_where_only_one_input_needs_them() -> None:
    relevance, z = operands()
    (grad,) = torch.autograd.grad(stabilised_divide(relevance, z.detach(), 0.1).sum(), relevance)
    torch.testing.assert_close(grad, 1 / (z + 0.1 * z.sign()))
    (grad,) = torch.autograd.grad(stabilised_divide(relevance.detach(), z, 0.1).sum(), z)
    torch.testing.assert_close(grad, -relevance / (z + 0.1 * z.sign()) ** 2)


def test_many_cotangents_at_once() -> None:
    relevance, z = operands()
    out = stabilised_divide(relevance, z, 0.1)
    cotangents = torch.eye(12, dtype=torch.float64).view(12, 3, 4)
    batched = torch.autograd.grad(out, z, cotangents, is_grads_batched=True, retain_graph=True)[0]
    for cotangent, grad in zip(cotangents, batched, strict=True):
        torch.testing.assert_close(grad, torch.autograd.grad(out, z, cotangent, retain_graph=True)[0])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inductor's own, at its first import
def test_compiles_with_inductor() -> None:
    if shutil.which("g++") is None:
        pytest.skip("torch's inductor needs g++")

    def rule(relevance: Tensor, z: Tensor) -> Tensor:
        return z * stabilised_divide(relevance.relu(), z, 1e-6)

    relevance, z = numbers((6, 7), torch.float32, 9), numbers((6, 7), torch.float32, 10)
    compiled = torch.compile(rule, fullgraph=True, backend="inductor")
    torch.testing.assert_close(compiled(relevance, z), rule(relevance, z), rtol=0, atol=0, equal_nan=True)


@needs_cuda
@pytest.mark.gpu
def test_cuda_follows_the_current_stream() -> None:
    stream = torch.cuda.Stream()
    z = torch.rand(1 << 24, device="cuda") + 1
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        relevance = z * 3
        result = stabilised_divide(relevance, z, 0.0)
    stream.synchronize()
    assert_same_bits(result.cpu(), stabilised_divide(relevance.cpu(), z.cpu(), 0.0))


@needs_cuda
@pytest.mark.gpu
def test_cuda_gradients_and_layouts() -> None:
    relevance = torch.randn(2, 3, 4, 5, device="cuda").contiguous(memory_format=torch.channels_last)
    z = torch.randn_like(relevance).requires_grad_()
    result = stabilised_divide(relevance, z, 0.25)
    assert result.is_contiguous(memory_format=torch.channels_last)
    (grad,) = torch.autograd.grad(result.sum(), z)
    z_cpu = z.detach().cpu().requires_grad_()
    (expected,) = torch.autograd.grad(stabilised_divide(relevance.cpu(), z_cpu, 0.25).sum(), z_cpu)
    assert_same_bits(grad.cpu(), expected)
