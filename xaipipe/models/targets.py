"""Which of a model's outputs is explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, WithJsonSchema
from torch import Tensor

from xaipipe.errors import InputError, UsageError, did_you_mean


def _parse(value: Any) -> Any:
    if isinstance(value, bool) or not (isinstance(value, Integral | str) or callable(value)):
        raise ValueError("a class index, a label, 'predicted', or a callable from outputs to scores")
    if isinstance(value, Integral):  # numpy's integers too
        return int(value)
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    return value


Target = Annotated[
    int | str | Callable[[Tensor], Tensor],
    BeforeValidator(_parse),
    WithJsonSchema({"type": "integer | string"}),
]
"""A class index, a label's name, 'predicted', or (from Python) a callable [N, K] → [N]."""


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The scores that are explained, differentiable, and what they are scores of."""

    scores: Tensor
    targets: tuple[int | str, ...]


def select(outputs: Tensor, target: int | str | Callable[[Tensor], Tensor], labels: Sequence[str]) -> Selection:
    """The target's score for each image of a batch of outputs [N, K]."""
    if callable(target):
        return _select_by_call(outputs, target)
    if target == "predicted":
        index = outputs.detach().argmax(dim=1)
    else:
        index = torch.full((len(outputs),), class_index(target, labels, outputs.shape[1]))
    index = index.to(outputs.device)
    scores = outputs.gather(1, index[:, None])[:, 0]
    return Selection(scores, tuple(int(i) for i in index))


def class_index(target: int | str, labels: Sequence[str], classes: int) -> int:
    """The index that a target names, checked against the number of classes."""
    if isinstance(target, str):
        if target not in labels:
            hint = did_you_mean(target, ["predicted", *labels]) if labels else "give a class index instead"
            raise UsageError(f"unknown target '{target}'", expected="a label of the model", hint=hint)
        target = list(labels).index(target)
    if not 0 <= target < classes:
        raise UsageError(
            "target out of range", got=target, expected=f"0 … {classes - 1}, the model has {classes} outputs"
        )
    return target


def _select_by_call(outputs: Tensor, target: Callable[[Tensor], Tensor]) -> Selection:
    scores = target(outputs)
    if not isinstance(scores, Tensor) or scores.shape != outputs.shape[:1]:
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            "the target's callable returned something else than one score an image",
            got=got,
            expected=f"a tensor of shape ({len(outputs)},)",
        )
    return Selection(scores, (getattr(target, "__name__", "callable"),) * len(outputs))
