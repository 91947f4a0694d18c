"""Methods that try every map of a layer: what does the score do when the model sees only it, or all but it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from xaipipe import Batch, Model
from xaipipe.models.model import NotFiniteError
from xaipipe.running.chunks import PointsBudget, Sizing
from xaipipe_cam.weighted_maps import Weighted

Trial = tuple[int, int]
"""An image of the batch, and a map of the layer."""


class TrialExplainer(Weighted):
    """Weights by trial, as many at once as the budget allows. All questions are asked in the same trials."""

    needs_gradient = False

    class Params(Weighted.Params):
        budget: PointsBudget = Field(
            "1GiB",  # type: ignore[assignment]  # as a person writes it
            description='memory for trials that go through the model together, such as "4GiB"',
        )

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._sizing = Sizing()

    def scores(
        self,
        model: Model,
        batch: Batch,
        trials: Sequence[Trial],
        try_some: Callable[[Sequence[Trial]], Tensor],
        held: int = 0,
        whole: bool = False,
    ) -> Tensor:
        """What `try_some` says of all trials, [questions, trials]; `held` bytes of the budget are kept meanwhile.

        `whole` says that each trial goes through the whole model.
        """

        def at(some: range) -> Tensor:
            chosen = trials[some.start : some.stop]
            try:
                return try_some(chosen)
            except NotFiniteError as error:
                raise error.about([image for image, _ in chosen], len(batch.pixels)) from error

        with torch.no_grad():
            budget, once = self.params.budget, lambda: at(range(1))
            chunks = self._sizing.chunks(model, batch.pixels, "trials", budget, once, held, reuses=whole)
            return torch.cat(list(chunks.over(len(trials), at)), dim=1)


def spread(scores: Tensor, trials: Sequence[Trial], onto: Tensor) -> Tensor:
    """Scores [questions, trials] at their images and maps, in a copy of [questions, N, K]."""
    filled = onto.clone()
    filled[:, [image for image, _ in trials], [k for _, k in trials]] = scores.to(onto.dtype)
    return filled
