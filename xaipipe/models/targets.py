"""What is asked of a model: which of its outputs, as what, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from numbers import Integral
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import BeforeValidator, WithJsonSchema
from torch import Tensor
from torch.nn import functional as F

from xaipipe.errors import InputError, UsageError, did_you_mean

ScoreAs = Literal["logit", "probability"]


def _parse_target(value: Any) -> Any:
    if isinstance(value, list | tuple):
        raise ValueError(
            "one target, since a map has one; runs and xaipipe.explain (from Python) take a list of targets"
        )
    if isinstance(value, bool) or not (isinstance(value, Integral | str) or callable(value)):
        raise ValueError("a class index, a label, 'predicted', 'norm', or a callable from outputs to scores")
    if isinstance(value, Integral):  # numpy's integers too
        return int(value)
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        return int(value)
    return value


def _parse_within(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value == "everywhere"):
        return value
    if isinstance(value, Tensor) and value.dtype == torch.bool and value.ndim in (2, 3):
        return value
    raise ValueError("'everywhere', or a bool tensor [h, w] or [N, h, w] of the size of the model's output")


Target = Annotated[
    int | str | Callable[[Tensor], Tensor],
    BeforeValidator(_parse_target),
    WithJsonSchema({"type": "integer | string"}),
]
"""A class index, a label's name, 'predicted', 'norm', or (from Python) a callable from outputs [N, …] to scores [N]."""

Within = Annotated[
    Tensor | Literal["everywhere"] | None,
    BeforeValidator(_parse_within),
    WithJsonSchema({"enum": ["everywhere", None]}),
]
"""Where a segmentation is asked: 'everywhere', (from Python) a mask, or None for the pixels given to the class."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Similarity:
    """A target for models that embed: the cosine between the output [N, D] and a reference [D] or [N, D].

    >>> xaipipe.explain(encoder, x, method="saliency", target=xaipipe.Similarity(encoder(other)[0]))
    """

    reference: Tensor

    def __post_init__(self) -> None:
        reference = self.reference
        fits = isinstance(reference, Tensor) and reference.ndim in (1, 2) and reference.is_floating_point()
        if not fits or not bool(reference.isfinite().all()):
            got = f"{tuple(reference.shape)} {reference.dtype}" if isinstance(reference, Tensor) else reference
            raise UsageError("the reference is not an embedding", got=got, expected="finite numbers [D] or [N, D]")
        if not bool(reference.detach().any(dim=-1).all()):
            raise UsageError("the reference has no direction", got="an embedding of zeros")

    def __repr__(self) -> str:
        """Names the reference by its content: a result's settings tell one from another."""
        digest = sha256(self.reference.detach().double().cpu().contiguous().numpy().tobytes()).hexdigest()
        return f"Similarity(reference {tuple(self.reference.shape)}, sha256 {digest[:16]})"

    def __call__(self, outputs: Tensor) -> Tensor:
        wide = torch.promote_types(outputs.dtype, torch.float32)  # a sum of many squares is too much for float16
        reference = self.reference.detach().to(outputs.device, wide)
        if outputs.ndim != 2 or reference.shape not in (outputs.shape[1:], outputs.shape):
            raise InputError(
                "the reference does not fit the model's output",
                got=tuple(reference.shape),
                expected="that of the output [N, D], or [D]",
                where=f"an output of shape {tuple(outputs.shape)}",
            )
        return F.cosine_similarity(outputs.to(wide), reference.expand_as(outputs), dim=1).to(outputs.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What a model is asked.

    The score of a class is its logit, or its probability: softmax over the classes, sigmoid where there is only one
    output. Of a segmentation [N, classes, h, w] it is the mean over `within`: a mean stays on the scale of one logit,
    so that images whose objects differ in size can be compared, which a sum would not.
    """

    target: int | str | Callable[[Tensor], Tensor] | tuple[int, ...] = "predicted"
    """As of `explain`; a tuple holds a class index for each image of the batch."""
    score: ScoreAs = "logit"
    within: Tensor | Literal["everywhere"] | None = None
    """Of a segmentation: a mask, 'everywhere', or None: the pixels that the model gives to the class.

    Those are where the class is the largest; where there is only one output, where it is positive."""

    def __post_init__(self) -> None:
        if self.score not in get_args(ScoreAs):
            hint = did_you_mean(str(self.score), get_args(ScoreAs))
            raise UsageError("a score is a logit or a probability", got=repr(self.score), hint=hint)
        for name, parse in (("target", _parse_target), ("within", _parse_within)):
            value = getattr(self, name)
            if name == "target" and _is_class_an_image(value):
                continue
            try:
                object.__setattr__(self, name, parse(value))
            except ValueError as error:
                raise UsageError(f"the question has a {name} that it cannot take", expected=str(error)) from None

    @classmethod
    def of(cls, asked: Question | int | str | Callable[[Tensor], Tensor]) -> Question:
        """A question, or a bare target as one."""
        return asked if isinstance(asked, Question) else cls(asked)

    def at(self, images: Sequence[int]) -> Question:
        """The question for some images of the batch, in any order and as often as they are named."""
        index = list(images)
        target, within = self.target, self.within
        if isinstance(target, tuple):
            target = tuple(target[image] for image in index)
        if isinstance(target, Similarity) and target.reference.ndim == 2:
            target = Similarity(target.reference[index])
        if isinstance(within, Tensor) and within.ndim == 3:
            within = within[index]
        return replace(self, target=target, within=within)


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """The scores that are explained, differentiable, and what they are scores of."""

    scores: Tensor
    """[N]"""
    targets: tuple[int | str, ...]
    outputs: Tensor
    """The model's output that they were selected from, as it gave it, in the same graph."""
    asked: Mapping[str, Any]
    """As what the score was taken, and where: for the diagnostics of an explanation."""
    settled: Question
    """The same question with what the model's answer decided: the predicted classes, the pixels given to the class.

    Methods that change the pixels ask this, so that they go on asking about the same thing."""


def _is_class_an_image(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 0 and all(type(index) is int for index in value)
