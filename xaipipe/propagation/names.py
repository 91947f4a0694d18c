"""One name for the ways in which an operator can be spelt: `a + b`, `a += b`, `torch.add`, `Tensor.add_`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from xaipipe.propagation.calls import Call

_SYNONYMS = {
    "truediv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "clip": "clamp",
    "rtruediv": "rdiv",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "_softmax": "softmax",
    "special_softmax": "softmax",
    "special_log_softmax": "log_softmax",
    "special_logsumexp": "logsumexp",
    "_log_softmax": "log_softmax",
    "special_expit": "sigmoid",
    "adaptive_max_pool2d_with_indices": "adaptive_max_pool2d",
    "_threshold": "threshold",
    "_max_pool2d": "max_pool2d",
    "max_pool2d_with_indices": "max_pool2d",
}
_OTHERWISE = {torch.nn.functional.unfold: "im2col"}
"""Functions that share their name with a method of tensors which does something else."""
_MIRRORED = {"radd": "add", "rmul": "mul"}
"""Operators whose operands may change places."""
_ONLY_WRITES = {"fill", "zero", "copy", "requires_grad", "detach", "normal", "bernoulli"}
"""Names that without the `_` mean something else, or nothing."""
_OF_TENSORS = {"T", "mT", "H", "mH", "real", "imag", "data"}
"""Attributes of a tensor that are tensors, and depend on the input as it does."""
_ABOUT = frozenset(
    {
        *("size", "dim", "stride", "is_contiguous", "numel", "nelement", "ndimension", "len", "data_ptr", "get_device"),
        *("element_size", "is_floating_point", "is_complex", "storage_offset", "has_names", "untyped_storage", "hash"),
        *("is_same_size", "register_hook", "retain_grad", "attribute"),
    }
)
"""Questions about a tensor that have nothing to do with its values."""
_LEADING = {
    **dict.fromkeys(("add", "sub", "rsub", "mul", "div", "maximum", "minimum", "max", "min"), ("input", "other")),
    **dict.fromkeys(("matmul", "inner"), ("input", "other")),
    **dict.fromkeys(("mm", "bmm"), ("input", "mat2")),
    "mv": ("input", "vec"),
    "pow": ("input", "exponent"),
    "tensordot": ("a", "b"),
    "where": ("condition", "input", "other"),
}
"""Names of the first arguments, where there is more than an `input` that an operator may be about."""
RESHAPING = frozenset(
    {"squeeze", "unsqueeze", "t", "transpose", "resize", "resize_as", "as_strided", "set", "swap_tensors"}
)
"""Operators that, with a `_`, give a tensor another shape under the same name."""


@dataclass(frozen=True, slots=True)
class Spelling:
    name: str
    function: Callable[..., Any] | None = None
    """For an operator that writes into its first argument: what makes a new tensor of it instead, if anything does."""
    flag: int | None = None
    """The position of an argument `inplace`."""
    always_writes: bool = False

    @property
    def is_about(self) -> bool:
        return self.name in _ABOUT

    def in_order(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The same arguments, the first of them by position, however they were given."""
        ordered, named = list(args), dict(kwargs)
        for name in _LEADING.get(self.name, ("input",))[len(args) :]:
            if name not in named:
                break
            ordered.append(named.pop(name))
        return tuple(ordered), named

    def writes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether such a call writes into its first argument."""
        if self.flag is None:
            return self.always_writes
        return bool(args[self.flag] if self.flag < len(args) else kwargs.get("inplace"))

    def without_writing(self, call: Call) -> Call:
        """The call that makes a new tensor instead."""
        assert self.function is not None
        if self.flag is None:
            return replace(call, overwrites=True, function=self.function)
        if self.flag < len(call.args):
            args = (*call.args[: self.flag], False, *call.args[self.flag + 1 :])
            return replace(call, overwrites=True, args=args)
        return replace(call, overwrites=True, kwargs={**call.kwargs, "inplace": False})


@cache
def spelling(function: Callable[..., Any]) -> Spelling:
    """How a torch function is called by everybody else."""
    own = _OTHERWISE.get(function) or _own_name(function)
    dunder = own.startswith("__") and own.endswith("__")
    base = own[2:-2] if dunder else own
    if dunder and base == "get":
        return Spelling(_attribute(function))
    if dunder and base in ("setitem", "getitem", "len", "iter", "bool", "contains"):
        return Spelling(base, always_writes=base == "setitem")
    if (
        dunder
        and base not in ("invert", "index", "int")
        and base.startswith("i")
        and hasattr(Tensor, f"__{base[1:]}__")
    ):
        return _writing(_SYNONYMS.get(base[1:], base[1:]))
    if not dunder and base.endswith("_"):
        return _writing(_SYNONYMS.get(base[:-1], base[:-1]))
    base = _MIRRORED.get(base, base)
    flag = _flag(function)
    return Spelling(_SYNONYMS.get(base, base), function if flag is not None else None, flag)


def _own_name(function: Callable[..., Any]) -> str:
    """Of torch's own operators the bare name; of other libraries' with their namespace: `torchvision::nms`."""
    if isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        packet = function.overloadpacket if isinstance(function, torch._ops.OpOverload) else function
        namespace, _, name = packet._qualified_op_name.partition("::")
        return name if namespace == "aten" else f"{namespace}::{name}"
    return str(getattr(function, "__name__", type(function).__name__))


def _attribute(getter: Any) -> str:
    name = getattr(getattr(getter, "__self__", None), "__name__", "")
    return name if name in _OF_TENSORS else "attribute"


def _writing(name: str) -> Spelling:
    return Spelling(name, _writing_nothing(name), always_writes=True)


def _writing_nothing(name: str) -> Callable[..., Any] | None:
    if name in _ONLY_WRITES:
        return None
    found = getattr(Tensor, name, None) or getattr(torch, name, None) or getattr(torch.nn.functional, name, None)
    return found if callable(found) else None


def _flag(function: Callable[..., Any]) -> int | None:
    if not isinstance(function, FunctionType):  # torch's builtins spell it with a `_`
        return None
    try:
        names = list(inspect.signature(function).parameters)
    except ValueError:  # it wraps a builtin
        return None
    return names.index("inplace") if "inplace" in names else None
