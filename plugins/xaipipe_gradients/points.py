"""Gradients at many points for each image, as many at once as memory allows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Model, Question
from xaipipe.models.targets import Selection
from xaipipe.propagation import gradient_with, pull_back
from xaipipe.running.chunks import PointsBudget, Sizing

Place = tuple[int, int]
"""An image of the batch, and which of its points."""


class Visited(NamedTuple):
    """What was found at one point, a value a question."""

    image: int
    step: int
    gradients: list[Tensor]
    """Each [C, H, W]."""
    scores: list[Tensor]


class PointsExplainer(Explainer):
    """A method that looks at the gradient at points around each image, or on its way to somewhere else.

    All questions are answered by the same passes.
    """

    class Params(ExplainerParams):
        budget: PointsBudget = Field(
            "1GiB",  # type: ignore[assignment]  # as a person writes it
            description='memory for points that go through the model together, such as "4GiB"',
        )

    def __init__(self, params: Any = None, **values: Any) -> None:
        super().__init__(params, **values)
        self._sizing = Sizing()

    @abstractmethod
    def explain_each(self, batch: Batch, model: Model, questions: Sequence[Question]) -> list[Explanation]: ...

    def explain(self, batch: Batch, model: Model) -> Explanation:
        return self.explain_each(batch, model, [self.params.question])[0]

    def visit(
        self,
        batch: Batch,
        model: Model,
        questions: Sequence[Question],
        steps: int,
        points: Callable[[Sequence[Place]], Tensor],
    ) -> Iterator[Visited]:
        """Gradients and scores at `steps` points of every image, in the order of images and steps."""

        def at(some: range) -> list[Visited]:
            places = [divmod(index, steps) for index in some]
            images = [image for image, _ in places]
            asked = [question.at(images) for question in questions]
            pulled = pull_back(model, points(places), asked, gradient_with())
            found = [(one.values, one.selection.scores.detach()) for one in pulled]
            return [
                Visited(image, step, [values[j] for values, _ in found], [scores[j] for _, scores in found])
                for j, (image, step) in enumerate(places)
            ]

        chunks = self._sizing.chunks(model, batch.pixels, len(questions), self.params.budget, lambda: at(range(1)))
        for visited in chunks.over(len(batch.pixels) * steps, at):
            yield from visited

    def explanation(
        self,
        batch: Batch,
        selection: Selection,
        values: Tensor,
        facts: dict[str, Any],
        error: Tensor | None = None,
    ) -> Explanation:
        """A map on the pixels, in their precision."""
        return Explanation(
            values=values.to(batch.pixels.dtype),
            grid=Grid(),
            targets=selection.targets,
            scores=selection.scores,
            input_size=(int(batch.pixels.shape[2]), int(batch.pixels.shape[3])),
            diagnostics={**selection.asked, **facts},
            tiles=batch.tiles,
            standard_error=None if error is None else error.to(batch.pixels.dtype),
        )


def asked_without_gradient(model: Model, pixels: Tensor, questions: Sequence[Question]) -> tuple[Selection, ...]:
    with torch.no_grad():
        return model.ask(pixels, questions)


def accumulators(batch: Batch, questions: Sequence[Question]) -> list[Tensor]:
    """Zeros in float64, a map a question."""
    return [torch.zeros_like(batch.pixels, dtype=torch.float64) for _ in questions]


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers [n] as a factor of images [n, C, H, W]."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]
