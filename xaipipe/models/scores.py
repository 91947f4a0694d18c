"""From a model's output to one differentiable score an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from xaipipe.errors import InputError, UsageError, did_you_mean
from xaipipe.models.targets import Question, Selection, Similarity


def select(outputs: Tensor, question: Question, labels: Sequence[str] = (), source: str | None = None) -> Selection:
    """What a question asks, of outputs [N, classes], [N] (one output), or [N, classes, h, w] (a segmentation).

    A callable, and 'norm', may be asked of outputs of any shape.
    """
    if question.target == "norm" and "norm" not in labels:
        return _by_call(outputs, question, _norm, "norm")
    if callable(question.target):
        return _by_call(outputs, question, question.target, name_of_callable(question.target))
    if outputs.ndim not in (1, 2, 4):
        raise InputError(
            "the model's output has the wrong shape",
            got=tuple(outputs.shape),
            expected=f"({len(outputs)}, classes), ({len(outputs)},) or ({len(outputs)}, classes, h, w)",
            where=source,
            hint="give a callable as the target, or wrap the model in a module that returns its logits",
        )
    scored = outputs[:, None] if outputs.ndim == 1 else outputs
    return (_of_maps if scored.ndim == 4 else _of_classes)(outputs, scored, question, labels)


def class_index(target: int | str, labels: Sequence[str], classes: int) -> int:
    """The index that a target names, checked against the number of classes."""
    if isinstance(target, str):
        if target not in labels:
            raise _unknown(target, labels)
        target = list(labels).index(target)
    if not 0 <= target < classes:
        has = f"0 … {classes - 1}, the model has {classes} outputs" if classes > 1 else "0, the model has one output"
        raise UsageError("target out of range", got=target, expected=has)
    return target


def _of_classes(outputs: Tensor, scored: Tensor, question: Question, labels: Sequence[str]) -> Selection:
    if question.within is not None:
        raise UsageError(
            "'within' asks for pixels of the output, and this model's output has none",
            got=f"an output of shape {tuple(outputs.shape)}",
            expected="(N, classes, h, w)",
            hint="leave it out",
        )
    index = _indices(scored, question.target, labels, lambda: scored.detach().argmax(dim=1))
    scores = _taken_as(question, scored).gather(1, index[:, None])[:, 0]
    targets = tuple(index.tolist())
    return Selection(scores, targets, outputs, {"score": question.score}, replace(question, target=targets))


def _of_maps(outputs: Tensor, scored: Tensor, question: Question, labels: Sequence[str]) -> Selection:
    given = scored.detach().argmax(dim=1)
    mask = _mask(question, given)
    index = _indices(scored, question.target, labels, lambda: _commonest(given, mask))
    if mask is None:
        mask = given == index[:, None, None] if scored.shape[1] > 1 else scored.detach()[:, 0] > 0
    places = index[:, None, None, None].expand(-1, 1, *scored.shape[2:])
    scores = _mean(_taken_as(question, scored).gather(1, places)[:, 0], mask)
    said = "pixels given to the class" if question.within is None else "everywhere"
    asked = {
        "score": question.score,
        "within": "mask" if isinstance(question.within, Tensor) else said,
        "within_pixels": mask.sum(dim=(1, 2)).tolist(),
    }
    targets = tuple(index.tolist())
    return Selection(scores, targets, outputs, asked, replace(question, target=targets, within=mask))


def _by_call(outputs: Tensor, question: Question, target: Callable[[Tensor], Tensor], name: str) -> Selection:
    if question.score != "logit":
        raise UsageError(
            "only a class has a probability", got=f"target {name}", hint="take the softmax inside a callable"
        )
    if question.within is not None:
        raise UsageError(
            "'within' is for the classes of a segmentation", got=f"target {name}", hint="mask inside a callable"
        )
    scores = target(outputs)
    if not isinstance(scores, Tensor) or scores.shape != outputs.shape[:1] or not scores.is_floating_point():
        got = f"{tuple(scores.shape)} {scores.dtype}" if isinstance(scores, Tensor) else type(scores).__name__
        raise InputError(
            "the target's callable returned something else than one score an image",
            got=got,
            expected=f"a floating point tensor of shape ({len(outputs)},)",
        )
    return Selection(scores, (name,) * len(outputs), outputs, {"score": name}, question)


def _indices(
    scored: Tensor,
    target: int | str | tuple[int, ...] | Callable[[Tensor], Tensor],
    labels: Sequence[str],
    predicted: Callable[[], Tensor],
) -> Tensor:
    """A class for each image."""
    if target == "predicted":
        return predicted()
    one_an_image = target if isinstance(target, tuple) else (target,) * len(scored)
    if len(one_an_image) != len(scored):
        raise UsageError(
            "the question names a class for each of other images", got=len(one_an_image), expected=len(scored)
        )
    found = [class_index(one, labels, scored.shape[1]) for one in one_an_image]  # type: ignore[arg-type]
    return torch.tensor(found, device=scored.device)


def _taken_as(question: Question, scored: Tensor) -> Tensor:
    if question.score == "logit":
        return scored
    return scored.softmax(dim=1) if scored.shape[1] > 1 else scored.sigmoid()


def _mask(question: Question, given: Tensor) -> Tensor | None:
    """The pixels that were asked for; None for those that the model gives to the class."""
    within = question.within
    if within is None:
        return None
    if not isinstance(within, Tensor):
        return torch.ones_like(given, dtype=torch.bool)
    if within.shape not in (given.shape, given.shape[1:]):
        raise UsageError(
            "'within' has another size than the model's output",
            got=tuple(within.shape),
            expected=f"{tuple(given.shape[1:])} or {tuple(given.shape)}",
            hint="a mask lies on the output's pixels, not on those of the input",
        )
    mask = within.to(given.device).expand_as(given)
    empty = (~mask.flatten(1).any(dim=1)).nonzero()[:, 0].tolist()
    if empty and not isinstance(question.target, tuple):  # of a settled question, the model gave the class no pixel
        raise UsageError("'within' holds no pixel", got=f"image {', '.join(map(str, empty))}", expected="at least one")
    return mask


def _commonest(given: Tensor, mask: Tensor | None) -> Tensor:
    """The class of the most pixels, for each image."""
    inside = torch.ones_like(given, dtype=torch.bool) if mask is None else mask
    return torch.stack([one[own].bincount().argmax() for one, own in zip(given, inside, strict=True)])


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Over the mask's pixels; 0 where it has none."""
    wide = values.to(torch.promote_types(values.dtype, torch.float32))  # a sum of many logits is too much for float16
    total = torch.where(mask, wide, torch.zeros_like(wide)).sum(dim=(1, 2))
    return (total / mask.sum(dim=(1, 2)).clamp(min=1)).to(values.dtype)


def _norm(outputs: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(outputs.reshape(len(outputs), -1), dim=1)
    return norm


def name_of_callable(target: Callable[[Tensor], Tensor]) -> str:
    """What a target that is a callable is called."""
    if isinstance(target, Similarity):
        return "similarity"
    return str(getattr(target, "__name__", "callable"))


def _unknown(target: str, labels: Sequence[str]) -> UsageError:
    parts = [part.strip(" '\"") for part in target.strip("[] ").split(",")]
    if len(parts) > 1 and all(part.isdecimal() or part in (*labels, "predicted") for part in parts):
        hint = "`xaipipe explain` makes a map for each of several; so do a run, and xaipipe.explain of a list"
        return UsageError("one target makes one map", got=target, expected="one class or label", hint=hint)
    hint = did_you_mean(target, ["predicted", *labels]) if labels else "give a class index instead"
    return UsageError(f"unknown target '{target}'", expected="a label of the model", hint=hint)
