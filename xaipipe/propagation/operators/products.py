"""Products of two tensors that both depend on the input, and normalised exponentials."""

from __future__ import annotations

import torch

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Mark, merged
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Surroundings
from xaipipe.propagation.operators.elementwise import described
from xaipipe.propagation.operators.weighted import product_with_constant


def _product(call: Call, surroundings: Surroundings) -> Described | Decomposed | None:
    if call.name == "einsum" and isinstance(call.get(1, "operands"), tuple | list):
        return Decomposed(lambda: call.function(call.args[0], *call.get(1, "operands")))
    if len(call.operands) == 1:
        return product_with_constant(call, surroundings)
    if len(call.operands) != 2:
        return None
    mark = merged(call.marks)
    return described("matmul", call, mark.passed_on(mark.nonnegative))


def _softmax(call: Call, _: Surroundings) -> Described | None:
    (mark,) = call.marks
    probabilities = call.name == "softmax"
    dimension = call.get(1, "dim")
    if dimension is None:
        return None
    after = Mark(nonnegative=probabilities, gate=2 * probabilities, behind=mark.behind)
    return described("softmax", call, after, dimension=dimension)


def _product_and_sum(call: Call, surroundings: Surroundings) -> Decomposed:
    """addmm(a, b, c) and baddbmm: a + b @ c."""
    beta, alpha = call.kwargs.get("beta", 1), call.kwargs.get("alpha", 1)

    names = ("input", *(("mat1", "mat2") if call.name == "addmm" else ("batch1", "batch2")))
    added, first, second = (call.get(i, name) for i, name in enumerate(names))

    def run() -> object:
        product = first @ second if alpha == 1 else alpha * (first @ second)
        return product if beta == 0 else product + (added if beta == 1 else beta * added)

    return Decomposed(run)


def _cosine(call: Call, _: Surroundings) -> Decomposed:
    """Of two vectors, or of many at once."""
    first, second = call.get(0, "x1"), call.get(1, "x2")
    dim, eps = call.get(2, "dim", 1), call.get(3, "eps", 1e-8)

    def run() -> object:
        lengths = [x.norm(dim=dim).clamp_min(eps) for x in torch.broadcast_tensors(first, second)]  # type: ignore[no-untyped-call]
        return (first * second).sum(dim=dim) / lengths[0] / lengths[1]

    return Decomposed(run)


PRODUCTS: dict[str, Describer] = {
    **dict.fromkeys(("matmul", "rmatmul", "bmm", "mm", "mv", "einsum", "tensordot", "inner"), _product),
    **dict.fromkeys(("addmm", "baddbmm"), _product_and_sum),
    "cosine_similarity": _cosine,
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
}
