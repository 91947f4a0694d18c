"""Gradients at many points for each image, as many at once as memory allows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Explainer, ExplainerParams, Explanation, Grid, Model, Question
from xaipipe.models.model import NotFiniteError
from xaipipe.models.targets import Selection
from xaipipe.propagation import gradient_with, pull_back
from xaipipe.running.chunks import PointsBudget, Sizing

T = TypeVar("T")
Place = tuple[int, int]
"""An image of the batch, and which of its points."""
_HELD = 8 * 8
"""Bytes for each pixel and question beside the points: sums in float64, and what is made of them in the end."""


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

        def at(places: list[Place]) -> list[Visited]:
            pulled = pull_back(model, points(places), _for_places(questions, places), gradient_with())
            found = [(one.values, one.selection.scores.detach()) for one in pulled]
            return [
                Visited(*place, [values[j] for values, _ in found], [scores[j] for _, scores in found])
                for j, place in enumerate(places)
            ]

        yield from self.work_through(batch, model, steps, ("gradients", len(questions)), at)

    def score(
        self,
        batch: Batch,
        model: Model,
        questions: Sequence[Question],
        steps: int,
        points: Callable[[Sequence[Place]], Tensor],
    ) -> Tensor:
        """Scores [questions, N, steps] at points of every image."""

        def at(places: list[Place]) -> list[Tensor]:
            selections = asked_without_gradient(model, points(places), _for_places(questions, places))
            return list(torch.stack([selection.scores for selection in selections], dim=1))

        scores = list(self.work_through(batch, model, steps, ("scores", len(questions)), at))
        return torch.stack(scores, dim=1).reshape(len(questions), len(batch.pixels), steps)

    def work_through(
        self, batch: Batch, model: Model, steps: int, what: tuple[str, int], function: Callable[[list[Place]], list[T]]
    ) -> Iterator[T]:
        """What a function makes of every place, for as many at once as the budget allows.

        `what` names the work, and says of how many questions a map is made of it.
        """

        def at(some: range) -> list[T]:
            places = [divmod(index, steps) for index in some]
            try:
                return function(places)
            except NotFiniteError as error:
                raise error.about([image for image, _ in places], len(batch.pixels)) from error

        held = _HELD * what[1] * batch.pixels.numel()
        chunks = self._sizing.chunks(model, batch.pixels, what, self.params.budget, lambda: at(range(1)), held)
        for found in chunks.over(len(batch.pixels) * steps, at):
            yield from found

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


def _for_places(questions: Sequence[Question], places: Sequence[Place]) -> list[Question]:
    images = [image for image, _ in places]
    return [question.at(images) for question in questions]


def accumulators(batch: Batch, questions: Sequence[Question]) -> list[Tensor]:
    """Zeros in float64, a map a question."""
    return [torch.zeros_like(batch.pixels, dtype=torch.float64) for _ in questions]


def column(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers [n] as a factor of images [n, C, H, W]."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None, None]
