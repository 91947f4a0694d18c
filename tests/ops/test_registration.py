"""What torch expects of an op, and what every elementwise op refuses: got, expected, what to do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from tests.ops.definitions import OPS, Op, every_op
from tests.ops.numbers import (
    channels_last,
    every_dtype,
    ordinary,
    reversed_axes,
)

# -- what torch expects of an op --


@every_dtype
@every_op
def test_opcheck(op: Op, dtype: torch.dtype) -> None:
    registered = getattr(torch.ops.xaipipe, op.name).default
    for targets, layout in (((), reversed_axes), ((2,), reversed_axes), ((2,), channels_last)):
        tensors = [layout(tensor) for tensor in op.operands((2, 3, 4, 5), dtype, 16, targets, draw=ordinary)]
        torch.library.opcheck(registered, (*tensors, *op.parameters[0]))


@every_op
def test_compiles_without_a_graph_break(op: Op) -> None:
    def rule(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(2 * result for result in op(*(tensor.relu() for tensor in tensors), *op.parameters[0]))

    tensors = op.operands((6, 7), torch.float32, 17, (3,))
    compiled = torch.compile(rule, fullgraph=True, backend="aot_eager", dynamic=True)
    for got, expected in zip(compiled(*tensors), rule(*tensors), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


# -- errors say what was got, what was expected and what to do --


@every_op
def test_tensors_that_do_not_fit(op: Op) -> None:
    parameters = op.parameters[0]
    tensors = [torch.ones(2, 3) for _ in op.repeated]
    repeated, shared = op.repeated.index(True), op.repeated.index(False)

    def with_tensor(index: int, tensor: object) -> list[object]:
        return [tensor if at == index else good for at, good in enumerate(tensors)]

    refused = [
        (with_tensor(repeated, torch.ones(3)), ValueError, r"got \w+ of shape .*, expected \(.*expand_as"),
        (with_tensor(repeated, torch.ones(3, 2)), ValueError, r"got \w+ of shape .*, expected \(.*expand_as"),
        (with_tensor(shared, torch.ones(1)), ValueError, r"got \w+ of shape .*, expected \(.*expand_as"),
        (
            with_tensor(shared, torch.ones(2, 3).double()),
            TypeError,
            r"got \w+ of torch.float\d\d, expected torch.float",
        ),
        (with_tensor(shared, torch.ones(2, 3).to("meta")), ValueError, r"got \w+ on \w+, expected \w+, .*\.to\("),
        (with_tensor(shared, torch.ones(2, 3).to_sparse()), TypeError, r"got \w+ of layout .* expected a dense tensor"),
        (with_tensor(shared, [1.0]), TypeError, r"got list for \w+, expected a tensor; .* torch.as_tensor"),
        ([tensor.half() for tensor in tensors], TypeError, r"got \w+ of torch.float16, expected float32.*\.float\(\)"),
    ]
    for broken, error, words in refused:
        with pytest.raises(error, match=f"{op.name}: {words}"):
            op(*broken, *parameters)
    with pytest.raises(ValueError, match=r"got \w+ of shape"):
        getattr(torch.ops.xaipipe, op.name)(*with_tensor(repeated, torch.ones(10**6)), *parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("stabilised_divide", (-0.1,), r"got eps -0.1, expected 0 to 3.4e\+38"),
        ("stabilised_divide", (float("nan"),), "got eps nan"),
        ("stabilised_divide", (float("inf"),), "got eps inf"),
        ("stabilised_divide", (1e39,), r"got eps 1e\+39, expected 0 to 3.4e\+38 \(torch.float32\)"),
        ("alpha_beta_shares", (float("inf"), 1.0, 0.0), r"got alpha inf, expected -3.4e\+38 to 3.4e\+38"),
        ("alpha_beta_shares", (2.0, float("nan"), 0.0), "got beta nan"),
        ("alpha_beta_shares", (2.0, 1.0, -1.0), "got eps -1.0, expected 0 to"),
        ("gamma_shares", (-0.25, 0.0), "got gamma -0.25, expected 0 to"),
        ("gamma_shares", (0.25, -1.0), "got eps -1.0"),
        ("multiply_combine", (1e39, 1.0), r"got a 1e\+39"),
        ("multiply_combine", (1.0, float("nan")), "got b nan"),
        ("residual_shares", (-1.0,), "got eps -1.0"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: tuple[float, ...], words: str) -> None:
    op = next(op for op in OPS if op.name == name)
    with pytest.raises(ValueError, match=f"{name}: {words}"):
        op(*(torch.ones(2) for _ in op.repeated), *parameters)


@pytest.mark.parametrize("op", OPS[1:], ids=lambda op: op.name)
def test_gradients_are_refused_rather_than_lost(op: Op) -> None:
    for index in range(len(op.repeated)):
        tensors = [torch.ones(2) for _ in op.repeated]
        tensors[index].requires_grad_()
        with pytest.raises(RuntimeError, match=rf"{op.name}: got \w+ that requires a gradient, .*torch.no_grad\(\)"):
            op(*tensors, *op.parameters[0])
        with torch.no_grad():
            assert not any(result.requires_grad for result in op(*tensors, *op.parameters[0]))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")  # which torch itself uses for it
@every_op
def test_forward_mode_is_refused_rather_than_taken_for_zero(op: Op) -> None:
    tensors = [torch.ones(3) for _ in op.repeated]
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="expected reverse mode"):
        op(forward_ad.make_dual(tensors[0], tensors[0]), *tensors[1:], *op.parameters[0])
