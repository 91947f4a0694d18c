"""Convolutions, linear layers, products with constants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xaipipe.propagation.calls import Call
from xaipipe.propagation.marks import Maker, Mark, Place, merged
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Surroundings
from xaipipe.propagation.operators.elementwise import described
from xaipipe.propagation.padded import padded_by
from xaipipe.propagation.weighted import Convolution, Form, Linear, ProductWith, Weighted
from xaipipe.propagation.weights import Weights


def _convolution(call: Call, surroundings: Surroundings) -> Described | Decomposed | None:
    weight = call.get(1, "weight")
    space = weight.ndim - 2
    if call.operands[0].ndim == space + 1:
        return _of_one_image(call)
    kernel, dilation = weight.shape[2:], _spread(call.get(5, "dilation", 1), space)
    padding = call.get(4, "padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if any(total % 2 for total in totals):
            return Decomposed(lambda: _padded_by_hand(call, totals))
        padding = [total // 2 for total in totals]
    stride, groups = _spread(call.get(3, "stride", 1), space), call.get(6, "groups", 1)
    form = Convolution(stride, _spread(padding, space), dilation, groups)
    unpadded = _without_padding(call, space)
    if unpadded is not None:
        call, pads = unpadded
        return _weighted("convolution", call, surroundings, padded_by(form, pads), out=0, groups=1)
    return _weighted("convolution", call, surroundings, form, out=0, groups=1)


def _without_padding(call: Call, space: int) -> tuple[Call, tuple[int, ...]] | None:
    """The call on what its operand was before zeros were put around it, and how many."""
    padded = call.marks[0].padded
    if padded is None or len(padded.pads) > 2 * space or min(padded.pads) < 0:
        return None
    pads = (*padded.pads, *[0] * (2 * space - len(padded.pads)))
    return replace(call, operands=(padded.tensor,), marks=(padded.mark,)), pads


def _transposed_convolution(call: Call, surroundings: Surroundings) -> Described | Decomposed | None:
    space = call.get(1, "weight").ndim - 2
    if call.operands[0].ndim == space + 1:
        return _of_one_image(call)
    stride, padding, more = (
        _spread(call.get(position, name, default), space)
        for position, name, default in ((3, "stride", 1), (4, "padding", 0), (5, "output_padding", 0))
    )
    groups, dilation = call.get(6, "groups", 1), _spread(call.get(7, "dilation", 1), space)
    form = Convolution(stride, padding, dilation, groups, transposed=True, output_padding=more)
    return _weighted("convolution", call, surroundings, form, out=1, groups=groups)


def _of_one_image(call: Call) -> Decomposed:
    """A convolution of [C, …], without the dimension of images."""
    run = call.again()
    return Decomposed(lambda: run(*(operand.unsqueeze(0) for operand in call.operands)).squeeze(0))


def _padded_by_hand(call: Call, totals: list[int]) -> Any:
    """torch pads one more behind than before where the total is odd."""
    pads = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    args = list(call.args)
    kwargs = {**call.kwargs, "padding": 0}
    if len(args) > 4:
        args[4] = kwargs.pop("padding")
    padded = F.pad(call.get(0, "input"), pads)
    if args:
        args[0] = padded
    else:
        kwargs["input"] = padded
    return call.function(*args, **kwargs)


def _linear(call: Call, surroundings: Surroundings) -> Described | Decomposed | None:
    return _weighted("linear", call, surroundings, Linear(), out=0, groups=1)


def _weighted(
    kind: str, call: Call, surroundings: Surroundings, form: Form, out: int, groups: int
) -> Described | Decomposed | None:
    if not call.depends(0, "input") or len(call.operands) != 1:
        return None
    weight, bias = call.get(1, "weight"), call.get(2, "bias")
    return weighted(kind, call, surroundings, form, Weights(weight, bias, None, out, groups))


def weighted(kind: str, call: Call, surroundings: Surroundings, form: Form, weights: Weights) -> Described:
    """A layer with these weights, its place among the others noted."""
    sources = [t for t in (weights.raw, weights.raw_bias) if t is not None]
    if all(id(source) in surroundings.own for source in sources):
        weights.cache = surroundings.cache
    (mark,) = call.marks
    (x,) = call.operands
    for place in mark.behind:
        place.last = False
    layer = Weighted(
        kind=kind,
        name=call.name,
        run=lambda x: form.forward(x, weights.raw, weights.raw_bias),
        layer=call.layer,
        nonnegative=(mark.nonnegative,),
        gates=(mark.gate,),
        form=form,
        weights=weights,
        place=Place(first=not mark.behind),
        since_input=mark.since_input,
    )
    return Described(layer, Mark(behind=frozenset((layer.place,)), maker=Maker(layer, (x,))), (x,))


def product_with_constant(call: Call, surroundings: Surroundings) -> Described | None:
    """matmul, einsum and their like with one operand that depends on the input, and one that does not."""
    constants = [
        (position, part)
        for position, part in enumerate(call.args)
        if isinstance(part, Tensor) and not call.depends(position)
    ]
    if not constants:  # einsum of one operand
        return described("average", call, merged(call.marks).passed_on(merged(call.marks).nonnegative))
    if len(constants) > 1:
        return None
    position, constant = constants[0]
    blank: list[Any] = [None if isinstance(part, Tensor) else part for part in call.args]
    own, kwargs, run = call.slots[0][0], call.kwargs, call.function

    def function(x: Tensor, weight: Tensor) -> Tensor:
        args = [weight if i == position else x if i == own else part for i, part in enumerate(blank)]
        product: Tensor = run(*args, **kwargs)
        return product

    found = weighted("linear", call, surroundings, ProductWith(function), Weights(constant, None))
    return replace(found, mark=replace(found.mark, maker=None))  # which of the constant's axes a norm scales is unknown


def _spread(value: Any, space: int) -> tuple[int, ...]:
    if isinstance(value, tuple | list | torch.Size):
        return tuple(value) if len(value) == space else tuple(value) * space
    return (value,) * space


WEIGHTED: dict[str, Describer] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _transposed_convolution),
    "linear": _linear,
}
