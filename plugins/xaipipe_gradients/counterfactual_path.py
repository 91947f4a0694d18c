"""The path of darkened counterfactuals: scores and gradients at αx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from xaipipe import Batch, Explanation, Model, Question
from xaipipe_gradients.points import Place, PointsExplainer, accumulators, asked_without_gradient, column
from xaipipe_gradients.quadrature import nodes


def _parse(value: Any) -> Any:
    fits = (
        value in ("mean", "steepest") if isinstance(value, str) else isinstance(value, int | float) and 0 < value <= 1
    )
    if not fits or isinstance(value, bool):
        raise ValueError("a number above 0, 1 at most, or 'mean' or 'steepest'")
    return value


Alpha = Annotated[float | Literal["mean", "steepest"], BeforeValidator(_parse)]


class CounterfactualPath(PointsExplainer):
    """The gradient inside, ∂y/∂x at αx for an α between 0 and 1: where the score is saturated at the image itself, it
    still moves at a fainter one.

    `alpha` is a number, 1 for the plain gradient; or "mean", the mean over the whole path; or "steepest", for each
    image the α at which the score changes fastest. The diagnostics hold the curve of the whole path: `alphas`,
    `path_scores` and `gradient_norms`.

    Misleads when: the class of the faint image is another than the image's: gradients there answer a question that
    nobody asked; and on preprocessed images, of which zero is a mean colour and not black.

    Example: `xaipipe.explain(model, x, method="counterfactual_path", target=281, alpha="steepest", steps=50)`

    Reference: Sundararajan, Taly, Yan: Gradients of Counterfactuals, 2016.
    """

    name = "counterfactual_path"

    class Params(PointsExplainer.Params):
        alpha: Alpha = Field("mean", description="where the map is taken: a number, 'mean' or 'steepest'")
        steps: int = Field(20, ge=1, description="equal parts of the path; each costs a forward and a backward pass")

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        pixels, chosen = batch.pixels.detach(), self.params.alpha
        alphas, weights = nodes("trapezoid", self.params.steps + 1)
        walked = (*alphas, chosen) if isinstance(chosen, float) else alphas

        def points(places: Sequence[Place]) -> Tensor:
            images = [image for image, _ in places]
            return column([walked[step] for _, step in places], pixels) * pixels[images]

        selections = asked_without_gradient(model, pixels, questions)
        settled = [selection.settled for selection in selections]
        maps = accumulators(batch, questions)
        curves = [_Curve(len(pixels)) for _ in questions]
        for image, step, gradients, scores in self.visit(batch, model, settled, len(walked), points):
            for values, curve, gradient, score in zip(maps, curves, gradients, scores, strict=True):
                if step < len(alphas):
                    slope = float((pixels[image].double() * gradient).sum())
                    steeper = curve.add(image, float(score), gradient, slope)
                if chosen == "mean":
                    values[image].add_(gradient, alpha=weights[step])
                elif (chosen == "steepest" and steeper) or step == len(alphas):
                    values[image].copy_(gradient)
        return [
            self.explanation(batch, selection, values, curve.facts(alphas, chosen))
            for selection, values, curve in zip(selections, maps, curves, strict=True)
        ]


class _Curve:
    """What was seen on the way, image by image."""

    def __init__(self, images: int) -> None:
        self._scores: list[list[float]] = [[] for _ in range(images)]
        self._norms: list[list[float]] = [[] for _ in range(images)]
        self._slopes: list[list[float]] = [[] for _ in range(images)]

    def add(self, image: int, score: float, gradient: Tensor, slope: float) -> bool:
        """Whether nothing before was as steep."""
        before = self._slopes[image]
        steeper = all(abs(slope) > abs(other) for other in before)
        before.append(slope)
        self._scores[image].append(score)
        self._norms[image].append(float(torch.linalg.vector_norm(gradient.double())))
        return steeper

    def facts(self, alphas: Sequence[float], chosen: float | str) -> dict[str, Any]:
        steepest = [alphas[max(range(len(own)), key=lambda k: abs(own[k]))] for own in self._slopes]
        return {
            "alpha": steepest if chosen == "steepest" else chosen,
            "alphas": tuple(alphas),
            "path_scores": self._scores,
            "gradient_norms": self._norms,
        }
