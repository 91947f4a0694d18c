"""Every elementwise op under vmap: a batch equals one call after another, and activations are not copied for it."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from tests.ops.definitions import Op, every_op
from tests.ops.numbers import (
    assert_all_same_bits,
    assert_same_bits,
    numbers,
    ordinary,
)


@every_op
def test_any_batch_equals_one_by_one(op: Op) -> None:
    parameters = op.parameters[0]
    for targets, batched in itertools.product(((), (2,)), itertools.product((True, False), repeat=len(op.repeated))):
        tensors = op.operands((3, 4), torch.float32, 11, targets)
        in_dims = []
        for index, batch in enumerate(batched):
            axis = index % (tensors[index].dim() + 1)
            in_dims.append(axis if batch else None)
            if batch:
                shape = (*tensors[index].shape[:axis], 5, *tensors[index].shape[axis:])
                tensors[index] = numbers(shape, torch.float32, 12 + index)
        if not any(batched):
            continue
        results = torch.func.vmap(op, in_dims=(*in_dims, *[None] * len(parameters)), out_dims=1)(*tensors, *parameters)
        for sample in range(5):
            alone = [t if d is None else t.select(d, sample) for t, d in zip(tensors, in_dims, strict=True)]
            assert_all_same_bits(tuple(result.select(1, sample) for result in results), op(*alone, *parameters))


@every_op
def test_batches_within_batches(op: Op) -> None:
    parameters = op.parameters[0]
    tensors = op.operands((3, 4), torch.float32, 13, (2, 5))
    in_dims = tuple(0 if repeated else None for repeated in op.repeated) + (None,) * len(parameters)
    results = torch.func.vmap(torch.func.vmap(op, in_dims=in_dims), in_dims=in_dims)(*tensors, *parameters)
    assert_all_same_bits(results, op.expected(*tensors, *parameters))


@every_op
def test_within_a_backward_pass_of_many_cotangents(op: Op, kernel_calls: list[tuple[Any, ...]]) -> None:
    """As a rule of propagation uses it: the cotangent is batched, what the forward pass saved is not."""
    shared = op.operands((3, 4), torch.float32, 14, draw=ordinary)[: op.repeated.count(False)]

    class Rule(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            saved = iter(shared)
            tensors = [grad if repeated else next(saved) for repeated in op.repeated]
            return op(*tensors, *op.parameters[0])[0]

    x = torch.zeros(3, 4, requires_grad=True)
    y = Rule.apply(x)
    cotangents = ordinary((6, 3, 4), torch.float32, 15)

    def back(cotangent: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, cotangent, retain_graph=True)[0]

    batched = torch.func.vmap(back)(cotangents)
    ((_, _, _, _, n, repeats, *_),) = kernel_calls
    assert (n, repeats) == (12, 6)
    assert_same_bits(batched, torch.stack([back(cotangent) for cotangent in cotangents]))
    # torch's older vmap, which knows no rules, calls the op once a cotangent.
    assert_same_bits(torch.autograd.grad(y, x, cotangents, is_grads_batched=True)[0], batched)
