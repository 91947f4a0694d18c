"""Integrated gradients: the score's difference to a reference, shared out among the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor

from xaipipe import Batch, Explanation, Model, Question
from xaipipe.propagation import Reference, reference_for
from xaipipe_gradients.completeness import Completeness
from xaipipe_gradients.points import Place, PointsExplainer, accumulators, asked_without_gradient, column
from xaipipe_gradients.quadrature import Name, nodes


class IntegratedGradients(PointsExplainer):
    """What each pixel contributes to the score's difference to a reference x': (x − x') ∫₀¹ ∂y(x' + α(x − x'))/∂x dα.

    The values of an image sum to that difference, but for what the sum over `steps` points misses of the integral:
    `completeness_gap` in the diagnostics. A warning is given where that is more than 5 % of the difference.

    Misleads when: the reference means something to the model (a black object on a black reference gets nothing); and
    along the way through pictures that are none, where gradients are noise.

    Example: `xaipipe.explain(model, x, method="integrated_gradients", target=281, reference="blurred", steps=100)`

    Reference: Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017.
    """

    name = "integrated_gradients"

    class Params(PointsExplainer.Params):
        reference: Reference = Field("zeros", description="where it begins: a name, a colour, or a tensor [C, H, W]")
        steps: int = Field(64, ge=1, description="points on the way; each costs a forward and a backward pass")
        quadrature: Name = Field("gauss_legendre", description="how the integral becomes a sum")

        @model_validator(mode="after")
        def _has_both_ends(self) -> IntegratedGradients.Params:
            if self.quadrature == "trapezoid" and self.steps < 2:
                raise ValueError("steps = 2 or more for the trapezoid, which has two ends")
            return self

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        pixels = batch.pixels.detach()
        reference = reference_for(self.params.reference, pixels)
        selections = asked_without_gradient(model, pixels, questions)
        settled = [selection.settled for selection in selections]
        ends = asked_without_gradient(model, reference, settled)
        alphas, weights = nodes(self.params.quadrature, self.params.steps)

        def points(places: Sequence[Place]) -> Tensor:
            images = [image for image, _ in places]
            alpha = column([alphas[step] for _, step in places], pixels)
            return reference[images] + alpha * (pixels[images] - reference[images])

        means = accumulators(batch, questions)
        for image, step, gradients, _ in self.visit(batch, model, settled, self.params.steps, points):
            for mean, gradient in zip(means, gradients, strict=True):
                mean[image].add_(gradient, alpha=weights[step])
        way = pixels.to(torch.float64, copy=True).sub_(reference)
        explanations = []
        for selection, end, mean in zip(selections, ends, means, strict=True):
            values = mean.mul_(way)
            complete = Completeness.of(values, selection.scores, end.scores, pixels.dtype)
            complete.warn(self.name, batch, selection, f"take more than {self.params.steps} steps")
            facts = {
                "steps": self.params.steps,
                "reference_scores": end.scores.tolist(),
                "completeness_gap": complete.gap.tolist(),
            }
            explanations.append(self.explanation(batch, selection, values, facts))
        return explanations
