"""Gradients with respect to the pixels."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_gradients.input_x_gradient import InputXGradient
from xaipipe_gradients.saliency import Saliency


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [InputXGradient, Saliency]
