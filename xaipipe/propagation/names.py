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
    "_threshold": "threshold",
    "_softmax": "softmax",
    "special_softmax": "softmax",
    "adaptive_max_pool2d_with_indices": "adaptive_max_pool2d",
    "_max_pool2d": "max_pool2d",
    "max_pool2d_with_indices": "max_pool2d",
}
_MIRRORED = {"radd": "add", "rmul": "mul"}
"""Operators whose operands may change places."""


_ONLY_WRITES = {"fill", "requires_grad", "detach"}
"""Names that without the `_` mean something else, or nothing."""


@dataclass(frozen=True, slots=True)
class Spelling:
    name: str
    function: Callable[..., Any] | None = None
    """For an operator that writes into its first argument: what makes a new tensor of it instead, if anything does."""
    flag: int | None = None
    """The position of an argument `inplace`."""
    always_writes: bool = False

    def writes(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether such a call writes into its first argument."""
        if self.flag is None:
            return self.always_writes
        return bool(args[self.flag] if self.flag < len(args) else kwargs.get("inplace"))

    def without_writing(self, call: Call) -> Call:
        """The call that makes a new tensor instead."""
        assert self.function is not None
        if self.flag is None:
            return replace(call, function=self.function)
        if self.flag < len(call.args):
            return replace(call, args=(*call.args[: self.flag], False, *call.args[self.flag + 1 :]))
        return replace(call, kwargs={**call.kwargs, "inplace": False})


@cache
def spelling(function: Callable[..., Any]) -> Spelling:
    """How a torch function is called by everybody else."""
    own = getattr(function, "__name__", type(function).__name__)
    dunder = own.startswith("__") and own.endswith("__")
    base = own[2:-2] if dunder else own
    if dunder and base in ("setitem", "getitem", "get", "len", "iter", "bool", "contains"):
        return Spelling(base, always_writes=base == "setitem")
    if (
        dunder
        and base.startswith("i")
        and hasattr(Tensor, f"__{base[1:]}__")
        and base not in ("invert", "index", "int")
    ):
        base = _SYNONYMS.get(base[1:], base[1:])
        return Spelling(base, _writing_nothing(base), always_writes=True)
    if not dunder and base.endswith("_") and not base.endswith("__"):
        base = _SYNONYMS.get(base[:-1], base[:-1])
        return Spelling(base, _writing_nothing(base), always_writes=True)
    base = _MIRRORED.get(base, base)
    flag = _flag(function)
    return Spelling(_SYNONYMS.get(base, base), function if flag is not None else None, flag)


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
    except ValueError:  # `Tensor.__pow__` and its like wrap a builtin, which has no signature
        return None
    return names.index("inplace") if "inplace" in names else None
