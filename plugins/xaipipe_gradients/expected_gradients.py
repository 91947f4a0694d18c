"""Expected gradients: integrated gradients over a distribution of references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, WithJsonSchema
from scipy.special import stdtrit
from torch import Tensor

from xaipipe import Batch, Explanation, Model, Question
from xaipipe.doubts import doubt, named
from xaipipe.models.targets import Selection
from xaipipe.propagation import references_for
from xaipipe.propagation.references import parse_references
from xaipipe_gradients.draws import generator
from xaipipe_gradients.moments import Moments, relative
from xaipipe_gradients.points import Place, PointsExplainer, asked_without_gradient

_BY_CHANCE = 1 / 16_000
"""How often chance alone may take the sum as far from the difference as the bound."""


def _parse(value: Any) -> Any:
    if isinstance(value, str) and value != "noise":
        raise ValueError("'noise', or from Python a tensor [R, C, H, W]")
    return value if isinstance(value, str) else parse_references(value)


Choice = Annotated[Tensor | Literal["noise"], BeforeValidator(_parse), WithJsonSchema({"enum": ["noise"]})]


class ExpectedGradients(PointsExplainer):
    """What each pixel contributes to the difference between the score and its mean over references x':
    E[(x − x') ∂y(x' + α(x − x'))/∂x], over references and α between 0 and 1.

    Nothing hangs on a single reference. The expectation is the mean of a sample, and `standard_error` in the result
    says how sure each value is. References are a tensor [R, C, H, W], such as other images of the same kind, or
    "noise": every pixel drawn on its own from a normal distribution with the mean and the spread of its channel.

    Misleads when: the references are not what the image should be compared with; and with few samples, where what looks
    like structure is chance.

    Example: `xaipipe.explain(model, x, method="expected_gradients", target=281, references=others, samples=200)`

    Reference: Erion, Janizek, Sturmfels, Lundberg, Lee: Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients, Nature Machine Intelligence 3, 2021.
    """

    name = "expected_gradients"

    class Params(PointsExplainer.Params):
        references: Choice = Field("noise", description="'noise', or (from Python) a tensor [R, C, H, W]")
        samples: int = Field(64, ge=2, description="pairs of a reference and a point on the way; each costs two passes")
        seed: int = Field(0, ge=0, description="of the pairs")

    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]:
        pixels, samples = batch.pixels.detach(), self.params.samples
        selections = asked_without_gradient(model, pixels, questions)
        settled = [selection.settled for selection in selections]
        drawn = _Drawn(batch, self.params.references, self.params.seed)
        found = [[Moments() for _ in range(len(pixels))] for _ in questions]
        sums = torch.zeros(len(questions), len(pixels), samples, dtype=torch.float64)
        for image, step, gradients, _ in self.visit(batch, model, settled, samples, drawn.points):
            way = pixels[image].double() - drawn.reference((image, step)).double()
            for k, gradient in enumerate(gradients):
                values = way * gradient
                found[k][image].add(values)
                sums[k, image, step] = values.sum()
        ends = self.score(batch, model, settled, samples, drawn.references).double().cpu()
        return [
            self._explanation(batch, selection, *parts)
            for selection, *parts in zip(selections, found, sums, ends, strict=True)
        ]

    def _explanation(
        self, batch: Batch, selection: Selection, moments: list[Moments], sums: Tensor, ends: Tensor
    ) -> Explanation:
        values = torch.stack([one.mean for one in moments])
        errors = torch.stack([one.error_of_mean for one in moments])
        gaps = selection.scores.double().cpu()[:, None] - ends - sums
        gap, gap_error = gaps.mean(dim=1), _error(gaps)
        rounding = torch.finfo(batch.pixels.dtype).eps * (
            values.abs().sum(dim=(1, 2, 3)).cpu() + ends.abs().amax(dim=1)
        )
        self._warn(batch, selection, gap, _most_errors(gaps.shape[1]) * gap_error + rounding)
        facts: dict[str, Any] = {
            "samples": self.params.samples,
            "expected_reference_score": ends.mean(dim=1).tolist(),
            "sum_standard_error": _error(sums).tolist(),
            "completeness_gap": gap.tolist(),
            "gap_standard_error": gap_error.tolist(),
            "relative_standard_error": relative(errors, values),
        }
        return self.explanation(batch, selection, values, facts, errors)

    def _warn(self, batch: Batch, selection: Selection, gap: Tensor, bound: Tensor) -> None:
        def text(image: int) -> str:
            return (
                f"{self.name}: the map of {named(batch, image)}, target {selection.targets[image]}, lacks "
                f"{float(gap[image]):.2g} of the score's difference to its references, where chance leaves "
                f"{float(bound[image]):.2g} at most; take more than {self.params.samples} samples"
            )

        excess = (gap.abs() - bound).tolist()
        doubt(f"{self.name}: a gap to the difference", batch, excess, text, selection.targets)


class _Drawn:
    """References and points on the way from them, the same whenever they are asked for."""

    def __init__(self, batch: Batch, choice: Tensor | str, seed: int) -> None:
        self._batch, self._seed = batch, seed
        self._pixels = batch.pixels.detach()
        self._given = references_for(choice, self._pixels) if isinstance(choice, Tensor) else None

    def reference(self, place: Place) -> Tensor:
        return self._draw(place)[0]

    def references(self, places: Sequence[Place]) -> Tensor:
        return torch.stack([self.reference(place) for place in places])

    def points(self, places: Sequence[Place]) -> Tensor:
        return torch.stack([self._point(place) for place in places])

    def _point(self, place: Place) -> Tensor:
        reference, alpha = self._draw(place)
        return reference + alpha * (self._pixels[place[0]] - reference)

    def _draw(self, place: Place) -> tuple[Tensor, float]:
        image, sample = place
        numbers = generator(self._batch, image, self._seed, sample)
        alpha = float(numbers.random())
        if self._given is not None:
            return self._given[int(numbers.integers(len(self._given)))], alpha
        own = self._pixels[image]
        wide = own.to(torch.promote_types(own.dtype, torch.float32))
        noise = torch.from_numpy(numbers.standard_normal(tuple(own.shape), dtype="float32")).to(wide)
        spread, mean = torch.std_mean(wide, dim=(1, 2), correction=0, keepdim=True)
        return (mean + spread * noise).to(own.dtype), alpha


def _most_errors(samples: int) -> float:
    """By how many standard errors, which are themselves known from so many samples, chance may miss: Student's t."""
    return float(stdtrit(samples - 1, 1 - _BY_CHANCE / 2))


def _error(samples: Tensor) -> Tensor:
    """Of the mean of samples [N, S]."""
    return samples.std(dim=1) / samples.shape[1] ** 0.5
