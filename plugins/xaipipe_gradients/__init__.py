"""Gradients with respect to the pixels."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_gradients.input_x_gradient import InputXGradient
from xaipipe_gradients.integrated_gradients import IntegratedGradients
from xaipipe_gradients.saliency import Saliency
from xaipipe_gradients.sensitivity import Sensitivity


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [InputXGradient, IntegratedGradients, Saliency, Sensitivity]
