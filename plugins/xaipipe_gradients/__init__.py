"""Gradients with respect to the pixels."""

from __future__ import annotations

from xaipipe import Stage, hookimpl
from xaipipe_gradients.counterfactual_path import CounterfactualPath
from xaipipe_gradients.expected_gradients import ExpectedGradients
from xaipipe_gradients.explanation_vectors import ExplanationVectors
from xaipipe_gradients.input_x_gradient import InputXGradient
from xaipipe_gradients.integrated_gradients import IntegratedGradients
from xaipipe_gradients.saliency import Saliency
from xaipipe_gradients.sensitivity import Sensitivity
from xaipipe_gradients.smoothgrad import SmoothGrad
from xaipipe_gradients.smoothgrad_sq import SmoothGradSquared
from xaipipe_gradients.vargrad import VarGrad


@hookimpl
def xaipipe_methods() -> list[type[Stage]]:
    return [
        CounterfactualPath,
        ExpectedGradients,
        ExplanationVectors,
        InputXGradient,
        IntegratedGradients,
        Saliency,
        Sensitivity,
        SmoothGrad,
        SmoothGradSquared,
        VarGrad,
    ]
