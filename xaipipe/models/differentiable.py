"""Refusing to differentiate what has no derivative, in words."""

from __future__ import annotations

from torch import Tensor

from xaipipe.errors import InputError
from xaipipe.models.targets import Selection


def require_differentiable(selection: Selection, source: str) -> None:
    """Refuse scores that no gradient leads back from; for methods that take gradients, where they are enabled."""
    if selection.scores.requires_grad:
        return
    if selection.outputs.requires_grad:
        raise InputError(
            "the target's scores do not depend on the model's output by differentiable operators",
            got=f"target {selection.targets[0]}",
            hint="look for detach, argmax, round or numpy inside the callable",
        )
    raise _detached(source)


def required_gradient(gradient: Tensor | None, source: str) -> Tensor:
    """What `torch.autograd.grad(…, allow_unused=True)` found for the pixels; refused where it found nothing."""
    if gradient is None:
        raise _detached(source)
    return gradient


def _detached(source: str) -> InputError:
    return InputError(
        "the model's output does not depend on the pixels by differentiable operators",
        where=source,
        hint="look for torch.no_grad, detach, argmax or numpy inside the model",
    )
