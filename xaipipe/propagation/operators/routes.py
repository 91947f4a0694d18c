"""Operators that move values and change none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.nn.functional as F

from xaipipe.propagation.calls import Call, slots_of
from xaipipe.propagation.marks import Padded, merged
from xaipipe.propagation.operators.described import Decomposed, Described, Describer, Route, Surroundings
from xaipipe.propagation.operators.elementwise import described

_MOVES = (
    *("clone", "contiguous", "alias", "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "permute"),
    *("transpose", "t", "adjoint", "movedim", "expand", "expand_as", "view_as", "reshape_as", "repeat", "tile"),
    *(
        "repeat_interleave",
        "broadcast_to",
        "getitem",
        "T",
        "mT",
        "H",
        "mH",
        "real",
        "data",
        "select",
        "narrow",
        "index_select",
        "gather",
    ),
    *("take_along_dim", "chunk", "split", "split_with_sizes", "tensor_split", "unbind"),
    *("flip", "fliplr", "flipud", "roll", "rot90", "to", "type", "type_as", "float", "half"),
    *("bfloat16", "double", "cpu", "cuda", "masked_select", "tril", "triu", "diagonal"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle", "unfold", "unsafe_chunk"),
    *("unsafe_split", "sort", "topk", "detach", "requires_grad", "positive", "zero", "swapaxes", "hsplit", "vsplit"),
    *("dsplit", "ravel", "atleast_1d", "atleast_2d", "atleast_3d", "rename", "feature_dropout", "msort"),
    *("view_as_real", "_unsafe_view", "slice", "lift_fresh", "resolve_conj", "resolve_neg", "broadcast_tensors"),
)
_PUTS = (
    *("setitem", "copy", "fill", "index_put", "index_copy", "index_fill", "scatter", "select_scatter"),
    *("slice_scatter", "diagonal_scatter", "masked_scatter"),
)


def _moves(call: Call, _: Surroundings) -> Route:
    return Route()


def _puts(call: Call, _: Surroundings) -> Route | None:
    """Other values in some places."""
    if call.name == "index_put" and call.get(3, "accumulate", False):  # added to what is there
        return None
    return Route(nonnegative=None if len(call.operands) > 1 and not call.constants else False)


def _joins(call: Call, _: Surroundings) -> Described | Route:
    """What depends on the input beside what does not: a class token, say, or the fill of a mask."""
    strangers = len(slots_of(call.args, call.kwargs)) > len(call.operands)
    if call.name == "masked_fill" or (call.name == "where" and len(call.operands) < 2):
        strangers = True
    elif call.name == "where":
        strangers = False
    mark = merged(call.marks)
    nonnegative = mark.nonnegative and not strangers
    return described("join", call, mark.passed_on(nonnegative, mark.gate)) if strangers else Route()


def _pads(call: Call, _: Surroundings) -> Described | Route:
    """Zeros, or another constant, around the input: nobody contributed what arrives at them."""
    x, pads = call.operands[0], call.get(1, "pad")
    value = call.get(3, "value") or 0
    nonnegative = call.marks[0].nonnegative and value >= 0
    if call.get(2, "mode", "constant") != "constant":
        return Route(nonnegative)
    mark = call.marks[0].passed_on(nonnegative, call.marks[0].gate)
    if value == 0:
        mark = replace(mark, padded=Padded(x, tuple(pads), call.marks[0]))
    return described("join", call, mark)


def _unpools(call: Call, _: Surroundings) -> Described | None:
    """Values at the places that they once came from, zeros at all others."""
    if len(call.operands) != 1:
        return None
    (mark,) = call.marks
    return described("join", call, mark.passed_on(mark.nonnegative, mark.gate))


def _windows(call: Call, _: Surroundings) -> Route | Decomposed:
    """F.unfold; the zeros that it puts around the input are put there by an operator of their own."""
    padding = call.get(3, "padding", 0)
    rows, columns = padding if isinstance(padding, tuple | list) else (padding, padding)
    if not rows and not columns:
        return Route()

    def run() -> Any:
        padded = F.pad(call.get(0, "input"), (columns, columns, rows, rows))
        return F.unfold(padded, call.get(1, "kernel_size"), call.get(2, "dilation", 1), 0, call.get(4, "stride", 1))

    return Decomposed(run, parts=("join",))


def _drops(call: Call, _: Surroundings) -> Route | None:
    """Dropout in evaluation; otherwise it is no function of its input."""
    return None if call.get(2, "training", True) and call.get(1, "p", 0.5) else Route()


ROUTES: dict[str, Describer] = {
    **dict.fromkeys(_MOVES, _moves),
    **dict.fromkeys(_PUTS, _puts),
    **dict.fromkeys(("cat", "stack", "hstack", "vstack", "dstack", "column_stack", "where", "masked_fill"), _joins),
    "pad": _pads,
    "im2col": _windows,
    **dict.fromkeys(("max_unpool1d", "max_unpool2d", "max_unpool3d"), _unpools),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"), _drops
    ),
}
